"""Where transactions and remote events enter: into the journal first, then into their lanes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Protocol

import orjson

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import (
    RemoteChatMoved,
    RemoteConsent,
    RemoteEvent,
    RemoteMember,
    RemoteMessage,
    RemotePresence,
    RemoteRename,
)
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, PortalKey, RoomId
from bridge_core.api.network import Accepted, LoginState
from bridge_core.engine.decrypting import KeyIntake
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.livesignals import LIVE, RemoteSignals
from bridge_core.engine.names import Names, joined
from bridge_core.engine.payload import encode, mended
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Direction, Journal, NewEntry, Write
from bridge_core.engine.puppets import PUPPET_KEY, DoublePuppets
from bridge_core.engine.signals import MatrixSignals
from bridge_core.engine.status import CORE
from bridge_core.engine.store_ports import KeyValues, Transactions
from bridge_core.engine.withdrawn import Withdrawn, event_key
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

CURSORS: Final = "cursor"
"""Key-value namespace of the adapters' cursors, keyed `NETWORK` or `NETWORK/LOGIN`."""


def cursor_name(network: NetworkId, login: LoginId | None) -> str:
    """The key of a client's cursor."""
    return f"{network}/{login}" if login is not None else network


async def stored(
    tasks: TaskOwner,
    journal: Journal,
    lanes: Lanes,
    entries: Sequence[NewEntry],
    writes: Sequence[Write],
    events: Sequence[object],
    committed: Callable[[], None] | None = None,
    *,
    urgent: bool = False,
) -> list[Accepted]:
    """Commit the entries and hand them to their lanes; both or neither, also when the caller is cancelled meanwhile.

    `committed` is called between the two and may not block. `urgent` as of `Journal.append`.
    """

    async def both() -> list[Accepted] | BridgeError:
        try:
            accepted = await journal.append(entries, writes, urgent=urgent)
        except BridgeError as error:
            return error  # the caller's to handle: it is no failure of the task
        if committed is not None:
            committed()
        lanes.offer(entries, accepted, events)
        return accepted

    result = await asyncio.shield(tasks.spawn(both(), "intake"))
    if isinstance(result, BridgeError):
        raise result
    return result


_DEPTH: Final = 100
"""Levels kept of an event that is too deep to be stored as it is."""


class ReceivedTransaction(Protocol):
    """A transaction as the Matrix side has parsed it."""

    @property
    def id(self) -> str: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def events(self) -> Sequence[dict[str, Any]]: ...
    @property
    def ephemeral(self) -> Sequence[dict[str, Any]]: ...
    @property
    def to_device(self) -> list[dict[str, Any]]: ...
    @property
    def device_lists(self) -> dict[str, Any]: ...
    @property
    def otk_counts(self) -> dict[str, Any]: ...
    @property
    def fallback_types(self) -> dict[str, Any]: ...


class TransactionIntake:
    """Stores transactions. The homeserver is answered only when `accept` returns.

    `seen` is told of each event as soon as it is stored, ahead of its lane: for what must not wait behind messages
    that cannot be delivered now; `seen_own` of those of our own users. Neither may block, and both may be told again.
    `signals` take what is not stored. `keys` takes what transactions say of encryption, where there is any.
    """

    keys: KeyIntake | None = None

    def __init__(
        self,
        journal: Journal,
        transactions: Transactions,
        lanes: Lanes,
        others: Lanes,
        portals: PortalIndex,
        names: Names,
        clock: Clock,
        echoes: Counter,
        seen: Callable[[Mapping[str, Any]], None],
        seen_own: Callable[[Mapping[str, Any]], None],
        signals: MatrixSignals,
        puppets: DoublePuppets,
        withdrawn: Withdrawn,
        tasks: TaskOwner,
        faults: FaultPoints,
    ) -> None:
        self._journal = journal
        self._transactions = transactions
        self._lanes = lanes
        self._others = others
        self._portals = portals
        self._names = names
        self._clock = clock
        self._echoes = echoes
        self._seen = seen
        self._seen_own = seen_own
        self._signals = signals
        self._puppets = puppets
        self._withdrawn = withdrawn
        self._passed = signals.positions.passed
        self._tasks = tasks
        self._faults = faults

    async def accept(self, txn: ReceivedTransaction) -> None:
        """Return when everything in the transaction is committed.

        Events of our own ghosts, and those sent as Matrix users, are echoes and end here. Each other event is known by
        its id, so that a repeated one is stored once; a repeated transaction id proves nothing, since Synapse on SQLite
        counts from 1 again after a restart. Raises BackpressureError or TransientError: nothing was stored then.
        """
        self._others.wake()  # the homeserver is there: what waits for it need not wait longer
        if await self._transactions.seen(txn.id, txn.digest):
            return
        now = self._clock.now_ms()
        entries: list[NewEntry] = []
        events: list[dict[str, Any]] = []
        echoes: list[Write] = []
        withdrawn: tuple[Write, ...] = ()
        for event in txn.events:
            sender: str = event["sender"]
            room = RoomId(event["room_id"])
            self._passed(event)
            if self._names.is_ours(sender):
                self._echoes.inc()
                self._seen_own(event)
                continue
            if PUPPET_KEY in event["content"] and (write := await self._puppets.echo(event)) is not None:
                self._echoes.inc()
                echoes.append(write)
                continue
            portals = self._portals.in_room(room)
            network = portals[0].network if portals else CORE
            key = event_key(event["event_id"])
            if portals:
                withdrawn += self._withdrawn.taken_back(event)
            entries.append(NewEntry(Direction.TO_NETWORK, network, room, _payload(event), now, key))
            events.append(event)
        of_keys, committed = self._of_keys(txn)
        writes = (self._transactions.write(txn.id, txn.digest, now), *echoes, *withdrawn, *of_keys)
        self._faults.hit("intake.before_append")
        await stored(self._tasks, self._journal, self._lanes, entries, writes, events, committed)
        self._faults.hit("intake.after_append")
        for event in events:
            self._seen(event)
        if txn.ephemeral:
            self._signals.take(txn.ephemeral)

    async def take_missed(self, events: Sequence[dict[str, Any]]) -> None:
        """Store events that no transaction has brought; what one brings after all is known by its id.

        A full journal takes them too: the entry that finds them ends behind them. Raises TransientError.
        """
        now, entries, kept = self._clock.now_ms(), [], []
        for event in events:
            if self._names.is_ours(event["sender"]) or PUPPET_KEY in event["content"]:
                continue
            room = RoomId(event["room_id"])
            portals = self._portals.in_room(room)
            network, key = portals[0].network if portals else CORE, event_key(event["event_id"])
            entries.append(NewEntry(Direction.TO_NETWORK, network, room, _payload(event), now, key))
            kept.append(event)
        if kept:
            await stored(self._tasks, self._journal, self._lanes, entries, (), kept, urgent=True)
            for event in kept:
                self._seen(event)

    async def take_keys(
        self,
        to_device: list[dict[str, Any]],
        device_lists: Mapping[str, Any],
        key_counts: Mapping[str, Any],
        fallback_types: Mapping[str, Any],
        writes: tuple[Write, ...],
    ) -> None:
        """Return when what a device got otherwise than by a transaction is committed, with the writes.

        Raises TransientError or BackpressureError: nothing was stored then.
        """
        committed = None
        if (keys := self.keys) is not None:
            brought = keys.received(to_device, device_lists, key_counts, fallback_types)
            writes += brought.writes
            committed = partial(keys.committed, brought)
        self._faults.hit("intake.before_keys")
        await stored(self._tasks, self._journal, self._lanes, (), writes, (), committed)
        self._faults.hit("intake.after_keys")

    def _of_keys(self, txn: ReceivedTransaction) -> tuple[tuple[Write, ...], Callable[[], None] | None]:
        """What is to be committed with a transaction for encryption, and what is to be called then."""
        keys = self.keys
        if keys is None or not (txn.to_device or txn.otk_counts or txn.device_lists):
            return (), None
        brought = keys.received(txn.to_device, txn.device_lists, txn.otk_counts, txn.fallback_types)
        return brought.writes, partial(keys.committed, brought)


def _payload(event: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        # It reads up to 1,024 levels but writes only 254: what is deeper means nothing to us, and must not be an error
        # that makes the homeserver send the transaction for ever.
        return orjson.dumps(_flattened(event, _DEPTH))


def _flattened(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return {key: _flattened(inner, depth - 1) for key, inner in value.items()} if depth else None
    if isinstance(value, list):
        return [_flattened(inner, depth - 1) for inner in value] if depth else None
    return value


class NetworkInbox:
    """Stores what one client of a network receives. The `Inbox` of the contract."""

    def __init__(
        self,
        network: NetworkId,
        login: LoginId | None,
        journal: Journal,
        lanes: Lanes,
        kv: KeyValues,
        clock: Clock,
        tasks: TaskOwner,
        report: "StateSink",
        live: RemoteSignals,
        refused: "Refused",
        received: "LiveSink | None" = None,
    ) -> None:
        self._network = network
        self._login = login
        self._journal = journal
        self._lanes = lanes
        self._kv = kv
        self._clock = clock
        self._tasks = tasks
        self._report = report
        self._live = live
        self._refused = refused
        self._received = received

    async def receive(
        self,
        events: Sequence[RemoteEvent],
        *,
        cursor: bytes | None = None,
        state: Mapping[str, bytes] | None = None,
    ) -> list[Accepted]:
        """As `Inbox.receive`."""
        if any(event.__class__ in LIVE for event in events):
            return await self._receive_live(events, cursor, state)
        entries, events = self._packed(events, "")
        writes: list[Write] = []
        if cursor is not None:
            writes.append(self._kv.write(CURSORS, cursor_name(self._network, self._login), cursor))
        for name, value in (state or {}).items():
            writes.append(self._kv.write(f"network:{self._network}", name, value))
        accepted = await stored(self._tasks, self._journal, self._lanes, entries, writes, events)
        self._live.said(self._network, events)
        for event, one in zip(events, accepted, strict=True):
            if event.__class__ is RemoteConsent and not event.granted and not one.duplicate:
                await self._refused(self._network, event, one.entry)
        if self._received is not None:
            self._received(self._network, self._login, events)
        return accepted

    async def receive_past(self, events: Sequence[RemoteEvent], behind: str, writes: Sequence[Write]) -> list[Accepted]:
        """Store what was said earlier in lanes of its own, whose names end in `behind`. Otherwise as `receive`."""
        entries, events = self._packed(events, behind)
        return await stored(self._tasks, self._journal, self._lanes, entries, writes, events)

    def _packed(self, events: Sequence[RemoteEvent], behind: str) -> tuple[list[NewEntry], Sequence[RemoteEvent]]:
        now = self._clock.now_ms()
        try:
            payloads = [encode(event) for event in events]
        except orjson.JSONEncodeError:
            events = [mended(event) for event in events]
            payloads = [encode(event) for event in events]
        entries = [
            NewEntry(
                Direction.TO_MATRIX,
                self._network,
                self._lane(event) + behind,
                payload,
                now,
                self._key(event),
                self._also(event) if event.__class__ is RemoteMessage and event.also else (),
            )
            for event, payload in zip(events, payloads, strict=True)
        ]
        return entries, events

    async def _receive_live(
        self, events: Sequence[RemoteEvent], cursor: bytes | None, state: Mapping[str, bytes] | None
    ) -> list[Accepted]:
        """Typing and presence are worth nothing by the time a crash is over: they are not stored (entry 0)."""
        lasting = [event for event in events if event.__class__ not in LIVE]
        accepted: list[Accepted] = []
        if lasting or cursor is not None or state:
            accepted = await self.receive(lasting, cursor=cursor, state=state)
        left = iter(accepted)
        results = []
        for event in events:
            if event.__class__ in LIVE:
                self._live.take(self._network, event)
                results.append(Accepted(0))
            else:
                results.append(next(left))
        return results

    def report(self, state: LoginState) -> None:
        """As `Inbox.report`."""
        self._report(state)

    def _lane(self, event: RemoteEvent) -> str:
        if isinstance(event, RemoteChatMoved):
            # What is said under the new key comes after the move; what was said under the old one is known by its id.
            return PortalKey(self._network, event.new, event.receiver).lane()
        if isinstance(event, RemoteRename | RemotePresence):
            return f"{self._network}\x1f\x1fpeople"
        return PortalKey(self._network, event.chat, event.receiver).lane()

    def _key(self, event: RemoteEvent) -> bytes | None:
        message = getattr(event, "id", None)
        return None if message is None else self._digest(event, message)

    def _also(self, event: RemoteMessage) -> tuple[bytes, ...]:
        """The keys of its further ids: those that each would have alone."""
        return tuple(dict.fromkeys(self._digest(event, message) for message in event.also if message != event.id))

    def _digest(self, event: RemoteEvent, message: str) -> bytes:
        # Ids chosen by strangers suppress nobody: who sent it, and where, is part of the key.
        sender = event.member if isinstance(event, RemoteMember) else event.sender  # type: ignore[union-attr]
        parts = (self._lane(event), sender.id, type(event).__name__, message)
        return blake2b(joined(parts), digest_size=16).digest()


class LiveSink(Protocol):
    """Told what a client received live, once it is stored. Must not block."""

    def __call__(self, network: NetworkId, login: LoginId | None, events: Sequence[RemoteEvent]) -> None: ...


class StateSink(Protocol):
    """Takes the states that clients report. Must not block."""

    def __call__(self, state: LoginState) -> None: ...


class Refused(Protocol):
    """Told of each consent that is taken back, ahead of its lane. Raises nothing."""

    def __call__(self, network: NetworkId, event: RemoteConsent, entry: int) -> Awaitable[None]: ...
