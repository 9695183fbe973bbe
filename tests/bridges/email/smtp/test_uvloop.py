"""The doors on uvloop, which the bridge runs on: its transports differ in much from those of asyncio."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.bridges.email.smtp import test_commit, test_lmtp, test_session, test_smuggling, test_tls
from tests.servers.certificate import make_certificate

Scene = Callable[..., Coroutine[Any, Any, None]]


def _scenes() -> dict[str, Scene]:
    """The tests of the other modules that need a folder, and perhaps a certificate."""
    return {
        name: test
        for module in (test_session, test_tls, test_lmtp, test_commit, test_smuggling)
        for name, test in vars(module).items()
        if name.startswith("test_") and set(inspect.signature(test).parameters) <= {"tmp_path", "certificate"}
    }


@pytest.mark.parametrize("name", _scenes())
def test_the_same_on_uvloop(tmp_path: Path, name: str) -> None:
    """What holds on asyncio holds there."""
    scene = _scenes()[name]
    wants = inspect.signature(scene).parameters
    given = {"certificate": make_certificate(tmp_path / "tls")} if "certificate" in wants else {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene(tmp_path=tmp_path, **given))
