"""Fetches one chat's history, page by page, and stores it: each page in one commit with the mark behind it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from bridge_core.api.errors import NotConnectedError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteGap,
    RemoteMessage,
    RemotePollEnd,
    RemoteReaction,
    RemoteRedaction,
    RemoteVote,
)
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, PortalKey
from bridge_core.api.network import History
from bridge_core.api.optional import Backfills
from bridge_core.engine.consents import against
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.intake import NetworkInbox
from bridge_core.engine.marks import Mark, Marks, Todo
from bridge_core.engine.past import Past, begun
from bridge_core.engine.precedence import PAST, PUBLIC
from bridge_core.engine.store_ports import Messages, PortalRow
from bridge_core.observe.metrics import Counter

log = structlog.get_logger(__name__)

_PAGE: Final = 100
"""Events asked for at once."""
_PAGES: Final = 200
"""Pages of one filling at most, those with nothing new included."""
_PATIENCE: Final = 60.0
"""Seconds that a client may take for a page."""
_TRIES: Final = 4
_LONGEST: Final = 120.0
"""The longest that a network's wish to wait is followed here, in seconds; the chat is tried again later then."""
_TOLD: Final = frozenset(
    (RemoteMessage, RemoteEdit, RemoteRedaction, RemoteReaction, RemoteVote, RemotePollEnd),
)
"""What a history may tell: messages, and what was done to them."""


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """How much of the past is fetched on one network. `max_age` is seconds, `rate` requests per second."""

    initial: int = 0
    catch_up: int = 500
    max_age: float = 7 * 86_400.0
    rate: float = 10.0


@dataclass(slots=True)
class _Course:
    """One filling on its way. Times are milliseconds since 1970."""

    portal: PortalRow
    login: LoginId | None
    mark: Mark
    connected: int
    oldest: float
    left: int
    public: bool = False
    """Whether everybody may read it, as the network said last."""
    lost: tuple[int, int, str] | None = None
    """What was left out since the last commit: from when to when, and why."""

    @property
    def initial(self) -> bool:
        return self.mark.todo is Todo.INITIAL


class Filling:
    """Fills chats. `counter` has the labels network and outcome."""

    def __init__(
        self,
        marks: Marks,
        messages: Messages,
        past: Past,
        inbox: Callable[[NetworkId], NetworkInbox],
        clock: Clock,
        counter: Counter,
        faults: FaultPoints,
    ) -> None:
        self._marks = marks
        self._messages = messages
        self._past = past
        self._inbox = inbox
        self._clock = clock
        self._counter = counter
        self._faults = faults
        self._next: dict[NetworkId, float] = {}

    async def fill(
        self, portal: PortalRow, login: LoginId | None, client: Backfills, connected: int, options: BackfillOptions
    ) -> None:
        """Fetch what is missing of a chat, told by a client that is connected since then (ms).

        Raises TransientError, RateLimitedError and BackpressureError: what was stored stays, the rest is to be tried
        again. What cannot be had ends in a gap notice.
        """
        if against(portal):
            return  # nothing of it is asked for; what comes after a yes is live
        mark, now = self._marks.get(portal, login), self._clock.now_ms()
        if mark is None:  # the first that is known of it: what was said before is nobody's loss
            await self._commit(_Course(portal, login, Mark(now, now), connected, 0, 0), [], Todo.NOTHING)
            return
        if mark.todo is Todo.NOTHING:
            mark = replace(mark, todo=Todo.MISSED)
        limit = options.initial if mark.todo is Todo.INITIAL else options.catch_up
        course = _Course(portal, login, mark, connected, now - options.max_age * 1000, limit)
        try:
            await self._pages(course, client, options)
        except RejectedError as error:
            log.info("history_refused", network=portal.network, chat=portal.chat, error=str(error))
            await self._end(course, str(error))

    async def _pages(self, course: _Course, client: Backfills, options: BackfillOptions) -> None:
        after = course.mark.cursor
        for _ in range(_PAGES):
            if course.left <= 0:
                break
            limit = course.left if after is None else min(course.left, _PAGE)
            page = await self._ask(course.portal, client, after, limit, options.rate)
            course.public = page.public
            events = await self._chosen(course, page, options)
            if page.missing is not None and not course.initial:
                until = _time(page.events[0]) if page.events else 0
                course.lost = (course.mark.at, until or self._clock.now_ms(), page.missing)
            stuck = page.cursor is None or page.cursor == after
            after = page.cursor or after
            course.mark = replace(course.mark, cursor=after)
            if events:
                course.left -= len(events)
                await self._commit(course, events, course.mark.todo)
            if not page.more or stuck:
                await self._end(course)
                return
        await self._end(course, f"more was said than the {options.catch_up} messages that are fetched at most")

    async def _end(self, course: _Course, why: str = "") -> None:
        """The filling is over. `why` says why what was said between its last event and now cannot be had."""
        now = self._clock.now_ms()
        if why and not course.initial:
            since = course.lost[0] if course.lost is not None else course.mark.at
            course.lost = (since, now, why)
        course.mark = replace(course.mark, at=now)
        await self._commit(course, [], Todo.NOTHING)

    async def _ask(self, portal: PortalRow, client: Backfills, after: bytes | None, limit: int, rate: float) -> History:
        failure: TransientError | RateLimitedError = TransientError("the network did not answer")
        for number in range(_TRIES):
            await self._pace(portal.network, rate)
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await client.history(portal.chat, after, limit)
            except TimeoutError:
                failure = TransientError("the network took too long")
            except NotConnectedError:
                raise
            except RateLimitedError as error:
                if error.retry_after > _LONGEST:
                    raise
                failure = error
                await self._clock.sleep(error.retry_after)
            except TransientError as error:
                failure = error
                await self._clock.sleep(0.5 * 2**number)
        raise failure

    async def _pace(self, network: NetworkId, rate: float) -> None:
        """At most `rate` requests per second, for all chats of a network together."""
        now = self._clock.monotonic()
        at = max(now, self._next.get(network, now))
        self._next[network] = at + 1 / rate
        if at > now:
            await self._clock.sleep(at - now)

    async def _chosen(self, course: _Course, page: History, options: BackfillOptions) -> list[RemoteEvent]:
        """The events of a page that are to be shown. The others are counted; what is lost with them is noted."""
        portal = course.portal
        key = PortalKey(portal.network, portal.chat, portal.receiver)
        floor = 0.0 if page.public or not page.events else await self._past.floor(portal)
        bridged = begun(portal)
        chosen: list[RemoteEvent] = []
        outcomes: list[str] = []
        for event in page.events:
            outcome = "stored"
            at = _time(event)
            if type(event) not in _TOLD or _key(portal.network, event) != key:
                outcome = "foreign"
            elif await self._known(course, event, at):
                outcome = "known"
            elif bridged and at <= bridged:  # nobody's loss: nobody was to be shown it
                outcome = "before"
                if not at:
                    self._lose(course, course.mark.at, "the network does not say when it was said")
            elif not at:  # when it was said is not known: only what anybody may read anyway
                outcome = "stored" if page.public and (course.initial or course.mark.cursor is not None) else "hidden"
            elif at < course.mark.since:
                outcome = "old"
            elif at < course.oldest:
                outcome = "old"
                self._lose(course, at, f"what is older than {options.max_age / 86_400:g} days is not fetched")
            elif at <= floor:
                outcome = "hidden"
                self._lose(course, at, "somebody came since, and is not shown what was said before")
            if outcome == "stored":
                chosen.append(event)
            outcomes.append(outcome)
        for outcome in outcomes:
            self._counter.inc(portal.network, outcome)
        return chosen

    def _lose(self, course: _Course, at: int, why: str) -> None:
        if not course.initial:
            since = course.lost[0] if course.lost is not None else at
            course.lost = (since, max(at, since), why)

    async def _known(self, course: _Course, event: Any, at: int) -> bool:
        """Whether it is there already. Keys of the journal tell the rest; this is for what came from Matrix itself."""
        if event.id is None:
            return at >= course.connected  # it came live as well, and nothing else tells so
        if not isinstance(event, RemoteMessage):
            return False
        return bool(await self._messages.by_message(course.portal.id, event.id))

    async def _commit(self, course: _Course, events: list[RemoteEvent], todo: Todo) -> None:
        portal = course.portal
        if course.lost is not None:
            since, until, why = course.lost
            events = [RemoteGap(portal.chat, since, max(since, until), why, portal.receiver), *events]
        # Networks say what they like: a time to come is none up to which a chat can be known.
        said = [time for event in events if (time := _time(event)) <= self._clock.now_ms()]
        mark = replace(course.mark, at=max([course.mark.at, *said]), todo=todo)
        self._faults.hit("backfill.before_page")
        behind = f"{PAST}{PUBLIC if course.public else ''}"
        write = self._marks.write(portal, course.login, mark)
        accepted = await self._inbox(portal.network).receive_past(events, behind, (write,))
        self._faults.hit("backfill.after_page")
        self._marks.put(portal, course.login, mark)
        course.mark, course.lost = mark, None
        for one in accepted:
            if one.duplicate:
                self._counter.inc(portal.network, "duplicate")


def _time(event: Any) -> int:
    return getattr(event, "timestamp", None) or 0


def _key(network: NetworkId, event: Any) -> PortalKey:
    """Which chat a told event belongs to."""
    return PortalKey(network, event.chat, event.receiver)
