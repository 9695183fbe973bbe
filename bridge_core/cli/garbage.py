"""How often Python looks for garbage that reference counting does not find: rarely, as there is little of it."""

import gc
from typing import Final

_THRESHOLDS: Final = (5_000, 20, 10)
"""Objects more than before; younger collections before an older one. Python's own are (700, 10, 10).

A backlog is tens of thousands of messages that live for seconds: looked at so often, each would be looked at several
times, and next to nothing found. 5,000 objects take a few milliseconds, in which the loop stands still.
"""


def seldom() -> None:
    """Look less often. Call it before anything else is made."""
    gc.set_threshold(*_THRESHOLDS)


def set_aside() -> None:
    """What is there now stays: it is not looked at again, and what comes later as ever. Call it once, when started.

    The modules, the portals and the ghosts are most of all objects, and what a collection costs is paid in messages.
    Nothing is collected first: the loop runs already, and would stand still for longer than all that is worth.
    """
    gc.freeze()
