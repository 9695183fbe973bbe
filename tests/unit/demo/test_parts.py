"""The demo's parts that need no server: finding networks, the bridge's configuration, the command line."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge_core.api.demo import DemoError
from bridge_core.cli.demo import add_parser
from bridge_core.cli.init import write_files
from bridge_core.config import load_config
from bridge_core.demo import runner
from bridge_core.demo.bridge import DemoBridge
from bridge_core.demo.locked_venv import SetupError
from bridge_core.demo.networks import load_demos
from bridge_core.demo.place import DemoPlace
from bridge_core.demo.screen import Screen
from registration.model import load as load_registration


def _parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[DemoPlace]:
    """A place whose processes end with the test."""
    made = DemoPlace("irc", tmp_path, lambda _: None, "@you:hs.test")
    yield made
    made.kill()


def test_installed_demos_are_found() -> None:
    """Without a choice every installed network is there; a server can be chosen for one."""
    demos, broken = load_demos((), {"irc": "demo"})
    assert "irc" in demos
    assert broken == {}


def test_unknown_names_are_told_with_what_exists() -> None:
    """A network or server that does not exist is told by its name, with the names that do."""
    _, broken = load_demos(["nowhere"], {})
    assert "nowhere" in broken["nowhere"]
    assert "irc" in broken["nowhere"]
    _, broken = load_demos((), {"irc": "nosuchd"})
    assert "ngircd" in broken["irc"]


def test_bridge_files_are_valid(tmp_path: Path) -> None:
    """The bridge's configuration loads, bridges each network's chat, and its registration fits it."""
    bridge = DemoBridge(tmp_path, write_files)
    sections = {"irc": {"type": "irc", "server": "127.0.0.1", "tls": False, "portals": [{"chat": "#demo"}]}}
    registration = bridge.configure("http://127.0.0.1:1", "demo.localhost", "@alice:demo.localhost", sections)
    loaded = load_config(bridge.config, {})
    assert loaded.registration_path == registration
    assert [one["chat"] for one in loaded.config.networks["irc"]["portals"]] == ["#demo"]
    assert load_registration(registration).url == f"http://127.0.0.1:{loaded.config.appservice.listen.port}"
    assert bridge.config.stat().st_mode & 0o077 == 0


async def test_server_that_ends_is_told_with_its_log(place: DemoPlace) -> None:
    """A server that ends at once is an error that holds what it said and where its log is."""
    with pytest.raises(DemoError, match=r"(?s)ended with status 3.*server\.log.*no such option"):
        await place.serve("server", [sys.executable, "-c", "print('no such option'); exit(3)"], port=place.free_port())


async def test_server_that_is_missing_is_told(place: DemoPlace) -> None:
    """A command that does not exist is an error in words."""
    with pytest.raises(DemoError, match="no such command"):
        await place.serve("server", ["no-such-server"], port=place.free_port())


async def test_place_tells_of_a_server_that_was_killed(place: DemoPlace) -> None:
    """A server that runs is no trouble; one that was killed is, by its name, and stopping is still fine."""
    port = place.free_port()
    listen = "import socket,sys\ns=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nwhile True: s.accept()"
    await place.serve("server", [sys.executable, "-c", listen, str(port)], port=port)
    assert place.trouble() is None
    pid = place.children[0].process.pid
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert "server was killed by signal 9" in (place.trouble() or "")
    await place.stop()


def test_command_line() -> None:
    """Names are lists, choices are pairs, and both are refused when they are neither."""
    options = _parsed("--require", "irc, xmpp", "--server", "irc=ngircd")
    assert options.require == ("irc", "xmpp")
    assert options.server == [("irc", "ngircd")]
    with pytest.raises(SystemExit):
        _parsed("--server", "ngircd")
    with pytest.raises(SystemExit):
        _parsed("--network", ",")


@pytest.mark.parametrize("missing", ["ensure_synapse", "ensure_nio"])
async def test_what_cannot_be_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """Without Synapse or the encrypted client nothing is started; the status is 1, and the words say which and why."""

    async def installed(progress: object) -> Path:
        return tmp_path

    async def refused(progress: object) -> Path:
        raise SetupError("pip install failed with status 1:\nno index")

    for name in ("ensure_synapse", "ensure_nio"):
        monkeypatch.setattr(runner, name, refused if name == missing else installed)
    options = runner.DemoOptions(headless=True, encrypted=True, networks=("echo",), directory=tmp_path / "d")
    assert await runner.run_demo(options, write_files, Screen()) == 1
    title = {"ensure_synapse": "Synapse", "ensure_nio": "matrix-nio, the encrypted client,"}[missing]
    assert f"{title} cannot be installed: pip install failed with status 1:\nno index" in capsys.readouterr().out
    assert list((tmp_path / "d").rglob("*.log")) == []
