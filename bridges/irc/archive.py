"""What the server remembers of its conversations: asked for piece by piece (IRCv3 draft/chathistory)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from bridge_core.api.errors import NotConnectedError, RejectedError, TransientError
from bridge_core.api.events import RemoteEvent, RemoteMessage, RemoteReaction, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId
from bridge_core.api.network import History
from bridges.irc import people
from bridges.irc.batches import Batch
from bridges.irc.codec.message import Line
from bridges.irc.codec.multiline import CAPABILITY as MULTILINE
from bridges.irc.session import Session
from bridges.irc.speech import Speech
from bridges.irc.state import NetworkState

CAPABILITY: Final = "draft/chathistory"
_NEEDED: Final = (CAPABILITY, "batch", "server-time", "message-tags")
_TARGETS: Final = "draft/chathistory-targets"
_PATIENCE: Final = 30.0
"""Seconds for one answer, from when its question is sent."""
_AT_MOST: Final = 100
_GONE: Final = "the connection broke"


Item: TypeAlias = Line | Batch


class Cursor(NamedTuple):
    """A point in a conversation: a time, and the id of a message said then where that is known."""

    at: int
    message: str = ""

    def encoded(self) -> bytes:
        """As the core stores it."""
        return f"{self.at}:{self.message}".encode()


class Page(NamedTuple):
    """What was said after a point, oldest first. `missing` says why something in front of it may not be there."""

    items: list[Item]
    cursor: Cursor
    more: bool
    missing: str | None


class RefusedHistoryError(RejectedError):
    """The server will not tell; `code` is that of its FAIL."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason or "the server does not tell what was said")
        self.code = code


class Archive:
    """The server's memory as one session can ask for it: one request at a time, each answered by one batch."""

    def __init__(self, state: NetworkState, session: Session) -> None:
        self._state = state
        self._session = session
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[list[Item]] | None = None
        self._kind = ""
        self._target: str | None = None
        """The folded name of the conversation that is asked about."""
        self._parts: list[Item] = []
        session.batches.on("chathistory", self._told)
        session.batches.on(_TARGETS, self._told)
        session.failures["CHATHISTORY"] = self._refused

    @property
    def offered(self) -> bool:
        """Whether this server can be asked."""
        enabled = self._session.caps.enabled
        return self._session.up and self._state.config.messages.history and all(name in enabled for name in _NEEDED)

    def closed(self) -> None:
        """The connection is gone: nobody answers any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotConnectedError(_GONE))

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        """As `Backfills.history`, for a channel that the session is in.

        Raises NotConnectedError, TransientError when no answer comes, RejectedError in the server's words.
        """
        most = self._limit(limit)
        items, missing = await self._page(chat, parse_cursor(after) if after is not None else None, most)
        events = self._events(chat, items)
        cursor = next((cursor_of(event) for event in reversed(events) if cursor_of(event) is not None), after)
        if cursor == after and items:
            at = _time(items[-1])
            cursor = Cursor(at).encoded() if at is not None else after  # all of it was ours, or is not shown
        return History(tuple(events), cursor, len(items) >= most, missing)

    async def page(self, target: str, after: Cursor, limit: int) -> Page:
        """What was said in a conversation after a point. Raises as `history`."""
        most = self._limit(limit)
        items, missing = await self._page(target, after, most)
        cursor = after
        if items and (at := _time(items[-1])) is not None:
            cursor = Cursor(at, items[-1].tags.get("msgid", ""))
        return Page(items, cursor, len(items) >= most, missing)

    async def targets(self, since_ms: int, until_ms: int, most: int) -> tuple[list[str], bool]:
        """The conversations in which something was said between two times, the one longest silent first; no more than
        so many. And whether these are all: a page cannot begin within a millisecond."""
        found: dict[str, None] = {}
        whole = True
        limit = self._limit(most)
        while len(found) < most:
            between = f"timestamp={_stamp(since_ms)}", f"timestamp={_stamp(until_ms)}"
            items = await self._ask(_TARGETS, "TARGETS", *between, str(limit))
            told = [item for item in items if isinstance(item, Line) and item.command == "CHATHISTORY"]
            before = len(found)
            found.update((item.param(1), None) for item in told)
            last = max((at for item in told if (at := _ms(item.param(2))) is not None), default=None)
            if len(told) < limit or last is None or last <= since_ms:
                break
            # Others may have spoken in the same millisecond; asked for once more already, it is left behind.
            whole = whole and (last - 1 > since_ms or len(found) > before)
            since_ms = last - 1 if last - 1 > since_ms else last
        return list(found)[:most], whole and len(found) < most

    async def _page(self, chat: str, after: Cursor | None, most: int) -> tuple[list[Item], str | None]:
        """A page, and why something in front of it may be missing."""
        if after is None:
            return await self._ask("chathistory", "LATEST", chat, "*", str(most)), None
        missing = None
        at, message = after
        if message and "msgid" in self._state.isupport.tokens.get("MSGREFTYPES", "").split(","):
            try:
                return await self._ask("chathistory", "AFTER", chat, f"msgid={message}", str(most)), None
            except RefusedHistoryError as error:
                if error.code == "INVALID_TARGET":
                    raise
                # Its time will do. But a server that forgot this one may have forgotten others.
                missing = "the server no longer knows the last message that was seen"
        # Others may have spoken in the same millisecond. What is known already is known by its id.
        since = at - 1 if message else at
        return await self._ask("chathistory", "AFTER", chat, f"timestamp={_stamp(since)}", str(most)), missing

    def _limit(self, limit: int) -> int:
        told = self._state.isupport.tokens.get("CHATHISTORY", "")
        most = int(told) if told.isascii() and told.isdigit() and len(told) < 7 and int(told) else _AT_MOST
        return max(1, min(limit, most, _AT_MOST))

    # Asking

    async def _ask(self, kind: str, *words: str) -> list[Item]:
        async with self._turn:
            if not self._session.up:
                raise NotConnectedError(_GONE)
            self._kind, self._parts = kind, []
            self._target = self._state.isupport.fold(words[1]) if kind != _TARGETS else None
            answer: asyncio.Future[list[Item]] = asyncio.get_running_loop().create_future()
            self._answer = answer
            try:
                if not await self._session.say("CHATHISTORY", *words):
                    raise NotConnectedError(_GONE)
                async with asyncio.timeout(_PATIENCE):
                    return await answer
            except TimeoutError:
                raise TransientError("the server did not tell in time what was said") from None
            finally:
                self._answer = None
                answer.cancel()

    def _told(self, batch: Batch) -> None:
        """An answer. What a server replays unasked, to whoever joins, is not shown: who may see it is not known."""
        answer = self._answer
        if answer is None or answer.done() or batch.type != self._kind:
            return
        if self._target is not None and self._state.isupport.fold(batch.param(0)) != self._target:
            return  # unasked, or the answer to a question that was given up: what is said there is for that channel
        self._parts += batch.items
        if batch.last:
            answer.set_result(self._parts)

    def _refused(self, line: Line) -> None:
        if self._answer is None or self._answer.done():
            return
        named = [self._state.isupport.fold(word) for word in line.params[2:-1] if self._state.isupport.is_channel(word)]
        if self._target is not None and named and self._target not in named:
            return
        self._answer.set_exception(RefusedHistoryError(line.param(1), line.param(-1)))

    # Reading

    def _events(self, chat: ChatId, items: Sequence[Item]) -> list[RemoteEvent]:
        """What others said, and did to messages; our own connections' words are known from Matrix."""
        speech = Speech(self._state, self._sender)
        events: list[RemoteEvent] = []
        for item in items:
            source = item.source
            if source is None or not source.user or self._ours(source.nick):
                continue
            if item.tags.get("draft/relaymsg") == self._session.nick:
                continue
            if isinstance(item, Line) and self._state.isupport.split_target(item.param(0))[0]:
                continue  # for those of a rank: who had it then is not known
            event: RemoteEvent | None = None
            if isinstance(item, Batch):
                event = speech.several(item, chat) if item.type == MULTILINE else None
            elif item.command in ("PRIVMSG", "NOTICE"):
                event = speech.message(item, chat)
            elif item.command == "TAGMSG":
                told = speech.tags(item, chat)
                event = told if isinstance(told, RemoteReaction) else None
            elif item.command == "REDACT":
                event = speech.redaction(item, chat)
            if event is not None:
                events.append(event)
        return events

    def _ours(self, nick: str) -> bool:
        return nick == self._session.nick or self._state.own(nick.encode("utf-8", "surrogateescape")) is not None

    def _sender(self, line: Line) -> RemoteSender:
        """Who it was then: by the account that the server tells with the line, never by who has the nick today."""
        assert line.source is not None
        nick = line.source.nick
        accounts = self._state.config.people.accounts and "account-tag" in self._session.caps.enabled
        return RemoteSender(
            people.of(self._state.isupport.fold(nick), line.tags.get("account") if accounts else None), nick
        )


def cursor_of(event: RemoteEvent) -> bytes | None:
    """The cursor behind an event: its time, and its id where it has one; None for what no history tells."""
    if isinstance(event, RemoteMessage | RemoteReaction | RemoteRedaction) and event.timestamp:
        message = event.also[-1] if isinstance(event, RemoteMessage) and event.also else event.id
        return Cursor(event.timestamp, message or "").encoded()
    return None


def parse_cursor(cursor: bytes) -> Cursor:
    """A cursor as it was stored; the beginning of time for one that is damaged. Never raises."""
    at, _, message = cursor.decode("utf-8", "replace").partition(":")
    return Cursor(int(at), message) if at.isascii() and at.isdigit() and len(at) < 16 else Cursor(0)


def _time(item: Item) -> int | None:
    return _ms(item.tags.get("time", ""))


def _ms(stamp: str) -> int | None:
    """Milliseconds of what server-time writes; None for what is none."""
    try:
        return round(datetime.fromisoformat(stamp).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def _stamp(ms: int) -> str:
    """Milliseconds as server-time writes them."""
    at = datetime.fromtimestamp(max(0, ms) / 1000, UTC)
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{max(0, ms) % 1000:03d}Z"
