"""The composition root: builds everything, and owns the order of starting and stopping."""
