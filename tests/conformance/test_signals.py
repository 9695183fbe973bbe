"""Receipts, typing and presence between Matrix and a network: the same on FakeHomeserver and on Synapse."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import (
    Fate,
    Presence,
    RemoteMessage,
    RemotePresence,
    RemoteReceipt,
    RemoteSender,
    RemoteStatus,
    RemoteTyping,
)
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixPresence, MatrixReceipt, MatrixTyping
from bridge_core.api.network import Sent
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import SERVER, Homeserver
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
GHOST = f"@_net_bob:{SERVER}"


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """A network that shows presence, and whose users have logins."""
    script = Script()
    script.provided = True
    return {"script": script, "presence": True}


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` gives once it gives something."""
    async with asyncio.timeout(60):
        while not (found := await look()):
            await asyncio.sleep(0.03)
    return found


async def said(at: Bridged, chat: str, room: str, message: str) -> str:
    """Bob's message, once the human sees it; its event."""
    assert at.script.inbox is not None
    content = Content((Plain(message),))
    await at.script.inbox.receive([RemoteMessage(ChatId(chat), BOB, content, MessageId(message))])
    event = await at.human.sees(room, lambda e: e["content"].get("body") == message)
    return str(event["event_id"])


async def entered(at: Bridged) -> tuple[str, str]:
    """A chat and its room, where the human has spoken and so has a login."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await at.human.send(room, f"hello {chat}")
    await at.bridge.until(lambda: f"hello {chat}" in at.script.texts())
    at.script.signals.clear()
    return chat, room


async def signalled(at: Bridged, kind: type, match: Callable[[Any], bool] = lambda _: True) -> Any:
    """The first signal of a class that matches, with the login it was given to."""

    def look() -> Any:
        return next(((who, one) for who, one in at.script.signals if isinstance(one, kind) and match(one)), None)

    return await at.bridge.until(look)


async def test_a_receipt_reaches_the_users_own_connection(at: Bridged) -> None:
    """What a Matrix user has read is told to the network by their own login, with the message's remote id."""
    chat, room = await entered(at)
    for number in range(10):  # Synapse drops signals in the moments in which it takes the bridge for away
        event = await said(at, chat, room, f"{chat}-{number}")
        await at.human.read(room, event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(6):
                login, receipt = await signalled(at, MatrixReceipt)
                break
    else:
        pytest.fail("no receipt was passed on")
    assert login == at.human.id
    assert (receipt.chat, receipt.user, receipt.target.id) == (chat, at.human.id, f"{chat}-{number}")
    assert receipt.target.remote_sender == "bob"


async def test_a_receipt_for_something_else_counts_for_the_message_before(at: Bridged) -> None:
    """Who has read up to a reaction or a command has read the last message that crossed ahead of it."""
    chat, room = await entered(at)
    event = await said(at, chat, room, f"{chat}-one")
    await at.human.send(room, "!bridge ping")
    reaction = await at.human.react(room, event, "+")
    await at.human.read(room, reaction)
    _, receipt = await signalled(at, MatrixReceipt)
    assert receipt.target.id == f"{chat}-one"


async def test_private_receipts_stay_private(at: Bridged) -> None:
    """A private read receipt is told to nobody; the public one after it is."""
    chat, room = await entered(at)
    first, second = await said(at, chat, room, f"{chat}-one"), await said(at, chat, room, f"{chat}-two")
    await at.human.read(room, first, "m.read.private")
    await at.human.read(room, second)
    await signalled(at, MatrixReceipt, lambda one: one.target.id == f"{chat}-two")
    assert [one.target.id for _, one in at.script.signals if isinstance(one, MatrixReceipt)] == [f"{chat}-two"]


async def test_typing_reaches_the_network_and_ends(at: Bridged) -> None:
    """The network learns that a Matrix user types, and that they stopped; ghosts' typing does not come back to it."""
    chat, room = await entered(at)
    await said(at, chat, room, f"{chat}-one")
    assert at.script.inbox is not None
    await at.script.inbox.receive([RemoteTyping(ChatId(chat), BOB, 30)])
    await at.human.type(room)
    login, typing = await signalled(at, MatrixTyping)
    assert (login, typing.chat, typing.started) == (at.human.id, chat, {at.human.id})
    await at.human.type(room, 0)
    await signalled(at, MatrixTyping, lambda one: one.stopped == {at.human.id})
    assert all(one.started | one.stopped == {at.human.id} for _, one in at.script.signals)


async def test_presence_reaches_the_network_where_it_is_on(at: Bridged) -> None:
    """A Matrix user's presence is told to their login's client."""
    await entered(at)
    await at.human.be("unavailable", "at lunch")
    login, presence = await signalled(at, MatrixPresence, lambda one: one.status == "at lunch")
    assert (login, presence.user, presence.presence) == (at.human.id, at.human.id, Presence.AWAY)
    await at.human.be("online")


async def test_a_remote_receipt_is_the_ghosts(at: Bridged) -> None:
    """What a person of the network has read is the read receipt of their ghost; it moves on with what they read."""
    chat, room = await entered(at)
    await said(at, chat, room, f"{chat}-one")
    at.script.answer = lambda message, attempt: Sent((MessageId(f"{chat}-reply"),))
    event = await at.human.send(room, "have you read this?")
    await at.bridge.until(lambda: "have you read this?" in at.script.texts())
    assert at.script.inbox is not None
    await at.script.inbox.receive([RemoteReceipt(ChatId(chat), BOB, MessageId(f"{chat}-reply"))])

    async def read() -> bool:
        return (await at.homeserver.readers(at.human, room)).get(GHOST) == event

    await eventually(read)
    at.script.answer = lambda message, attempt: Sent()


async def test_a_message_and_its_receipt_may_come_together(at: Bridged) -> None:
    """A receipt in one batch with the message it is about finds it."""
    chat, room = await entered(at)
    await said(at, chat, room, f"{chat}-one")
    assert at.script.inbox is not None
    eve = RemoteSender(RemoteUserId("eve"), "Eve")
    message = RemoteMessage(ChatId(chat), eve, Content((Plain("both"),)), MessageId(f"{chat}-both"))
    await at.script.inbox.receive([message, RemoteReceipt(ChatId(chat), BOB, MessageId(f"{chat}-both"))])
    event = await at.human.sees(room, lambda e: e["content"].get("body") == "both")

    async def read() -> bool:
        return (await at.homeserver.readers(at.human, room)).get(GHOST) == event["event_id"]

    await eventually(read)


async def test_remote_typing_is_shown_until_they_speak(at: Bridged) -> None:
    """A ghost types as its person does, and no more once their message is there."""
    chat, room = await entered(at)
    await said(at, chat, room, f"{chat}-one")
    assert at.script.inbox is not None
    await at.script.inbox.receive([RemoteTyping(ChatId(chat), BOB, 30)])

    async def typing() -> bool:
        return GHOST in await at.homeserver.typists(at.human, room)

    async def silent() -> bool:
        return not await typing()

    await eventually(typing)
    await said(at, chat, room, f"{chat}-two")
    await eventually(silent)


async def test_nobody_enters_a_room_for_typing_or_reading(at: Bridged) -> None:
    """Signals of people who never spoke make no ghosts and bring none into rooms."""
    chat, room = await entered(at)
    event = await said(at, chat, room, f"{chat}-one")
    assert at.script.inbox is not None
    lurker = RemoteSender(RemoteUserId(f"lurker-{chat}"), "Lurker")
    await at.script.inbox.receive(
        [RemoteTyping(ChatId(chat), lurker, 30), RemoteReceipt(ChatId(chat), lurker, MessageId(f"{chat}-one"))]
    )
    await said(at, chat, room, f"{chat}-two")
    assert event
    members = await at.human.call("GET", f"rooms/{room}/joined_members")
    assert not [user for user in members["joined"] if "lurker" in user]


async def test_remote_presence_is_the_ghosts(at: Bridged) -> None:
    """A ghost is there or away as its person is."""
    chat, room = await entered(at)
    await said(at, chat, room, f"{chat}-one")
    assert at.script.inbox is not None
    await at.script.inbox.receive([RemotePresence(BOB, Presence.ONLINE, "hacking")])

    async def there() -> bool:
        answer = await at.human.call("GET", f"presence/{GHOST}/status")
        return (answer.get("presence"), answer.get("status_msg")) == ("online", "hacking")

    await eventually(there)


async def test_a_bounce_is_told_to_the_sender_alone(at: Bridged) -> None:
    """Hours after a message was handed over, its sender learns for whom it failed, and why, once."""
    chat, room = await entered(at)
    at.script.answer = lambda message, attempt: Sent((MessageId(f"{chat}-mail"),))
    event = await at.human.send(room, "to both of you")
    await at.bridge.until(lambda: "to both of you" in at.script.texts())
    at.script.answer = lambda message, attempt: Sent()
    assert at.script.inbox is not None
    bounce = RemoteStatus(ChatId(chat), MessageId(f"{chat}-mail"), Fate.FAILED, RemoteUserId("carol"), "mailbox full")
    await at.script.inbox.receive([bounce])
    await at.script.inbox.receive([bounce])
    notice = await at.told(room, "carol: mailbox full")
    assert notice["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == event
    await said(at, chat, room, f"{chat}-later")
    notices = [e for e in await at.human.timeline(room) if "mailbox full" in str(e["content"].get("body"))]
    assert len(notices) == 1
