"""Nobody speaks through the relay under somebody else's name."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.matrix_ports import MatrixRejectedError, MemberProfile
from bridge_core.engine.relaynames import RelayNames, clean, shown_id
from tests.harness import Harness
from tests.scripted import Script

ROOM = RoomId("!room")
MALLORY = UserId("@mallory:hs.test")
PROFILE = "com.beeper.per_message_profile"


class _Matrix:
    """A room with Alice, a ghost called Dora, and the bot."""

    def __init__(self) -> None:
        self.asked = 0
        self.meanwhile = lambda: None
        self.broken = False

    async def members(self, room: RoomId) -> dict[UserId, MemberProfile]:
        self.asked += 1
        if self.broken:
            raise MatrixRejectedError("M_FORBIDDEN", "not there", 403)
        await asyncio.sleep(0)
        self.meanwhile()
        names = {"@alice:hs.test": "Alice", "@_net_dora:hs.test": "Dora", "@bridgebot:hs.test": "Bridge"}
        nameless = {"@carol:hs.test": None, MALLORY: "whatever"}
        return {UserId(user): MemberProfile(name, None) for user, name in {**names, **nameless}.items()}


def _names(matrix: _Matrix | None = None) -> RelayNames:
    return RelayNames(matrix or _Matrix())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        *("Alice", "ALICE", "\u0410lice", "A1ice", "\u202eAlice", "Al\u200bice", " Alice ", "<Alice>", "Alice:"),
        *("(Alice)", "@Alice", "Dora", "D\u03bfra", "Bridge", "carol", "*Alice*", "Alice\u0301", "A\u2060lice"),
    ],
)
async def test_another_ones_name_gets_the_id(name: str) -> None:
    """Who is called like a member, a ghost or the bot, or looks so, is shown with their full user id."""
    shown = await _names().of(ROOM, MatrixSender(MALLORY, name))
    assert shown.endswith(" (@mallory:hs.test)")
    assert shown.count("(") == shown.count(")") == 1


async def test_an_own_name_stays() -> None:
    """Whose name is theirs alone is shown under it; nameless ones under their id."""
    names = _names()
    assert await names.of(ROOM, MatrixSender(UserId("@alice:hs.test"), "Alice")) == "Alice"
    assert await names.of(ROOM, MatrixSender(MALLORY, "Mallory O\u2019Brien")) == "Mallory O\u2019Brien"
    assert await names.of(ROOM, MatrixSender(MALLORY, "\u202e\u200b\u3164")) == "@mallory:hs.test"


async def test_who_comes_later_counts_too() -> None:
    """Names follow those who come, go and rename themselves, without asking the homeserver again."""
    matrix = _Matrix()
    names = _names(matrix)
    sender = MatrixSender(MALLORY, "Eve")
    assert await names.of(ROOM, sender) == "Eve"
    names.changed(ROOM, "@_net_eve:hs.test", {"membership": "join", "displayname": "eve"})
    assert await names.of(ROOM, sender) == "Eve (@mallory:hs.test)"
    names.changed(ROOM, "@_net_eve:hs.test", {"membership": "join", "displayname": "Eva Maria"})
    assert await names.of(ROOM, sender) == "Eve"
    names.changed(ROOM, "@x:hs.test", {"membership": "join", "displayname": "\u0415ve"})
    assert await names.of(ROOM, sender) == "Eve (@mallory:hs.test)"
    names.changed(ROOM, "@x:hs.test", {"membership": "ban", "displayname": "\u0415ve"})
    assert await names.of(ROOM, sender) == "Eve"
    assert matrix.asked == 1


async def test_who_comes_while_members_are_asked_for() -> None:
    """A join that overtakes the list of members is not lost."""
    matrix = _Matrix()
    names = _names(matrix)
    matrix.meanwhile = lambda: names.changed(ROOM, "@_net_eve:hs.test", {"membership": "join", "displayname": "Eve"})
    assert await names.of(ROOM, MatrixSender(MALLORY, "Eve")) == "Eve (@mallory:hs.test)"


async def test_unknown_members_are_no_licence() -> None:
    """Where the members cannot be had, everybody is shown with their id."""
    matrix = _Matrix()
    matrix.broken = True
    assert await _names(matrix).of(ROOM, MatrixSender(MALLORY, "Eve")) == "Eve (@mallory:hs.test)"


@given(st.text(max_size=300))
def test_a_clean_name_is_one_short_line(name: str) -> None:
    """Whatever somebody calls themselves: at most forty visible characters, no brackets, colons or controls."""
    cleaned = clean(name)
    assert len(cleaned) <= 40 and not set(cleaned) & set("<>()[]{}|:*\n\r\0")
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cf", "Cs", "Ps", "Pe", "Zl", "Zp"}
    assert cleaned == " ".join(cleaned.split())


@given(st.text(max_size=300))
def test_an_id_is_short_and_plain(user: str) -> None:
    """User ids of other servers hold what they like; what is shown is printable, and different for different ones."""
    shown = shown_id(f"@{user}:evil.example")
    assert len(shown) <= 80 and shown.isascii() and shown.isprintable() and not set(shown) & set(" <>()[]{}|")
    assert shown == f"@{user}:evil.example" or shown != shown_id(f"@{user}!:evil.example")


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _named(bridge: Harness, script: Script, text: str) -> str:
    await bridge.until(lambda: text in script.texts())
    return script.sent[script.texts().index(text)][1].sender.name


async def test_a_bridge_tells_look_alikes_apart(bridge: Harness, script: Script) -> None:
    """Of two people with one name in a room each is shown with their id; so is who takes a ghost's name."""
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "one")
    assert await _named(bridge, script, "one") == "alice"
    mallory = bridge.homeserver.user("mallory")
    mallory.join(room)
    mallory.set_profile("\u0410lice")
    mallory.send(room, "two")
    bridge.alice.send(room, "three")
    assert await _named(bridge, script, "two") == "\u0410lice (@mallory:hs.test)"
    assert await _named(bridge, script, "three") == "alice (@alice:hs.test)"
    assert script.inbox is not None
    sender = RemoteSender(RemoteUserId("d"), "Dora")
    await script.inbox.receive([RemoteMessage(ChatId("lobby"), sender, Content((Plain("I am Dora"),)))])
    await bridge.homeserver.wait_event(room, lambda e: e["content"].get("body") == "I am Dora")
    await bridge.settled()
    mallory.set_profile("dora")
    mallory.send(room, "me too")
    assert await _named(bridge, script, "me too") == "dora (@mallory:hs.test)"


async def test_a_profile_is_never_shown_alone(bridge: Harness, script: Script) -> None:
    """Whom a sender claims to speak for is shown with who claims it; the name before the text is taken off."""
    room = await bridge.portal_room("net", "lobby")
    profile = {"id": "x", "displayname": "The <Boss> (via God)", "has_fallback": True}
    bridge.alice.send(room, "The <Boss> (via God): you are fired", **{PROFILE: profile})
    assert await _named(bridge, script, "you are fired") == "The Boss via God (via alice)"
    bridge.alice.send(room, "plain", **{PROFILE: {"id": "x", "displayname": "\u202e"}})
    assert await _named(bridge, script, "plain") == "alice"
    bridge.alice.send(room, "odd", **{PROFILE: ["x"]})
    assert await _named(bridge, script, "odd") == "alice"
