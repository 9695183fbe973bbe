"""Moderation policy lists that an admin subscribed to: rooms whose state names users, servers and rooms to be kept out.

Rules are stored as they come in, so that they hold from the first moment of a start, homeserver or not.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.gate import Check
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.policyrules import RULE_TYPES, Rule, RuleBook, RuleKey, RuleKind, TooBroad, rule_of
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

LISTS: Final = "policies"
_MOST_LISTS: Final = 100
_AT_ONCE: Final = 500
_SHOWN: Final = 20
"""Rules of one reading that are named in the log when they are not followed: a list may be made of nothing else."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One list: its room, and which admin subscribed when (milliseconds)."""

    room: RoomId
    by: UserId
    at: int


class Policies(Check):
    """All subscribed lists. Who they name says nothing in either direction; rooms that they name are not bridged."""

    def __init__(
        self,
        kv: KeyValues,
        matrix: MatrixSide,
        clock: Clock,
        too_broad: TooBroad,
        aliases: Callable[[RoomId], Iterable[str]],
        changed: Callable[[], None],
    ) -> None:
        self._kv = kv
        self._matrix = matrix
        self._clock = clock
        self._too_broad = too_broad
        self._aliases = aliases
        self._changed = changed
        self._lists: dict[RoomId, Subscription] = {}
        self._books: dict[RoomId, RuleBook] = {}
        self._locks: dict[RoomId, asyncio.Lock] = {}
        self._rooms: dict[RoomId, str] = {}
        self._waiting: set[RoomId] = set()

    async def load(self) -> None:
        """Read all lists as they were last known, before anybody is let in."""
        for value in (await self._kv.items(LISTS, "")).values():
            subscription = Subscription(**orjson.loads(value))
            self._lists[subscription.room] = subscription
            book = self._books[subscription.room] = RuleBook()
            for key, stored in (await self._kv.items(_namespace(subscription.room), "")).items():
                event_type, _, state_key = key.partition("\x1f")
                self._take(subscription.room, book, (event_type, state_key), _read(stored))
        self._renew()

    @property
    def any(self) -> bool:
        """As `Denials.any`."""
        return any(book.rules for book in self._books.values())

    def denies(self, user: UserId) -> str:
        """As `Denials.denies`."""
        found = next((rule for book in self._books.values() if (rule := book.against(user)) is not None), None)
        return _words(found)

    def room(self, room: RoomId) -> str:
        """As `Check.room`."""
        if not self._lists:
            return ""
        why = self._rooms.get(room)
        if why is None:
            aliases = tuple(self._aliases(room))
            rules = (book.against_room(room, aliases) for book in self._books.values())
            words = _words(next((rule for rule in rules if rule is not None), None))
            why = self._rooms[room] = f"this room is {words}" if words else ""
        return why

    def all(self) -> list[tuple[Subscription, int]]:
        """Every list, with the number of rules that are followed."""
        return [(one, len(self._books[room].rules)) for room, one in self._lists.items()]

    def rules(self) -> int:
        """How many rules are in force."""
        return sum(len(book.rules) for book in self._books.values())

    async def subscribe(self, room: RoomId, by: UserId) -> int:
        """Follow a list; the number of rules. The bot joins its room. Raises as the Matrix side does."""
        if room not in self._lists and len(self._lists) >= _MOST_LISTS:
            raise RejectedError(f"there are {_MOST_LISTS} lists already")
        await self._matrix.join(room, self._matrix.bot)
        state = await self._matrix.all_state(room)
        if room not in self._lists:
            subscription = Subscription(room, by, self._clock.now_ms())
            await self._kv.put(LISTS, room, orjson.dumps(asdict(subscription)))
            self._lists[room] = subscription
            self._books[room] = RuleBook()
            log.warning("policy_list_subscribed", room=room, by=by)
        async with self._lock(room):
            await self._replace(room, state)
        book = self._books.get(room)
        return len(book.rules) if book is not None else 0

    async def unsubscribe(self, room: RoomId, by: UserId) -> None:
        """Follow a list no more. Raises RejectedError when it is not followed."""
        if room not in self._lists:
            raise RejectedError(f"{room} is no list that is followed")
        async with self._lock(room):
            await self._kv.put(LISTS, room, None)
            del self._lists[room]
            book = self._books.pop(room)
            self._renew()
            await self._store(room, dict.fromkeys(book.rules))
        log.warning("policy_list_unsubscribed", room=room, by=by)

    async def refresh(self) -> None:
        """Read all lists anew. What cannot be read stays as it was last known."""
        for room in list(self._lists):
            await self.reread(room)

    async def reread(self, room: RoomId) -> None:
        """Read one list anew, if it is one: at a start, and when an event in it was redacted. Raises nothing."""
        if room not in self._lists or room in self._waiting:
            return  # whoever waits for the lock reads what is there by then
        self._waiting.add(room)
        try:
            async with self._lock(room):
                self._waiting.discard(room)
                await self._replace(room, await self._matrix.all_state(room))
        except BridgeError as error:
            log.warning("policy_list_not_read", room=room, error=str(error))
        finally:
            self._waiting.discard(room)

    def follows(self, room: RoomId) -> bool:
        """Whether a room is a list that is followed. Does not block."""
        return room in self._lists

    async def changed(self, event: Mapping[str, Any]) -> None:
        """A rule of some room's state changed. A handler of `RoomEvents`: state events only, in the room's order."""
        room = RoomId(event["room_id"])
        if room not in self._lists:
            return
        key = (str(event["type"]), str(event["state_key"]))
        async with self._lock(room):
            book = self._books.get(room)
            if book is None:
                return
            rule = rule_of(key[0], event["content"])
            await self._store(room, {key: rule})
            self._take(room, book, key, rule)
            self._renew()

    async def _replace(self, room: RoomId, state: Iterable[Mapping[str, Any]]) -> None:
        """Let the list be what its state says now. One that is followed no more stays so."""
        if room not in self._lists:
            return
        wanted: dict[RuleKey, Rule] = {}
        for event in state:
            content, state_key = event.get("content"), event.get("state_key")
            if event.get("type") in RULE_TYPES and isinstance(content, dict) and isinstance(state_key, str):
                rule = rule_of(event["type"], content)
                if rule is not None:
                    wanted[event["type"], state_key] = rule
        known = {
            (key.partition("\x1f")[0], key.partition("\x1f")[2]): _read(value)
            for key, value in (await self._kv.items(_namespace(room), "")).items()
        }
        changes: dict[RuleKey, Rule | None] = {key: None for key in known if key not in wanted}
        changes |= {key: rule for key, rule in wanted.items() if known.get(key) != rule}
        await self._store(room, changes)
        book = RuleBook()
        ignored = 0
        for key, rule in wanted.items():
            ignored += not self._take(room, book, key, rule, quiet=ignored >= _SHOWN)
        self._books[room] = book
        self._renew()
        log.info("policy_list_read", room=room, rules=len(book.rules), ignored=ignored)

    def _take(self, room: RoomId, book: RuleBook, key: RuleKey, rule: Rule | None, *, quiet: bool = False) -> bool:
        """Whether the rule is followed, or was taken out."""
        whom = self._too_broad.whom(rule) if rule is not None else ""
        if whom and rule is not None:
            book.put(key, None)
            if not quiet:
                log.warning("policy_rule_ignored", room=room, entity=rule.entity, would_ban=whom)
            return False
        if not book.put(key, rule):
            if not quiet:
                log.error("policy_list_too_large", room=room, rules=len(book.rules))
            return False
        return True

    async def _store(self, room: RoomId, changes: Mapping[RuleKey, Rule | None]) -> None:
        namespace, items = _namespace(room), list(changes.items())
        for start in range(0, len(items), _AT_ONCE):
            await asyncio.gather(
                *(
                    self._kv.put(namespace, "\x1f".join(key), None if rule is None else orjson.dumps(asdict(rule)))
                    for key, rule in items[start : start + _AT_ONCE]
                )
            )

    def _lock(self, room: RoomId) -> asyncio.Lock:
        return self._locks.setdefault(room, asyncio.Lock())

    def _renew(self) -> None:
        self._rooms.clear()
        self._changed()


def _namespace(room: RoomId) -> str:
    return f"policy:{room}"


def _read(stored: bytes) -> Rule:
    row = orjson.loads(stored)
    return Rule(RuleKind(row["kind"]), row["entity"], row["reason"])


def _words(rule: Rule | None) -> str:
    if rule is None:
        return ""
    return f"on a moderation list{f' ({rule.reason})' if rule.reason else ''}"
