"""How the tests are spread over several workers, as `./test` runs them by pytest-xdist."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_KINDS = ("fake", "basic", "synapse")
_LONG = (
    "tests/crash/",
    "tests/integration/",
    "tests/conformance/",
    "tests/peers/",
    "tests/unit/cli/",
    "tests/property/",
)
"""Folders whose tests wait for real servers or count long, the longest first: what is begun last shall be short."""


def place_of(test: str) -> str:
    """What is done together: the tests of a file, in the conformance tests for each kind of homeserver apart."""
    file, _, name = test.partition("::")
    kinds = name.rpartition("[")[2].rstrip("]").split("-") if "/conformance/" in file else []
    return next((f"{file}[{kind}]" for kind in _KINDS if kind in kinds), file)


def rank_of(test: str) -> tuple[int, bool]:
    """Orders tests: the less, the sooner."""
    place = place_of(test)
    long = next((number for number, folder in enumerate(_LONG) if place.startswith(folder)), len(_LONG))
    return long, not place.endswith("[synapse]")


class ByPlace(LoadScopeScheduling):
    """Hands whole places to workers, in the order of the tests, so that what a file's tests share is made once."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return place_of(nodeid)
