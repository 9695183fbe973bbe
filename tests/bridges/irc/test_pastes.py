"""Pastes: lines that wait together become one message, lone lines and other things stay as they are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from bridge_core.api.content import Content, Kind, Plain, Span, Style
from bridge_core.api.errors import TransientError
from bridge_core.api.events import Membership, RemoteEvent, RemoteMember, RemoteMessage, RemoteRename, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.network import Accepted, LoginState
from bridge_core.content import to_plain
from bridge_core.engine.clock import SystemClock
from bridges.irc.pastes import CHARACTERS_AT_MOST, LINES_AT_MOST, joined, merged
from bridges.irc.pump import Pump
from tests.bridges.irc.rig import StartRig, StartServer, eventually

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
ANN = RemoteSender(RemoteUserId("ann"), "Ann")


def line(text: str, sender: RemoteSender = BOB, chat: str = "#a", at: int = 1000, **more: Any) -> RemoteMessage:
    """A line."""
    kind = more.pop("kind", Kind.TEXT)
    return RemoteMessage(ChatId(chat), sender, Content((Plain(text),), kind), timestamp=at, **more)


def texts(events: "list[RemoteEvent] | Any") -> list[str]:
    """The texts of the messages."""
    return [to_plain(event.content.text) for event in events if isinstance(event, RemoteMessage)]


def test_a_paste_becomes_one_message_in_its_place() -> None:
    """Lines of one person in one chat are joined, whatever is said in other chats meanwhile; all ids are kept."""
    events = [
        line("before", ANN),
        line("one", id=MessageId("1")),
        line("elsewhere", ANN, "#b"),
        line("two", id=MessageId("2"), at=1500),
        line("three", id=MessageId("3"), at=2500),
        line("after", ANN),
    ]
    out = merged(events)
    assert texts(out) == ["before", "one\ntwo\nthree", "elsewhere", "after"]
    paste = out[1]
    assert isinstance(paste, RemoteMessage)
    assert (paste.id, paste.also, paste.timestamp) == ("1", ("2", "3"), 1000)


def test_what_is_no_paste_stays_apart() -> None:
    """Somebody else's line between, another kind, an answer, an emote, a long pause: each line is a message."""
    for events in (
        [line("one"), line("no", ANN), line("two")],
        [line("one"), line("two", kind=Kind.NOTICE)],
        [line("one", kind=Kind.EMOTE), line("two", kind=Kind.EMOTE)],
        [line("one"), line("two", reply_to=MessageId("x"))],
        [line("one"), line("two", at=60_000)],
        [line("one"), RemoteMember(ChatId("#a"), ANN, Membership.JOIN), line("two")],
        [line("one"), RemoteRename(RemoteUserId("bob"), ANN), line("two")],
        [line("one"), line("two", chat="#b")],
        [line("one")],
        [],
    ):
        assert merged(events) == events


def test_a_paste_is_cut_where_it_grows_too_large() -> None:
    """By lines and by characters; no line is lost and the order stays."""
    many = [line(f"n{number}", id=MessageId(str(number))) for number in range(2 * LINES_AT_MOST + 1)]
    out = merged(many)
    assert len(out) == 3 and "\n".join(texts(out)) == "\n".join(texts(many))
    ids = [message for event in out if isinstance(event, RemoteMessage) for message in (event.id, *event.also)]
    assert ids == [event.id for event in many]
    long = [line("x" * (CHARACTERS_AT_MOST // 2)) for _ in range(5)]
    assert [len(text) for text in texts(merged(long))] == [CHARACTERS_AT_MOST + 1] * 2 + [CHARACTERS_AT_MOST // 2]


def test_styles_end_with_their_lines() -> None:
    """Joined texts keep the spans of each line."""
    bold = Span(Style.BOLD, (Plain("b"),))
    assert joined([(Plain("a"),), (bold, Plain("c")), (Plain("d"),)]) == (Plain("a\n"), bold, Plain("c\nd"))


async def test_lines_that_wait_for_the_core_become_one_message(rig: StartRig, serve: StartServer) -> None:
    """While the core takes the first line, a paste waits: it then arrives as one message, nothing is held for it."""
    server = await serve()
    adapter = await rig(server.port, messages={"merge": True})
    bob = await adapter.witness("Bob", "#a")
    adapter.inbox.gate.clear()
    bob.raw("PRIVMSG #a :lone")
    await bob.sync()
    await eventually(lambda: adapter.observer._pump is not None and len(adapter.observer._pump) > 0)
    for number in range(3):
        bob.raw(f"PRIVMSG #a :line {number}")
    await bob.sync()
    assert adapter.observer._pump is not None
    pump = adapter.observer._pump
    await eventually(lambda: len(pump) >= 4)
    adapter.inbox.gate.set()
    await adapter.inbox.text("line 0\nline 1\nline 2")
    assert "lone" in adapter.inbox.texts


async def test_merging_can_be_switched_off(rig: StartRig, serve: StartServer) -> None:
    """With `merge: false` each line is a message."""
    server = await serve()
    adapter = await rig(server.port, messages={"merge": False})
    bob = await adapter.witness("Bob", "#a")
    adapter.inbox.gate.clear()
    for number in range(3):
        bob.raw(f"PRIVMSG #a :line {number}")
    await bob.sync()
    pump = adapter.observer._pump
    assert pump is not None
    await eventually(lambda: len(pump) >= 3)
    adapter.inbox.gate.set()
    await adapter.inbox.text("line 2")
    assert adapter.inbox.texts == ["line 0", "line 1", "line 2"]


class _Knowing:
    """An inbox that knows some ids, and takes what has any of them for known."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.stored: list[str] = []
        self.commits: list[tuple[bytes | None, dict[str, bytes]]] = []

    async def receive(
        self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, state: Mapping[str, bytes] | None = None
    ) -> list[Accepted]:
        found = []
        for event in events:
            assert isinstance(event, RemoteMessage) and event.id is not None
            ids = {event.id, *event.also}
            found.append(Accepted(1, bool(ids & self.known)))
            if not ids & self.known:
                self.known |= ids
                self.stored.append(to_plain(event.content.text))
        self.commits.append((cursor, dict(state or {})))
        return found

    def report(self, state: LoginState) -> None:
        raise AssertionError


async def test_a_line_that_is_known_hides_none_of_its_paste() -> None:
    """Of lines that wait together and of which one is known, the others are stored; the cursor and marks go with the
    last of them, never before."""
    inbox = _Knowing("2")
    pump = Pump(inbox, SystemClock(), lambda: None, lambda: None, lambda: b"cursor", merge=True)
    for number in "123":
        pump.offer(line(number, id=MessageId(number)))
    pump.mark("heard", b"10")
    pump.mark("heard", b"11")
    running = asyncio.create_task(pump.run())
    assert await pump.drained(60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert inbox.stored == ["1", "3"]
    assert inbox.commits[:2] == [(None, {}), (b"cursor", {"heard": b"11"})]


async def _pumped(inbox: Any, *events: RemoteEvent) -> None:
    """Everything is handed in, in one batch."""
    pump = Pump(inbox, SystemClock(), lambda: None, lambda: None, lambda: b"cursor", merge=True)
    for event in events:
        pump.offer(event)
    pump.mark("heard", b"10")
    running = asyncio.create_task(pump.run())
    assert await pump.drained(60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_lines_of_a_paste_that_is_known_keep_their_place() -> None:
    """Whatever comes after them in their chat, or may be about them, comes after them: also if they go in alone."""
    inbox = _Knowing("1", "5")
    await _pumped(
        inbox,
        line("1", id=MessageId("1"), at=1000),
        line("2", id=MessageId("2"), at=3000),
        line("elsewhere", ANN, "#b", id=MessageId("e")),
        line("3", id=MessageId("3"), at=63_000),
        line("4", ANN, id=MessageId("4"), at=63_000),
        line("5", ANN, id=MessageId("5"), at=64_000),
        line("6", id=MessageId("6"), at=65_000),
    )
    assert [text for text in inbox.stored if text != "elsewhere"] == ["2", "3", "4", "6"]
    assert "elsewhere" in inbox.stored
    assert [commit for commit in inbox.commits if commit != (None, {})] == [(b"cursor", {"heard": b"10"})]


class _Failing:
    """An inbox that stores everything, whose commits of a cursor fail at first."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.failures = 2

    async def receive(self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, **_: Any) -> list[Accepted]:
        if cursor is not None and self.failures:
            self.failures -= 1
            raise TransientError("the disk is full")
        self.stored += texts(events)
        return [Accepted(1, False) for _ in events]


async def test_what_is_committed_is_not_handed_in_again() -> None:
    """A later commit of the same batch that fails is tried again alone: lines without ids are known by nothing."""
    inbox = _Failing()
    await _pumped(
        inbox,
        line("1", id=MessageId("1")),
        line("2"),
        line("after", ANN),
        line("before", ANN, "#b"),
        line("3", ANN, "#c", id=MessageId("3")),
        line("4", ANN, "#c", id=MessageId("4")),
    )
    assert sorted(inbox.stored) == ["1\n2", "3\n4", "after", "before"]
    assert inbox.failures == 0


async def test_pastes_without_ids_are_one_commit() -> None:
    """Nothing of them can be known: the cursor goes with them."""
    inbox = _Failing()
    inbox.failures = 0
    commits: list[int] = []
    receive = inbox.receive

    async def counted(events: Sequence[RemoteEvent], **more: Any) -> list[Accepted]:
        if events:
            commits.append(len(events))
        return await receive(events, **more)

    inbox.receive = counted  # type: ignore[method-assign]
    await _pumped(inbox, line("1"), line("2"), line("3", ANN), line("4"), line("5"))
    assert commits == [3] and inbox.stored == ["1\n2", "3", "4\n5"]


async def test_a_mark_that_comes_during_a_commit_is_stored() -> None:
    """Of what is committed just then it is not said that the mark went with it."""
    inbox = _Knowing()
    receive = inbox.receive
    pump = Pump(inbox, SystemClock(), lambda: None, lambda: None)

    async def marked(events: Sequence[RemoteEvent], **more: Any) -> list[Accepted]:
        if events:
            pump.mark("heard", b"12")
        return await receive(events, **more)

    inbox.receive = marked  # type: ignore[method-assign]
    pump.offer(line("1", id=MessageId("1")))
    pump.mark("heard", b"11")
    running = asyncio.create_task(pump.run())
    assert await pump.drained(60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert inbox.commits == [(None, {"heard": b"11"}), (None, {"heard": b"12"})]


async def test_a_mark_waits_for_what_was_offered_before_it() -> None:
    """It is stored with the last event that came before it, and alone where there is none."""
    inbox = _Knowing()
    pump = Pump(inbox, SystemClock(), lambda: None, lambda: None)
    for number in range(250):
        pump.offer(line(str(number), id=MessageId(str(number))))
    pump.mark("heard", b"10")
    running = asyncio.create_task(pump.run())
    assert await pump.drained(60)
    pump.mark("heard", b"11")
    assert await pump.drained(60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert inbox.commits == [(None, {}), (None, {"heard": b"10"}), (None, {"heard": b"11"})]
