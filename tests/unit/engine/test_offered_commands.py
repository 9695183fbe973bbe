"""Commands that a network offers itself: how they are named, who may, and what becomes of their mistakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script


class Offering:
    """What was called."""

    def __init__(self) -> None:
        self.calls: list[CommandCall] = []
        self.error: Exception | None = None

    async def run(self, call: CommandCall) -> str:
        """Answer, or fail as the test says."""
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return f"done for {call.user}"

    def commands(self) -> tuple[AdapterCommand, ...]:
        """One command of each sort."""
        return (
            AdapterCommand("nick", "NEW", "be called otherwise", self.run),
            AdapterCommand("secure", "PASSWORD", "keep a password", self.run, private=True, secret=("password",)),
            AdapterCommand("release", "[REASON...]", "let a channel go", self.run, moderates=True),
            AdapterCommand("raw", "LINE...", "say anything", self.run, CommandLevel.ADMIN),
            AdapterCommand("status", "", "how it is there", self.run),
        )


@pytest.fixture(name="offering")
def _offering() -> Offering:
    return Offering()


@pytest.fixture(name="script")
def _script(offering: Offering) -> Script:
    script = Script()
    script.offered = offering.commands()
    return script


@asynccontextmanager
async def _bridge(tmp_path: Path, script: Script, *names: str) -> AsyncIterator[Harness]:
    networks = {name: {"type": "scripted", "portals": ["lobby"]} for name in names}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _management(bridge: Harness, user: FakeUser) -> str:
    room = user.create_room(invite=[bridge.homeserver.bot], is_direct=True)
    await bridge.homeserver.wait_event(room, lambda e: "management room" in str(e["content"].get("body")))
    return room


async def _ask(bridge: Harness, user: FakeUser, room: str, text: str) -> str:
    event = user.send(room, text)

    def answers(candidate: dict[str, object]) -> bool:
        content = candidate["content"]
        assert isinstance(content, dict)
        return (content.get("m.relates_to") or {}).get("m.in_reply_to", {}).get("event_id") == event

    return str((await bridge.homeserver.wait_event(room, answers))["content"]["body"])


async def test_a_command_of_a_network_is_run_with_what_was_said(
    tmp_path: Path, script: Script, offering: Offering
) -> None:
    """It is found under the network's name and, with one network, without; help lists it; its text is the answer."""
    async with _bridge(tmp_path, script, "net") as bridge:
        room = await _management(bridge, bridge.alice)
        assert "net nick NEW - be called otherwise" in await _ask(bridge, bridge.alice, room, "help")
        for short in ("help net nick", "help nick"):
            assert "net nick NEW - be called otherwise" in await _ask(bridge, bridge.alice, room, short)
        assert await _ask(bridge, bridge.alice, room, "net nick bob") == f"done for {bridge.alice.id}"
        assert await _ask(bridge, bridge.alice, room, "nick carol") == f"done for {bridge.alice.id}"
        assert "Write it as: net nick NEW" in await _ask(bridge, bridge.alice, room, "nick")
        assert [call["new"] for call in offering.calls] == ["bob", "carol"]
        assert offering.calls[0].chat is None and offering.calls[0].login is None


async def test_the_bridges_own_commands_come_first(tmp_path: Path, script: Script, offering: Offering) -> None:
    """A network's command that is called like one of the bridge's own is found under the network's name only."""
    async with _bridge(tmp_path, script, "net") as bridge:
        room = await _management(bridge, bridge.alice)
        assert "plaintext exists" in await _ask(bridge, bridge.alice, room, "status")
        assert not offering.calls
        assert "done for" in await _ask(bridge, bridge.alice, room, "net status")


async def test_two_networks_are_told_apart(tmp_path: Path, script: Script, offering: Offering) -> None:
    """Of two networks with the command, the room's is meant; where no room says so, it is asked which."""
    async with _bridge(tmp_path, script, "net", "other") as bridge:
        room = await _management(bridge, bridge.alice)
        assert "Which network? Say one of: net nick, other nick." in await _ask(bridge, bridge.alice, room, "nick bob")
        portal = await bridge.portal_room("other", "lobby")
        assert "done for" in await _ask(bridge, bridge.alice, portal, "!bridge nick bob")
        assert [call.chat for call in offering.calls] == ["lobby"]


async def test_levels_and_rooms_are_checked(tmp_path: Path, script: Script, offering: Offering) -> None:
    """Levels hold, secrets are for the management room, and a moderator's command needs power in a bridged room."""
    async with _bridge(tmp_path, script, "net") as bridge:
        room = await _management(bridge, bridge.alice)
        portal = await bridge.portal_room("net", "lobby")
        assert "needs the level admin" in await _ask(bridge, bridge.alice, room, "net raw hello")
        assert "in your management room" in await _ask(bridge, bridge.alice, portal, "!bridge net secure hunter2")
        assert "in a room that is bridged to net" in await _ask(bridge, bridge.alice, room, "net release")
        assert "may not change" in await _ask(bridge, bridge.alice, portal, "!bridge net release")
        assert not offering.calls
        own = bridge.alice.create_room(invite=[bridge.homeserver.bot])
        await bridge.until(lambda: bridge.homeserver.room(own).membership(bridge.homeserver.bot) == "join")
        assert "now bridged" in await _ask(bridge, bridge.alice, own, "!bridge bridge net garden")
        assert "done for" in await _ask(bridge, bridge.alice, own, "!bridge net release of its own will")
        assert offering.calls[0].chat == "garden" and offering.calls[0]["reason"] == "of its own will"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RejectedError("that nick is taken"), "that nick is taken"),
        (NotConnectedError("net is away"), "net is away"),
        (KeyError("bug"), "the bridge made a mistake"),
    ],
)
async def test_errors_are_told_and_hold_nobody_up(
    tmp_path: Path, script: Script, offering: Offering, error: Exception, told: str
) -> None:
    """What goes wrong is said in words; the room goes on, whatever it was."""
    offering.error = error
    async with _bridge(tmp_path, script, "net") as bridge:
        room = await _management(bridge, bridge.alice)
        assert told in await _ask(bridge, bridge.alice, room, "net nick bob")
        assert "plaintext exists" in await _ask(bridge, bridge.alice, room, "status")
        assert len(offering.calls) == 1
