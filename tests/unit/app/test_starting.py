"""What an admin reads when the bridge cannot start: what, where, and what to do."""

import asyncio
from pathlib import Path

import pytest

from bridge_core.app.bridge import Bridge
from bridge_core.cli.main import main
from bridge_core.config import ConfigError, load_config
from bridge_core.demo.ports import free_port
from bridge_core.store.errors import LeaseError, StartError
from tests.harness import write_config


async def test_an_address_that_is_taken_is_named_by_its_key(tmp_path: Path) -> None:
    """Somebody listens there already: the error names the key, and nothing is left open."""
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    path = write_config(tmp_path, "http://127.0.0.1:9", {"echo": {"type": "echo"}}, port=port)
    with pytest.raises(StartError, match=r"cannot listen where appservice\.listen says"):
        await Bridge(load_config(path, {})).start()
    taken.close()


async def test_a_second_bridge_hears_of_the_first(tmp_path: Path) -> None:
    """A second start with the same configuration says that the first is running, and not that a port is taken."""
    path = write_config(tmp_path, "http://127.0.0.1:9", {"echo": {"type": "echo"}}, port=free_port())
    first = Bridge(load_config(path, {}))
    await first.start()
    try:
        with pytest.raises(LeaseError, match="owns this database"):
            await Bridge(load_config(path, {})).start()
    finally:
        await first.stop(asyncio.get_running_loop().time() + 10)


def test_a_portal_that_is_no_chat_is_found_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A channel without its # is named with file, line and key, by `check` and by `run` alike."""
    irc = {"type": "irc", "server": "irc.example.org", "portals": ["#welcome", "welcome"]}
    path = write_config(tmp_path, "http://127.0.0.1:9", {"irc": irc}, port=free_port())
    with pytest.raises(ConfigError, match=r"networks\.irc\.portals\.1: 'welcome' is no chat"):
        Bridge(load_config(path, {}))
    assert main(["check", "--offline", "-c", str(path)]) == 1
    assert "networks.irc.portals.1: 'welcome' is no chat" in capsys.readouterr().out
    assert main(["run", "-c", str(path)]) == 1
    assert "networks.irc.portals.1: 'welcome' is no chat" in capsys.readouterr().err


def test_init_keeps_the_former_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`init --force` makes a new file, and says where the old one with its edits is."""
    arguments = ["init", "--no-input", "-c", str(tmp_path / "config.yaml"), "--homeserver", "http://127.0.0.1:8008"]
    arguments += ["--domain", "example.org", "--network", "echo=echo"]
    assert main(arguments) == 0
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text() + "\n# written by hand\n")
    assert main([*arguments, "--force"]) == 0
    assert "config.yaml.bak" in capsys.readouterr().out
    assert "# written by hand" in (tmp_path / "config.yaml.bak").read_text()
