"""Operators of channels say yes and no to being bridged; nobody else does, and nothing crosses before."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteChatGone, RemoteConsent, RemoteEvent, RemoteMembers
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.api.network import Consent
from bridges.irc import consents
from bridges.irc.consents import Record
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, eventually, make_op, real

ALICE = UserId("@alice:hs.test")
X = ChatId("#x")


def _portal(adapter: Rig, chat: ChatId = X) -> None:
    """The chat has a portal from now on."""
    adapter.host._chats = (*adapter.host._chats, chat)


async def _ask(adapter: Rig, chat: ChatId = X, room: RoomFacts | None = None) -> Consent:
    _portal(adapter, chat)
    return await adapter.connector.consent(chat, ALICE, room)


def _of(adapter: Rig, kind: type[RemoteEvent], chat: ChatId = X) -> list[Any]:
    return [event for event in adapter.inbox.events if isinstance(event, kind) and event.chat == chat]


def _said_no(adapter: Rig, chat: ChatId = X) -> bool:
    """Whether the channel's consent was taken back, and its people are in no room any more."""
    empty = any(not event.members for event in _of(adapter, RemoteMembers, chat))
    return empty and any(not consent.granted for consent in _of(adapter, RemoteConsent, chat))


async def _gone(witness: Witness, nick: str = "relay") -> None:
    await witness.wait_for(lambda line: line.command in ("PART", "KICK") and nick in (line.nick, *line.params))


async def _allowed(adapter: Rig, op: Witness) -> None:
    """#x is bridged, by the word of its operator."""
    assert await _ask(adapter) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")
    op.privmsg("#x", "!bridge allow")
    await adapter.inbox.until(lambda: bool(_of(adapter, RemoteConsent)))
    await adapter.inbox.until(lambda: bool(_of(adapter, RemoteMembers)))


async def test_an_operator_is_asked_once_and_nothing_comes_before_they_agree(rig: StartRig, port: int) -> None:
    """The question names who asks; what is said before the yes stays there; the yes is kept with who gave it."""
    adapter = await rig(port, contact="admin@example.org")
    op = await adapter.witness("op", "#x")
    bob = await adapter.witness("bob", "#x")
    assert await _ask(adapter, room=RoomFacts(120, "shared")) is Consent.ASKED
    question = await op.wait_text("asks to bridge this channel")
    assert ALICE in question.text
    room = await op.wait_text("120 Matrix users are in that room")
    assert "reads all that was said there before" in room.text and "admin@example.org" in room.text
    bob.privmsg("#x", "secret")
    bob.privmsg("#x", "!bridge allow")
    await bob.wait_text("Only operators of #x")
    with pytest.raises(RejectedError, match="have not agreed"):
        await adapter.observer.send(adapter.message("hello", chat="#x", relayed=True), FakeAttempt())
    assert await _ask(adapter) is Consent.ASKED
    op.privmsg("#x", "!bridge allow")
    await op.wait_text("Thank you")
    await adapter.inbox.until(lambda: bool(_of(adapter, RemoteMembers)))
    bob.privmsg("#x", "now")
    await adapter.inbox.text("now")
    assert adapter.inbox.texts == ["!bridge allow", "now"] or adapter.inbox.texts == ["now"]
    (consent,) = _of(adapter, RemoteConsent)
    assert consent.granted and consent.by.name == "op"
    assert "op!" in consent.evidence and "modes o" in consent.evidence
    assert [line.text for line in op.lines if "asks to bridge" in line.text] == [question.text]


ROOMS = [
    (None, "A room will be made"),
    (RoomFacts(), "is not known"),
    (RoomFacts(1, "joined"), "1 Matrix user is in that room; its members read what is said from when they joined on."),
    (RoomFacts(3, "world_readable"), "3 Matrix users are in that room; anybody can read all that is said there"),
    (RoomFacts(3, "odd"), "who can read its history is not known"),
]


@pytest.mark.parametrize(("room", "words"), ROOMS)
async def test_operators_are_told_what_they_agree_to(
    rig: StartRig, serve: StartServer, room: RoomFacts | None, words: str
) -> None:
    """The question says how many are in the room and who reads its history, also where it is put after a restart."""
    server = await serve()
    first = await rig(server.port, consent={"ask": "wait"})
    assert await _ask(first, room=room) is Consent.ASKED
    kept = first.host.kv.values
    await first.observer.disconnect()
    adapter = Rig(server.port or 0, ("#x",))
    adapter.host.kv.values.update(kept)
    try:
        op = await adapter.witness("op", "#x")
        await adapter.start()
        await op.wait_text("asks to bridge this channel")
        await op.sync()
        assert any(words in line.text for line in op.lines)
    finally:
        await adapter.stop()


async def test_any_operator_ends_it_at_any_time(rig: StartRig, port: int) -> None:
    """On `!bridge leave` relay and puppets leave, what Matrix says is refused at once, and nobody is asked again."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    other = await adapter.witness("other", "#x")
    op.raw("MODE #x +o other")
    await op.sync()
    puppet = await adapter.puppet("@anna:hs.test", "#x", name="anna")
    other.privmsg("#x", "!bridge leave")
    await _gone(op)
    await _gone(op, "anna")
    await adapter.inbox.until(lambda: _said_no(adapter))
    assert [consent.granted for consent in _of(adapter, RemoteConsent)] == [True, False]
    assert _of(adapter, RemoteConsent)[1].by.name == "other" and _of(adapter, RemoteMembers)[-1].members == ()
    for client, relayed in ((adapter.observer, True), (puppet, False)):
        with pytest.raises(RejectedError):
            await client.send(adapter.message("still there?", chat="#x", relayed=relayed), FakeAttempt())
    with pytest.raises(RejectedError, match="do not want"):
        await puppet.prepare(X)
    assert await adapter.connector.consent(X, ALICE, None) is Consent.REFUSED
    other.privmsg("#x", "after")
    await other.sync()
    assert "after" not in adapter.inbox.texts


async def test_a_kick_ends_it_and_outlives_a_restart(rig: StartRig, port: int) -> None:
    """Who kicks the bot has said no: it does not come back, in the next process either."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    op.raw("KICK #x relay :out")
    await adapter.inbox.until(lambda: _said_no(adapter))
    await eventually(lambda: "refused" in str(adapter.host.kv.values.get("consent/#x")))
    kept = dict(adapter.host.kv.values)
    await adapter.stop()
    again = Rig(port, ("#a", "#x"))
    again.host.kv.values.update(kept)
    try:
        await again.connector.start(again.host, again.inbox)  # type: ignore[arg-type]
        again.observer = again.connector.client(None, again.inbox)  # type: ignore[assignment]
        await again.observer.connect(None)
        assert await again.observer.chat_info(ChatId("#a")) is not None
        assert await again.observer.chat_info(X) is None
        assert await again.connector.consent(X, ALICE, None) is Consent.REFUSED
    finally:
        await again.stop()


async def test_a_yes_right_behind_a_kick_counts(rig: StartRig, port: int) -> None:
    """Who kicks the bot and says yes in one breath is heard: what the server says of the kick refuses no entry."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    mark = op.mark()
    op.raw("KICK #x relay :out")
    op.privmsg("relay", "allow #x")
    await adapter.inbox.until(lambda: len(_of(adapter, RemoteConsent)) >= 3)
    await op.wait_text("Thank you", since=mark)
    assert [consent.granted for consent in _of(adapter, RemoteConsent)] == [True, False, True]
    assert adapter.observer.joined(X)


async def test_a_no_may_be_taken_back_in_private(rig: StartRig, port: int) -> None:
    """Only an operator of the channel can; the bot looks for itself, and leaves again when it is somebody else."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    bob = await adapter.witness("bob", "#x")
    op.privmsg("#x", "!bridge leave")
    await _gone(op)
    await adapter.inbox.until(lambda: _said_no(adapter))
    mark = op.mark()
    bob.privmsg("relay", "allow #x")
    await bob.wait_text("Only operators of #x")
    await op.wait_for(lambda line: line.command == "PART" and line.nick == "relay", since=mark)
    assert await adapter.connector.consent(X, ALICE, None) is Consent.REFUSED
    op.privmsg("relay", "allow #x")
    await op.wait_text("Thank you", since=mark)
    assert [consent.granted for consent in _of(adapter, RemoteConsent)] == [True, False, True]
    op.privmsg("#x", "welcome back")
    await adapter.inbox.text("welcome back")


@pytest.mark.parametrize("how", ["word", "kick", "staff"])
async def test_users_speak_again_after_a_second_yes(rig: StartRig, port: int, how: str) -> None:
    """However consent ended, who still has a connection enters the channel again with their next message."""
    adapter = await rig(port, staff={"masks": ["op!*@127.0.0.1"]}) if how == "staff" else await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    puppet = await adapter.puppet("@anna:hs.test", "#x", name="anna")
    end = {
        "word": "PRIVMSG #x :!bridge leave",
        "kick": "KICK #x relay :out",
        "staff": "PRIVMSG relay :leave #x by order of the staff",
    }
    op.raw(end[how])
    await _gone(op)
    await _gone(op, "anna")
    await adapter.inbox.until(lambda: _said_no(adapter))
    assert not puppet.ready(X)
    mark = op.mark()
    op.privmsg("relay", "allow #x")
    await op.wait_text("Thank you", since=mark)
    puppet = await adapter.puppet("@anna:hs.test", "#x")
    await adapter.say(puppet, "here again", chat="#x")
    await op.wait_text("here again", since=mark)


async def test_nobody_answers(rig: StartRig, port: int) -> None:
    """After the time for an answer the bot leaves, the room hears why, and the channel is not asked again soon."""
    adapter = await rig(port, consent={"timeout": 0.2})
    op = await adapter.witness("op", "#x")
    assert await _ask(adapter) is Consent.ASKED
    await _gone(op)
    await adapter.inbox.until(lambda: bool(_of(adapter, RemoteChatGone)))
    assert "no operator" in _of(adapter, RemoteChatGone)[0].reason
    assert await adapter.connector.consent(X, ALICE, None) is Consent.REFUSED


async def test_the_bot_waits_to_be_asked_in(rig: StartRig, port: int) -> None:
    """With `ask: wait` it enters no channel by itself: an operator's invitation or private word brings it."""
    adapter = await rig(port, consent={"ask": "wait"})
    op = await adapter.witness("op", "#x", "#y")
    assert await _ask(adapter) is Consent.ASKED
    assert await _ask(adapter, ChatId("#y")) is Consent.ASKED
    await adapter.connector.chat_added(X)
    op.raw("INVITE relay #z")
    op.raw("INVITE relay #x")
    await op.wait_text("asks to bridge this channel")
    op.privmsg("relay", "allow #y")
    await op.wait_text("Thank you")
    assert [(event.chat, event.granted) for event in adapter.inbox.events if isinstance(event, RemoteConsent)] == [
        ("#y", True)
    ]
    assert adapter.observer._places.get(ChatId("#z")) is None


@pytest.mark.parametrize("modes", ["", "+v"])
async def test_only_the_server_makes_operators(rig: StartRig, serve: StartServer, modes: str) -> None:
    """Who lost the mode, has a lower one, or is operator elsewhere, decides nothing."""
    server = await serve()
    adapter = await rig(server.port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    bob = await adapter.witness("bob", "#mine", "#x")
    if modes:
        op.raw(f"MODE #x {modes} bob")
    op.raw("MODE #x +o bob")
    op.raw("MODE #x -o bob")
    await op.sync()
    bob.privmsg("#x", "!bridge leave")
    bob.privmsg("relay", "leave #x")
    await bob.wait_text("Only operators of #x")
    bob.privmsg("#x", "still bridged")
    await adapter.inbox.text("still bridged")
    assert not _said_no(adapter)


async def test_who_unbridges_takes_the_yes_along(rig: StartRig, port: int) -> None:
    """When Matrix ends the bridging, the channel is asked anew by whoever wants it next."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    await _allowed(adapter, op)
    await adapter.connector.chat_removed(X)
    await _gone(op)
    assert await adapter.connector.consent(X, ALICE, None) is Consent.ASKED


async def test_a_channel_with_another_bridge_is_not_asked(rig: StartRig, port: int) -> None:
    """The bot leaves without a word, the room hears why, and the channel may be asked when the other one is gone."""
    adapter = await rig(port, consent={"other_bridges": ["MatrixBot!*@*"]})
    op = await adapter.witness("op", "#x")
    other = await adapter.witness("matrixbot", "#x")
    assert await _ask(adapter) is Consent.ASKED
    await _gone(op)
    await adapter.inbox.until(lambda: bool(_of(adapter, RemoteChatGone)))
    assert "matrixbot, another bridge" in _of(adapter, RemoteChatGone)[0].reason
    assert not [line for line in op.lines if "asks to bridge" in line.text]
    other.part("#x")
    await op.wait_for(lambda line: line.command == "PART" and line.nick == "matrixbot")
    await eventually(lambda: adapter.host.kv.values.get("consent/#x") is None)
    assert await adapter.connector.consent(X, ALICE, None) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")


async def test_questions_are_bounded(rig: StartRig, port: int) -> None:
    """One user asks three channels at a time, all users together twenty."""
    adapter = await rig(port)
    for number in range(3):
        assert await adapter.connector.consent(ChatId(f"#q{number}"), ALICE, None) is Consent.ASKED
    with pytest.raises(RejectedError, match="3 channels that you asked"):
        await adapter.connector.consent(ChatId("#q3"), ALICE, None)
    for number in range(17):
        await adapter.connector.consent(ChatId(f"#r{number}"), UserId(f"@u{number}:hs.test"), None)
    with pytest.raises(RejectedError, match="too many"):
        await adapter.connector.consent(ChatId("#s"), UserId("@new:hs.test"), None)


async def test_a_no_is_never_forgotten_for_want_of_room(
    rig: StartRig, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full book nobody is asked any more; room is made only by who never answered, when their time is up."""
    monkeypatch.setattr(consents, "_KEPT_AT_MOST", 3)
    adapter = await rig(port)
    book, (no, yes, silent) = adapter.connector._state.consents, (ChatId("#no"), ChatId("#yes"), ChatId("#silent"))
    await book.answered(no, Consent.REFUSED, "op", "said leave")
    await book.answered(yes, Consent.GRANTED, "op", "allowed it")
    await book.put(silent, Record(Consent.REFUSED, 1, book._now() + 60_000, ""))
    with pytest.raises(RejectedError, match="no further one is asked"):
        await adapter.connector.consent(X, ALICE, None)
    await book.put(silent, Record(Consent.REFUSED, 1, 2, ""))
    assert await adapter.connector.consent(X, ALICE, None) is Consent.ASKED
    assert (book.get(silent), set(adapter.host.kv.values) & {f"consent/{chat}" for chat in (no, yes, silent)}) == (
        None,
        {"consent/#no", "consent/#yes"},
    )
    await book.answered(ChatId("#more"), Consent.REFUSED, "op", "said leave")
    assert not book.may_enter(no) and not book.may_enter(ChatId("#more"))


@pytest.mark.server
async def test_operators_of_real_servers(rig: StartRig, ircd: Any) -> None:
    """On InspIRCd and ngIRCd as on the demo server: asked, allowed by who is operator, and ended by a kick."""
    server = await real(ircd)
    adapter = await rig(server.port)
    op = await adapter.witness("op", "#x")
    await make_op(server, op, "#x")
    bob = await adapter.witness("bob", "#x")
    assert await _ask(adapter) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")
    bob.privmsg("#x", "!bridge allow")
    await bob.wait_text("Only operators of #x")
    op.privmsg("relay", "allow #x")
    await op.wait_text("Thank you")
    bob.privmsg("#x", "now")
    await adapter.inbox.text("now")
    op.raw("KICK #x relay :out")
    await adapter.inbox.until(lambda: _said_no(adapter))
    assert [consent.granted for consent in _of(adapter, RemoteConsent)] == [True, False]
    op.privmsg("relay", "allow #x")
    await adapter.inbox.until(lambda: len(_of(adapter, RemoteConsent)) >= 3)
    assert [consent.granted for consent in _of(adapter, RemoteConsent)] == [True, False, True]


async def test_a_no_right_behind_a_yes_holds(rig: StartRig, port: int) -> None:
    """While the yes is being stored an operator says no: nothing crosses, then and after a restart."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    assert await _ask(adapter) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")
    kept, stored = adapter.host.kv.put, asyncio.Event()

    async def slowly(key: str, value: bytes | None) -> None:
        if value is not None and b'"granted"' in value:
            await stored.wait()
        await kept(key, value)

    adapter.host.kv.put = slowly  # type: ignore[method-assign]
    op.privmsg("#x", "!bridge allow")
    op.privmsg("#x", "!bridge leave")
    await _gone(op)
    stored.set()
    await adapter.inbox.until(lambda: any(not consent.granted for consent in _of(adapter, RemoteConsent)))
    names = "irc irc consent"
    await eventually(lambda: all(task.get_name() != names for task in adapter.host.tasks.running))
    assert not any(consent.granted for consent in _of(adapter, RemoteConsent))
    assert X in adapter.connector._state.consents.closed
