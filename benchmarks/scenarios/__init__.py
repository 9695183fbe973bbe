"""The scenarios; each gives a dictionary of results."""
