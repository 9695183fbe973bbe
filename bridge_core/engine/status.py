"""What users are told of their messages, and what else the bot says: stored like messages, so said exactly once.

Failures are stored before the delivery that failed is settled. Successes and "still trying" are stored a moment after,
in batches: a crash in between loses them, never the message.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, Protocol

import orjson
import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.botwords import NOTED, forgetting
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.payload import BotCorrection, BotEvent, BotNotice, BotWords, encode
from bridge_core.engine.ports import Direction, Journal, NewEntry, Outcome
from bridge_core.engine.store_ports import KeyValues
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

CORE: Final = "_bridge"
"""The network name under which the bridge's own words are counted."""
STATUS_EVENT: Final = "com.beeper.message_send_status"
"""As other bridges send it: clients show it beside the message. Source: mautrix-go, event/beeper.go."""
DONE_KEY: Final = "\u2705"
"""The reaction that tells of success."""
_VERDICTS: Final[Mapping[tuple[bool, bool], str]] = {
    (False, True): "Your message was not delivered to {}",
    (False, False): "Your message may not have been delivered to {}",
    (True, True): "Your change was not made on {}",
    (True, False): "Your change may not have been made on {}",
}
"""What is said of a message or (True) a change that failed, or (False) perhaps failed."""
_REMEMBERED: Final = 5_000
_RECIPIENTS: Final = 100
"""At how many people a message is told to have arrived: in larger groups it is of no use."""
_QUEUED: Final = 10_000
_BATCH: Final = 64
_SHOWN: Final = frozenset({"m.room.message", "m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start"})


class OnSuccess(StrEnum):
    """How a delivery is told to its sender."""

    NONE = "none"
    EVENT = "event"
    REACTION = "reaction"


class OnFailure(StrEnum):
    """How a failure is told."""

    NOTICE = "notice"
    EVENT = "event"
    BOTH = "both"


class Reason(StrEnum):
    """Why a delivery failed, in the words that clients know."""

    REFUSED = "m.event_not_handled"
    UNSUPPORTED = "com.beeper.unsupported_event"
    NETWORK = "m.foreign_network_error"


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """How users are told. `keep_dead` (seconds, None: for ever): how long a dead letter may still be replayed."""

    success: OnSuccess = OnSuccess.NONE
    failure: OnFailure = OnFailure.NOTICE
    keep_dead: float | None = None


class Checkpoints(Protocol):
    """Whoever else wants to know how deliveries go. Neither call may block."""

    def ended(self, event: Mapping[str, Any], network: str, outcome: Outcome, reason: str, tries: int) -> None:
        """A delivery to a network has ended."""

    def waiting(self, event: Mapping[str, Any], network: str, reason: str, tries: int) -> None:
        """A delivery will be tried again."""

    def taken(self, event: Mapping[str, Any], network: str) -> None:
        """The bridge has an event and knows that it is for a network."""

    def arrived(self, room: RoomId, event: EventId, network: str) -> None:
        """What was delivered to a network has arrived at somebody there."""


class Status:
    """The only writer of what the bot says to users. `load` before the lanes start."""

    def __init__(
        self,
        journal: Journal,
        kv: KeyValues,
        clock: Clock,
        tasks: TaskOwner,
        settings: StatusSettings,
        checkpoints: Sequence[Checkpoints] = (),
    ) -> None:
        self._journal = journal
        self._kv = kv
        self._clock = clock
        self._tasks = tasks
        self._settings = settings
        self._checkpoints = tuple(checkpoints)
        self._lanes: Lanes | None = None
        self._said: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._dead: set[str] = set()
        """What was told to have failed and may be replayed: a late success corrects it."""
        self._trying: OrderedDict[str, None] = OrderedDict()
        self._arrived: OrderedDict[str, tuple[UserId, ...]] = OrderedDict()
        self._later: deque[tuple[str, BotWords]] = deque(maxlen=_QUEUED)
        self._storing = False

    def attach(self, lanes: Lanes) -> None:
        """The lanes towards Matrix, which need this object's users first."""
        self._lanes = lanes

    async def load(self) -> None:
        """Learn which failures were told whose messages may still arrive."""
        keep = self._settings.keep_dead
        for key, value in (await self._kv.items(NOTED, "")).items():
            if keep is not None and orjson.loads(value)[2] < self._clock.now_ms() - (keep + 86_400) * 1000:
                await self._kv.put(NOTED, key, None)
            else:
                self._dead.add(key)

    async def say(
        self,
        room: RoomId,
        text: str,
        *,
        about: EventId | None = None,
        key: str = "",
        mentions: tuple[UserId, ...] = (),
        only: UserId | None = None,
    ) -> None:
        """Say something in a room, once per `key` (also over restarts). Returns when it is stored.

        `only`: nobody else may be able to read it, else it is not said.
        """
        words = BotNotice(room, _unicode(text), about, mentions=mentions, only=only)
        await self._store([(f"notice\x1f{key}" if key else "", words)])

    async def failed(
        self,
        room: RoomId,
        event: EventId,
        network: str,
        reason: str,
        *,
        certain: bool = True,
        why: Reason | None = None,
        change: bool = False,
    ) -> None:
        """Tell the sender of an event that it was not, or perhaps not, delivered, and why.

        With `change` it is no message but something they wanted changed: a kick, a topic, a power.
        """
        kind = why or (Reason.REFUSED if certain else Reason.NETWORK)
        await self._fail(room, event, network, reason, certain, kind, "", change)

    async def abandoned(self, room: RoomId, event: EventId, network: str, reason: str, *, change: bool = False) -> None:
        """As `failed`, of something that an admin may still have delivered: then this is corrected."""
        key = f"{event} {network}"
        await self._fail(room, event, network, reason, True, Reason.NETWORK, key, change)
        self._dead.add(key)

    async def delayed(self, room: RoomId, event: EventId, network: str, reason: str) -> None:
        """Tell that a message waits, in words that its end corrects. Where only events tell it, `waiting` has."""
        if self._settings.failure is OnFailure.EVENT:
            return
        key = f"{event} {network}"
        text = _unicode(f"\u23f3 Your message has not been delivered to {network} yet: {reason}")
        await self._store([(f"notice\x1fdelayed\x1f{key}", BotNotice(room, text, event, key))])
        self._dead.add(key)

    async def less(self, room: RoomId, event: EventId, network: str, reason: str) -> None:
        """Tell that a network shows less than was said, once per room and reason."""
        text = f"\u26a0 {network} does not show all of this message: {reason}"
        await self.say(room, text, about=event, key=f"less\x1f{room}\x1f{network}\x1f{reason}")

    async def once(self, room: RoomId, event: EventId, network: str, reason: str, *, change: bool = False) -> None:
        """Tell that something is not supported: by notice once per room and reason in this process's lifetime."""
        key = (room, network, reason)
        if self._settings.failure is not OnFailure.EVENT and key not in self._said:
            await self.failed(room, event, network, reason, why=Reason.UNSUPPORTED, change=change)
            self._said[key] = None
            if len(self._said) > _REMEMBERED:
                self._said.popitem(last=False)
        elif self._settings.failure is not OnFailure.NOTICE:
            words = self._event(room, event, network, "FAIL_PERMANENT", Reason.UNSUPPORTED, reason, "")
            await self._store([(f"status\x1f{event}\x1f{network}\x1f{reason}", words)])

    def ended(self, event: Mapping[str, Any], network: str, outcome: Outcome, reason: str, tries: int) -> None:
        """A delivery has ended: success is told where that is configured, or where the contrary was told before."""
        for one in self._checkpoints:
            one.ended(event, network, outcome, reason, tries)
        if outcome is not Outcome.DELIVERED:
            return
        success = self._settings.success
        if success is OnSuccess.NONE and not self._dead and not self._trying:
            return
        room, event_id = RoomId(event["room_id"]), EventId(event["event_id"])
        key = f"{event_id} {network}"
        trying = self._trying.pop(key, self) is None
        late = key in self._dead
        events = self._settings.failure is not OnFailure.NOTICE
        if late:
            self._dead.discard(key)
            if self._settings.failure is not OnFailure.EVENT:
                self._correct(room, event_id, network, key, change="state_key" in event)
        if success is OnSuccess.EVENT or trying or (late and events):
            forget = forgetting(key) if late and self._settings.failure is OnFailure.EVENT else ""
            words: BotWords = self._event(room, event_id, network, "SUCCESS", None, "", forget)
            self._soon(f"status\x1f{key}\x1fdone\x1f{late}", words)
        elif success is OnSuccess.REACTION and event["type"] in _SHOWN:
            relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": DONE_KEY}}
            words = BotEvent(room, "m.reaction", orjson.dumps(relation).decode())
            # Once for all networks: a homeserver refuses the same reaction a second time.
            self._soon(f"done\x1f{event_id}", words)

    def taken(self, event: Mapping[str, Any], network: str) -> None:
        """An event is about to go to a network. Does not block: the hot path."""
        for one in self._checkpoints:
            one.taken(event, network)

    async def arrived(self, room: RoomId, event: EventId, network: str, users: Sequence[UserId]) -> None:
        """A delivered event has arrived at these users of ours: told where success is told by events.

        Each status event names all who are known, since clients read the newest only; after a restart these are only
        who was heard of since. Returns when it is stored.
        """
        for one in self._checkpoints:
            one.arrived(room, event, network)
        if self._settings.success is not OnSuccess.EVENT or not users:
            return
        key = f"{event} {network}"
        known = self._arrived.get(key, ())
        reached = tuple(dict.fromkeys((*known, *users)))[:_RECIPIENTS]
        if reached == known:
            return
        words = self._event(room, event, network, "SUCCESS", None, "", "", reached)
        await self._store([(f"status\x1f{key}\x1farrived\x1f{users[-1]}", words)])
        self._arrived[key] = reached
        if len(self._arrived) > _REMEMBERED:
            self._arrived.popitem(last=False)

    def waiting(self, event: Mapping[str, Any], network: str, reason: str, tries: int) -> None:
        """A delivery is tried again later: told once, to clients that show such things."""
        for one in self._checkpoints:
            one.waiting(event, network, reason, tries)
        if self._settings.failure is OnFailure.NOTICE:
            return
        event_id = EventId(event["event_id"])
        key = f"{event_id} {network}"
        if key in self._trying:
            return
        self._trying[key] = None
        if len(self._trying) > _REMEMBERED:
            self._trying.popitem(last=False)
        words = self._event(RoomId(event["room_id"]), event_id, network, "PENDING", None, reason, "")
        self._soon(f"status\x1f{key}\x1fpending", words)

    async def _fail(
        self,
        room: RoomId,
        event: EventId,
        network: str,
        reason: str,
        certain: bool,
        why: Reason,
        key: str,
        change: bool,
    ) -> None:
        identity = f"{event}\x1f{network}\x1f{reason}"
        said: list[tuple[str, BotWords]] = []
        if self._settings.failure is not OnFailure.EVENT:
            text = _unicode(f"\u26a0 {_VERDICTS[change, certain].format(network)}: {reason}")
            told = f"{event} {network}"
            if not key and told in self._dead:  # it was told to wait: this takes the place of those words
                self._dead.discard(told)
                said.append((f"notice\x1ffailed\x1f{identity}", BotCorrection(room, text, event, told)))
            else:
                said.append((f"notice\x1ffailed\x1f{identity}", BotNotice(room, text, event, key)))
        if self._settings.failure is not OnFailure.NOTICE:
            status = "FAIL_PERMANENT" if certain and why is not Reason.NETWORK else "FAIL_RETRIABLE"
            # Only one of the two is remembered: with a notice it is the notice that is corrected.
            words = self._event(room, event, network, status, why, reason, "" if said else key)
            said.append((f"status\x1f{identity}", words))
        self._trying.pop(f"{event} {network}", None)
        await self._store(said)

    def _correct(self, room: RoomId, event: EventId, network: str, key: str, *, change: bool) -> None:
        what = "change was made on" if change else "message was delivered to"
        text = f"\u2713 Your {what} {network} after all"
        self._soon(f"notice\x1flate\x1f{key}", BotCorrection(room, text, event, key))

    def _event(
        self,
        room: RoomId,
        event: EventId,
        network: str,
        status: str,
        why: Reason | None,
        message: str,
        key: str,
        reached: Sequence[UserId] = (),
    ) -> BotEvent:
        content: dict[str, Any] = {
            "m.relates_to": {"rel_type": "m.reference", "event_id": event},
            "network": network,
            "status": status,
        }
        if why is not None:
            content["reason"] = why.value
        if message:
            content["message"] = message[:1000]
        if reached:
            content["delivered_to_users"] = list(reached)
        return BotEvent(room, STATUS_EVENT, orjson.dumps(_unicode_in(content)).decode(), key)

    def _soon(self, identity: str, words: BotWords) -> None:
        if len(self._later) == _QUEUED:
            log.warning("status_not_told", reason="too many wait to be told")
        self._later.append((identity, words))
        if not self._storing:
            self._storing = True
            self._tasks.start(self._store_later(), "statuses")

    async def _store_later(self) -> None:
        try:
            while self._later:
                batch = [self._later.popleft() for _ in range(min(_BATCH, len(self._later)))]
                try:
                    await self._store(batch)
                except BridgeError as error:
                    log.warning("status_not_told", reason=str(error))
                    await self._clock.sleep(1.0)
        finally:
            self._storing = False

    async def _store(self, said: Sequence[tuple[str, BotWords]]) -> None:
        now = self._clock.now_ms()
        entries = [
            NewEntry(
                Direction.TO_MATRIX,
                CORE,
                f"{CORE}\x1f{words.room}",
                encode(words),
                now,
                blake2b(identity.encode("utf-8", "replace"), digest_size=16).digest() if identity else None,
            )
            for identity, words in said
        ]
        accepted = await self._journal.append(entries, urgent=True)
        if self._lanes is not None:
            self._lanes.offer(entries, accepted, [words for _, words in said])


def _unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # words of the other side may hold what is no Unicode


def _unicode_in(content: dict[str, Any]) -> dict[str, Any]:
    return {key: _unicode(value) if isinstance(value, str) else value for key, value in content.items()}
