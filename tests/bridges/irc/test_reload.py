"""A changed configuration is taken over while the bridge runs, as far as it can be; the rest is named."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.engine.permissions import Permission
from bridges.irc.config import IrcConfig
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from bridges.irc.reloading import LIVE, reload
from bridges.irc.state import NetworkState
from tests.harness import Harness

ANNA = UserId("@anna:hs.test")


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[DemoIrcServer]:
    server = DemoIrcServer()
    await server.start()
    yield server
    await server.stop()


def _change(folder: Path, change: Any) -> None:
    yaml = YAML(typ="safe")
    path = folder / "config.yaml"
    data = yaml.load(path.read_text())
    change(data)
    with path.open("w") as file:
        yaml.dump(data, file)


async def test_what_can_change_holds_at_once_and_the_rest_is_named(tmp_path: Path, server: DemoIrcServer) -> None:
    """Permissions, filters and what a network can change hold without a new connection; other keys wait for a start."""
    irc = {"type": "irc", "server": "127.0.0.1", "port": server.port, "tls": False, "nick": "relay", "rate": 0}
    bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob")
    await bob.join("#den")
    try:
        async with Harness(tmp_path, {"irc": {**irc, "portals": ["#den"], "connect_rate": 0}}) as bridge:
            running = bridge.running
            room = await running.engine.rooms.ensure(
                await running.engine.portals.ensure(NetworkId("irc"), ChatId("#den"))
            )
            bridge.alice.join(room)
            bridge.alice.send(room, "one")
            assert (await bob.wait_text("one")).text.startswith("<")
            assert running.whomay.permissions.of(ANNA) is Permission.USER

            def change(data: Any) -> None:
                data["permissions"]["@anna:hs.test"] = "blocked"
                data["networks"]["irc"] |= {
                    "relay_format": "[{name}] ",
                    "portal_filter": {"deny": ["#secret*"]},
                    "nick": "other",
                    "leave_grace": 99,
                }
                data["homeserver"]["request_timeout"] = 33
                data["networks"]["more"] = {"type": "irc", "server": "irc.test"}
                data["appservice"] |= {"user_template": "_{network}_{id}"}

            _change(tmp_path, change)
            first = await running.reload()
            assert set(first.applied) == {"permissions", "portal_filter"}
            assert {
                "networks.irc.nick",
                "networks.irc.leave_grace",
                "homeserver.request_timeout",
                "networks.more",
            } <= set(first.refused)
            assert running.whomay.permissions.of(ANNA) is Permission.BLOCKED
            with pytest.raises(RejectedError):
                running.whomay.filters.new_chat(NetworkId("irc"), ChatId("#secrets"))
            bridge.alice.send(room, "two")
            assert (await bob.wait_text("two")).text.startswith("[")
            assert server.world.stats["registrations"] == 2, "nobody was connected anew"
            again = await running.reload()
            assert again.applied == () and again.refused == first.refused
    finally:
        await bob.close()


async def test_a_mistake_changes_nothing(tmp_path: Path, server: DemoIrcServer) -> None:
    """A file that is wrong anywhere is refused whole, with every mistake in it."""
    irc = {"type": "irc", "server": "127.0.0.1", "port": server.port, "tls": False, "nick": "relay", "rate": 0}
    async with Harness(tmp_path, {"irc": {**irc, "connect_rate": 0}}) as bridge:
        running = bridge.running

        def change(data: Any) -> None:
            data["permissions"]["@anna:hs.test"] = "blocked"
            data["networks"]["irc"]["relay_format"] = "nobody"

        _change(tmp_path, change)
        result = await running.reload()
        assert result.applied == () and any("relay_format" in one for one in result.problems)
        assert running.whomay.permissions.of(ANNA) is Permission.USER
        (tmp_path / "config.yaml").write_text("a: [")
        assert (await running.reload()).problems


@pytest.mark.parametrize("fails", ["read", "adapter"])
async def test_whatever_goes_wrong_changes_nothing(
    tmp_path: Path, server: DemoIrcServer, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """An error of any kind, wherever it comes from, is told in the log, raises nothing, and all is as it was; the next
    time it can be taken over."""
    irc = {"type": "irc", "server": "127.0.0.1", "port": server.port, "tls": False, "nick": "relay", "rate": 0}
    async with Harness(tmp_path, {"irc": {**irc, "connect_rate": 0}}) as bridge:
        running = bridge.running

        def change(data: Any) -> None:
            data["permissions"]["@anna:hs.test"] = "blocked"
            data["networks"]["irc"] |= {"relay_format": "[{name}] ", "portal_filter": {"deny": ["#secret*"]}}

        _change(tmp_path, change)
        failures = [ValueError("secret words"), ValueError("secret words")] if fails == "adapter" else []

        def broken(state: NetworkState, new: Any) -> list[str]:
            if failures:
                raise failures.pop()
            return reload(state, new)

        def unreadable(path: Path) -> Any:
            raise MemoryError("secret words")

        monkeypatch.setattr("bridges.irc.connector.reload", broken)
        read = running._reload._read
        if fails == "read":
            running._reload._read = unreadable
        result = await running.reload()
        assert result.applied == () and result.problems and "secret" not in str(result)
        assert running.whomay.permissions.of(ANNA) is Permission.USER
        running.whomay.filters.new_chat(NetworkId("irc"), ChatId("#secrets"))
        running._reload._read = read
        failures.clear()
        assert set((await running.reload()).applied) == {"permissions", "portal_filter"}
        assert running.whomay.permissions.of(ANNA) is Permission.BLOCKED


def test_only_what_is_read_when_needed_changes() -> None:
    """Keys of channels and whatever connections were made with stay as they are, and are named."""
    state = NetworkState(NetworkId("irc"), IrcConfig(server="irc.test", channels={"keys": {"#a": "x"}}))
    new = IrcConfig(
        server="other.test",
        typing=True,
        channels={"keys": {"#a": "y"}, "forwards": "follow"},
        consent={"required": False},
        staff={"accounts": ["oper"]},
    )
    assert set(reload(state, new)) == {"server", "channels.keys"}
    assert (state.config.server, state.config.typing, state.config.channels.forwards) == ("irc.test", True, "follow")
    assert state.config.channels.keys["#a"].get_secret_value() == "x"
    assert not state.consents.settings.required and state.config.staff.accounts == new.staff.accounts
    assert IrcConfig.model_fields.keys() >= LIVE
