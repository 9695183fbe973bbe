"""A bridge with two portals on a network under a test's script."""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge_core.app import bridge as composition
from bridge_core.observe.log import setup_logging
from bridge_core.store.engines import DatabaseSettings
from tests.harness import Harness
from tests.invariants.scenes import Gates
from tests.scripted import Script

NETWORKS: dict[str, dict[str, Any]] = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What the program logs, as it is set up to, instead of the library's coloured default."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging("debug", "json", stream)
    yield stream
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def script() -> Script:
    """The network's script."""
    return Script()


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    """Fault points of every bridge that is built from now on."""
    made = Gates()
    monkeypatch.setattr(composition, "faults_from_environment", lambda: made)
    return made


@pytest.fixture
def sections() -> dict[str, Any]:
    """Sections of the configuration; a test module overrides it."""
    return {"relay": {"reactions": True, "polls": True}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bridges that wait only a moment for a locked database."""

    def settings(url: str, **more: Any) -> DatabaseSettings:
        return DatabaseSettings(url, **{**more, "busy_timeout": 0.05})

    monkeypatch.setattr(composition, "DatabaseSettings", settings)


@pytest.fixture
async def bridge(
    tmp_path: Path, script: Script, gates: Gates, impatient: None, sections: dict[str, Any]
) -> AsyncIterator[Harness]:
    """A running bridge."""
    async with Harness(tmp_path, NETWORKS, {"scripted": script}, **sections) as harness:
        yield harness
        gates.release()
