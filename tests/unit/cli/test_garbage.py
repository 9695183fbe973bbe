"""How often Python looks for garbage."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from bridge_core.cli import garbage


class _Knot:
    """Refers to itself, so that only the collector can end it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The collector of the test process is as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    """Collections walk what came since the start only."""
    kept = _Knot()
    garbage.set_aside()
    assert gc.get_freeze_count() > 0
    assert not any(found is kept for found in gc.get_objects())


def test_garbage_of_a_running_bridge_is_found() -> None:
    """Garbage in cycles goes by itself as more is made: rarely is not never."""
    garbage.seldom()
    garbage.set_aside()
    gone = weakref.ref(_Knot())
    held = []
    while gone() is not None:
        held.append([])
        assert len(held) < 100_000, "nobody looked for garbage"


def test_it_is_looked_for_less_often_than_python_would() -> None:
    """A backlog of messages is not walked at every 700 objects."""
    garbage.seldom()
    assert gc.get_threshold()[0] >= 5_000
