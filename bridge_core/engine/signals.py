"""Matrix -> network: receipts, typing and presence. In memory only: the newest counts, and a lost one harms nobody.

A homeserver pushes them beside its events (Application Service API, "Pushing ephemeral data"). They come into force
once the events of their transaction are committed, and wait in one queue per network, each replaced by a newer one of
its kind: a network that is slow gets fewer of them and holds up nobody else.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import Presence
from bridge_core.api.ids import EventId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import (
    MatrixPresence,
    MatrixReceipt,
    MatrixSender,
    MatrixSignal,
    MatrixTyping,
    MessageRef,
)
from bridge_core.api.network import Client, Level
from bridge_core.api.optional import Signals
from bridge_core.engine.gate import Gate
from bridge_core.engine.latest import Key, Latest
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.positions import Positions
from bridge_core.engine.store_ports import MessageRow, Messages, PortalRow
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

_LONGEST: Final = 255
"""Characters of an id."""
_TIME: Final = 5.0
"""Seconds that a client may take for one."""
_AGAIN: Final = 0.5
"""Seconds after which a message that is not known yet is looked up once more: its sending may just be ending."""
_BACK: Final = 8
"""How many messages before the event of a receipt are looked at, for one that crossed."""
_TYPERS: Final = 100
"""People typing at once in a room that are passed on."""
_TYPING: Final = 120.0
"""Seconds after which nobody is believed to type any more without a word: their end may have been lost."""


@dataclass(frozen=True, slots=True)
class _Receipt:
    """Somebody read up to an event. `thread` is set for what they read in a thread only."""

    portal: int
    room: RoomId
    user: UserId
    event: EventId
    timestamp: int
    thread: EventId | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Typing:
    """Who types in a room has changed."""

    portal: int
    room: RoomId


class MatrixSignals:
    """Passes on what the homeserver pushes of receipts, typing and presence.

    `presence` are the networks that are told of presence. `counter` has the labels network, direction, kind, outcome.
    """

    def __init__(
        self,
        networks: Networks,
        portals: PortalIndex,
        messages: Messages,
        members: Members,
        names: Names,
        permissions: Permissions,
        gate: Gate,
        tasks: TaskOwner,
        counter: Counter,
        presence: frozenset[NetworkId],
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._messages = messages
        self._members = members
        self._names = names
        self._permissions = permissions
        self._gate = gate
        self._presence = presence
        self.positions = Positions()
        self._queues = Latest("to_network", self._pass, tasks, counter)
        self._typing: dict[RoomId, frozenset[UserId]] = {}
        self._told: dict[int, frozenset[UserId]] = {}
        self._ends: dict[RoomId, asyncio.TimerHandle] = {}
        self._signals: dict[type, bool] = {}
        self._takers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "m.receipt": self._receipts,
            "m.typing": self._types,
            "m.presence": self._present,
        }

    def take(self, edus: Sequence[Mapping[str, Any]]) -> None:
        """Take what a transaction pushed. Never blocks; what is malformed is left out."""
        for edu in edus:
            taker = self._takers.get(edu["type"])
            if taker is not None and isinstance(edu.get("content"), dict):
                taker(edu)

    def busy(self) -> int:
        """How many signals wait."""
        return self._queues.busy()

    def _receipts(self, edu: Mapping[str, Any]) -> None:
        room = _text(edu.get("room_id"))
        portals = self._portals.in_room(RoomId(room)) if room else ()
        if not portals:
            return
        for event, receipts in edu["content"].items():
            # `m.read.private` is nobody else's business, and comes only for users of ours anyway.
            readers = receipts.get("m.read") if isinstance(receipts, dict) else None
            if not isinstance(readers, dict):
                continue
            for user, read in readers.items():
                if not isinstance(read, dict) or not _text(user) or not _text(event) or self._names.is_ours(user):
                    continue
                at, thread = read.get("ts"), _text(read.get("thread_id"))
                within = None if thread in {"", "main"} else EventId(thread)
                for portal in portals:
                    receipt = _Receipt(
                        portal.id,
                        RoomId(room),
                        UserId(user),
                        EventId(event),
                        at if isinstance(at, int) and not isinstance(at, bool) else 0,
                        within,
                    )
                    self._queues.put(portal.network, ("receipt", str(portal.id), user, within or ""), receipt)

    def _types(self, edu: Mapping[str, Any]) -> None:
        room, typing = RoomId(_text(edu.get("room_id"))), edu["content"].get("user_ids")
        if not room or not isinstance(typing, list):
            return
        portals = self._portals.in_room(room)
        if not portals:
            return
        found = [user for user in typing if _text(user) and not self._names.is_ours(user)]
        self._set_typing(room, frozenset(UserId(user) for user in found[:_TYPERS]), portals)

    def _set_typing(self, room: RoomId, users: frozenset[UserId], portals: Iterable[PortalRow]) -> None:
        end = self._ends.pop(room, None)
        if end is not None:
            end.cancel()
        if users:
            self._typing[room] = users
            self._ends[room] = asyncio.get_running_loop().call_later(_TYPING, self._forgotten, room)
        elif self._typing.pop(room, None) is None:
            return  # ghosts began or ended
        for portal in portals:
            self._queues.put(portal.network, ("typing", str(portal.id), room), _Typing(portal.id, room))

    def _forgotten(self, room: RoomId) -> None:
        self._set_typing(room, frozenset(), self._portals.in_room(room))

    def _present(self, edu: Mapping[str, Any]) -> None:
        user, content = _text(edu.get("sender")), edu["content"]
        words = {presence.value: presence for presence in Presence}
        presence, status = words.get(_text(content.get("presence"))), content.get("status_msg")
        if not self._presence or not user or presence is None or self._names.is_ours(user):
            return
        signal = MatrixPresence(UserId(user), presence, status[:1024] if isinstance(status, str) else None)
        for network in self._networks:
            if network.id in self._presence and self._own(network, signal.user) is not None:
                self._queues.put(network.id, ("presence", user), signal)

    async def _pass(self, name: NetworkId, key: Key, item: "_Receipt | _Typing | MatrixPresence") -> str:
        network = self._networks.get(name)
        if network is None:
            return "dropped"
        if isinstance(item, MatrixPresence):
            client = self._own(network, item.user)
            return await self._signal(client, item) if client is not None else "dropped"
        portal = self._portals.by_id(item.portal)
        if portal is None or portal.network != name or item.room not in portal.rooms:
            self._told.pop(item.portal, None)
            return "dropped"
        if isinstance(item, _Typing):
            return await self._pass_typing(network, portal, item)
        return await self._pass_receipt(network, portal, key, item)

    async def _pass_receipt(self, network: Network, portal: PortalRow, key: Key, item: _Receipt) -> str:
        client = self._own(network, item.user, portal)
        if client is None or not self._may(portal, network, item.room, item.user):
            return "dropped"
        carried = client.capabilities(portal.chat).level
        if carried("receipts") < Level.PARTIAL or (item.thread and carried("thread") < Level.PARTIAL):
            return "dropped"
        row = await self._read(portal, item.room, item.event)
        thread = await self._row(portal, item.room, item.thread) if item.thread else None
        if row is None:
            if not item.again:
                asyncio.get_running_loop().call_later(_AGAIN, self._once_more, network.id, key, item)
                return ""
            return "dropped"
        if item.thread and thread is None:
            return "dropped"
        read = MatrixReceipt(
            item.room, portal.chat, item.user, _ref(row), item.timestamp, _ref(thread) if thread is not None else None
        )
        return await self._signal(client, read)

    def _once_more(self, network: NetworkId, key: Key, item: _Receipt) -> None:
        if not self._queues.waits(network, key):  # else there is a newer one
            self._queues.put(network, key, replace(item, again=True))

    async def _pass_typing(self, network: Network, portal: PortalRow, item: _Typing) -> str:
        told, now = self._told.get(portal.id, frozenset()), self._typing.get(item.room, frozenset())
        if now == told:
            return "replaced"
        if now:
            self._told[portal.id] = now
        else:
            self._told.pop(portal.id, None)
        by_client: dict[int, tuple[Client, set[UserId]]] = {}
        for user in now ^ told:
            client = self._typist(network, portal, item.room, user)
            if client is not None:
                by_client.setdefault(id(client), (client, set()))[1].add(user)
        for client, users in by_client.values():
            signal = MatrixTyping(item.room, portal.chat, frozenset(users & now), frozenset(users - now))
            await self._signal(client, signal)
        return "passed" if by_client else "dropped"

    def _typist(self, network: Network, portal: PortalRow, room: RoomId, user: UserId) -> Client | None:
        """Who shows a user's typing: their own connection, or the relay, where the chat can show it."""
        if not self._may(portal, network, room, user):
            return None
        client = self._own(network, user, portal)
        if client is None and portal.receiver is None and network.relays(portal):
            client = network.main if network.main is not None and self._can(network.main) else None
        if client is None or client.capabilities(portal.chat).level("typing") < Level.PARTIAL:
            return None
        return client

    def _may(self, portal: PortalRow, network: Network, room: RoomId, user: UserId) -> bool:
        """Whether what the user does may be seen there: never more than a message of theirs would show."""
        if self._permissions.of(user) is Permission.BLOCKED:
            return False
        if portal.receiver is not None:
            login = network.login_of(portal.receiver)
            if login is None or login.user != user:
                return False
        sender = self._members.known(room, user) or MatrixSender(user, user[1:].partition(":")[0])
        try:
            self._gate.outgoing(portal, sender, room)
        except (RejectedError, TransientError):
            return False
        return True

    def _own(self, network: Network, user: UserId, portal: PortalRow | None = None) -> Client | None:
        """The client of the user's login that speaks in a portal, if it takes signals and they may still have one."""
        client = network.client_of(user, portal)
        if client is None or not self._can(client) or self._permissions.of(user) < Permission.USER:
            return None
        return client

    def _can(self, client: Client) -> bool:
        kind = type(client)
        if kind not in self._signals:
            self._signals[kind] = isinstance(client, Signals)
        return self._signals[kind]

    async def _read(self, portal: PortalRow, room: RoomId, event: EventId) -> MessageRow | None:
        """The message that crossed last, up to an event."""
        look: EventId | None = event
        for _ in range(_BACK):
            if look is None:
                break
            row = await self._row(portal, room, look)
            if row is not None:
                return row
            look = self.positions.before(look)
        return None

    async def _row(self, portal: PortalRow, room: RoomId, event: EventId) -> MessageRow | None:
        for row in await self._messages.by_event(room, event):
            if row.portal == portal.id and not row.message.startswith("~"):
                return row
        return None

    async def _signal(self, client: Client, signal: MatrixSignal) -> str:
        async with asyncio.timeout(_TIME):
            await cast(Signals, client).signal(signal)
        return "passed"

    def stop(self) -> None:
        """Begin nothing more."""
        for end in self._ends.values():
            end.cancel()
        self._ends.clear()


def _ref(row: MessageRow) -> MessageRef:
    remote = None if row.sender.startswith("@") else RemoteUserId(row.sender)
    matrix = MatrixSender(UserId(row.sender), row.sender[1:].partition(":")[0]) if remote is None else None
    return MessageRef(row.message, row.event, remote_sender=remote, matrix_sender=matrix, timestamp=row.timestamp)


def _text(value: Any) -> str:
    """An id or word as it may be; empty for what is none. EDUs of other servers hold whatever these like."""
    return value if isinstance(value, str) and len(value) <= _LONGEST and "\0" not in value else ""
