"""The management room and `!bridge` commands: who may, what happens, and what the answer says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
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
        relates = content.get("m.relates_to") or {}
        return (
            candidate["sender"] == bridge.homeserver.bot and relates.get("m.in_reply_to", {}).get("event_id") == event
        )

    found = await bridge.homeserver.wait_event(room, answers)
    return str(found["content"]["body"])


async def test_an_invited_bot_makes_a_management_room(bridge: Harness) -> None:
    """A user who invites the bot gets a room where plain words are commands."""
    room = await _management(bridge, bridge.alice)
    assert "status" in await _ask(bridge, bridge.alice, room, "help")
    assert "net (Scripted): connected" in await _ask(bridge, bridge.alice, room, "status")
    assert "plaintext exists on the server" in await _ask(bridge, bridge.alice, room, "status")


async def test_a_management_room_stays_one(bridge: Harness) -> None:
    """A further room of two is told which one it is; the first still takes plain words, until its user leaves it."""
    first = await _management(bridge, bridge.alice)
    second = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    told = await bridge.homeserver.wait_event(second, lambda e: "Your management room" in str(e["content"].get("body")))
    assert first in told["content"]["body"]
    assert "net (Scripted): connected" in await _ask(bridge, bridge.alice, first, "status")
    assert "net (Scripted): connected" in await _ask(bridge, bridge.alice, second, "!bridge status")
    bridge.alice.leave(first)
    third = await _management(bridge, bridge.alice)
    assert "net (Scripted): connected" in await _ask(bridge, bridge.alice, third, "status")


async def test_an_admin_makes_a_portal(bridge: Harness, script: Script) -> None:
    """`portal` makes the room of a chat and invites the admin; a user may not."""
    admin = bridge.homeserver.user("admin")
    room = await _management(bridge, admin)
    assert "you are invited" in await _ask(bridge, admin, room, "portal net garden")
    portal = bridge.homeserver.room("#_net_garden:hs.test")
    assert portal.membership(admin.id) == "invite"
    own = await _management(bridge, bridge.alice)
    assert "needs the level admin" in await _ask(bridge, bridge.alice, own, "portal net cellar")


async def test_mistakes_are_answered_in_words(bridge: Harness) -> None:
    """Unknown commands, networks and chats, and wrong numbers of words each get an answer that helps."""
    admin = bridge.homeserver.user("admin")
    room = await _management(bridge, admin)
    assert "I do not know" in await _ask(bridge, admin, room, "frobnicate")
    assert "portal NETWORK CHAT" in await _ask(bridge, admin, room, "portal net")
    assert "there is no network nowhere; there are: net" in await _ask(bridge, admin, room, "portal nowhere x")


@pytest.mark.parametrize("group", ["journal", "filter", "policy", "media", "staff"])
async def test_the_first_word_of_a_group_lists_it(bridge: Harness, group: str) -> None:
    """Who says `journal` alone is told what the group can do; who says another second word, too. Nothing is done."""
    admin = bridge.homeserver.user("admin")
    room = await _management(bridge, admin)
    names = [one.name for one in bridge.running.engine.commands if one.name.startswith(f"{group} ")]
    listed = await _ask(bridge, admin, room, group)
    wrong = await _ask(bridge, admin, room, f"{group} frobnicate")
    assert names and all(name in listed and name in wrong for name in names)
    assert "I do not know" not in listed and wrong.startswith("I do not know that command. There are:")
    own = await _management(bridge, bridge.alice)
    assert "no such command for you" in await _ask(bridge, bridge.alice, own, group)


async def test_no_slip_is_answered_with_a_command_that_destroys(bridge: Harness) -> None:
    """What is proposed for a word that nobody knows asks back, or only lists what there is."""
    commands = bridge.running.engine.commands
    admin = bridge.homeserver.user("admin")
    room = await _management(bridge, admin)
    destroying = [one.name for one in commands if one.asks is not None]
    assert "journal drop" in destroying
    for slip in ("journaldrop", "journal-dropp", "mediarevoke"):
        answer = await _ask(bridge, admin, room, slip)
        assert "Did you mean" in answer, answer
        assert not any(name in answer for name in destroying), answer


async def test_an_existing_room_is_plumbed_by_who_may_change_it(bridge: Harness, script: Script) -> None:
    """`!bridge bridge` joins a room to a chat when asked by someone with the power for it, and `unbridge` ends it."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.until(lambda: bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "join")
    mallory = bridge.homeserver.user("mallory")
    bridge.alice.invite(room, mallory.id)
    mallory.join(room)
    assert "may not change" in await _ask(bridge, mallory, room, "!bridge bridge net lobby")
    assert "now bridged to lobby" in await _ask(bridge, bridge.alice, room, "!bridge bridge net lobby")
    bridge.alice.send(room, "over the plumbing")
    await bridge.until(lambda: "over the plumbing" in script.texts())
    assert "bridged no more" in await _ask(bridge, bridge.alice, room, "!bridge unbridge")
    bridge.alice.send(room, "not any more")
    await bridge.settled()
    assert "not any more" not in script.texts()


async def test_a_private_chat_is_opened(bridge: Harness, script: Script) -> None:
    """`chat` makes a room with the person's ghost in it and invites the user."""
    script.provided = True
    room = await _management(bridge, bridge.alice)
    assert "You are invited" in await _ask(bridge, bridge.alice, room, "chat net bob")
    (private,) = [
        one for one in bridge.homeserver.rooms() if bridge.homeserver.room(one).membership("@_net_bob:hs.test")
    ]
    bridge.alice.join(private)
    bridge.alice.send(private, "hello bob")
    await bridge.until(lambda: "hello bob" in script.texts())


async def test_inviting_a_ghost_opens_a_private_chat(bridge: Harness, script: Script) -> None:
    """A room of a user and a ghost is a private chat with the person."""
    script.provided = True
    await _management(bridge, bridge.alice)
    from bridge_core.api.content import Content, Plain
    from bridge_core.api.events import RemoteMessage, RemoteSender

    assert script.inbox is not None
    await script.inbox.receive([RemoteMessage("lobby", RemoteSender("bob", "Bob"), Content((Plain("hi"),)))])  # type: ignore[arg-type]
    await bridge.settled()
    room = bridge.alice.create_room(invite=["@_net_bob:hs.test"], is_direct=True)
    await bridge.until(lambda: bridge.homeserver.room(room).membership("@_net_bob:hs.test") == "join")
    await bridge.settled()
    bridge.alice.send(room, "direct")
    await bridge.until(lambda: "direct" in script.texts())
    assert script.sent[-1][1].chat == "dm-bob"


async def test_commands_are_run_once(bridge: Harness) -> None:
    """A command is answered once, also when the homeserver sends it again."""
    room = await _management(bridge, bridge.alice)
    await _ask(bridge, bridge.alice, room, "status")
    events = [event for _, body in bridge.homeserver.transactions for event in body.get("events", [])]

    class Again:
        """The same events once more."""

        id, digest, ephemeral = "again", b"again", ()

    Again.events = events  # type: ignore[attr-defined]
    await bridge.running.engine.intake.accept(Again())  # type: ignore[arg-type]
    await bridge.settled()
    answers = [body for sender, body in bridge.homeserver.messages(room) if "connected" in str(body)]
    assert len(answers) == 1


async def test_the_management_room_is_not_bridged_by_mistake(bridge: Harness) -> None:
    """A plain `bridge` there is refused: what is a command now would be said to a chat. With the prefix it is done."""
    room = await _management(bridge, bridge.alice)
    assert "say it in the room that is to be bridged" in await _ask(bridge, bridge.alice, room, "bridge net elsewhere")
    assert not bridge.running.engine.portals.in_room(room)  # type: ignore[arg-type]
    told = await _ask(bridge, bridge.alice, room, "!bridge bridge net elsewhere")
    assert "all else is said to the chat" in told
    assert bridge.running.engine.portals.in_room(room)  # type: ignore[arg-type]


async def test_what_there_is_not_is_said(bridge: Harness) -> None:
    """Lists of a network that is not there, and help for no command, are answered in words."""
    room = await _management(bridge, bridge.alice)
    for text in ("chats nowhere", "list nowhere"):
        assert "there is no network nowhere; there are: net" in await _ask(bridge, bridge.alice, room, text)
    assert "there is no such command" in await _ask(bridge, bridge.alice, room, "help nothing")
