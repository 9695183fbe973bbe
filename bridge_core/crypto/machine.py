"""The bridge's encryption as the rest of it sees it: encrypt what goes out, decrypt what comes in, take transactions.

One machine for all users of the bridge. Every error is one of `errors` or of `bridge_core.api.errors`; what cannot be
encrypted is not sent, and what cannot be believed is not shown.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.crypto.accounts import UNKNOWN_DEVICE, Accounts
from bridge_core.crypto.backup import KeyBackup
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.crypto.crosssigning import CrossSigning
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.errors import CryptoRejectedError, DamagedKeyError, MissingKeyError, Reason
from bridge_core.crypto.freshness import Freshness
from bridge_core.crypto.identities import Identities
from bridge_core.crypto.inbound import Inbounds
from bridge_core.crypto.messages import event_inside
from bridge_core.crypto.outbound import Outbounds
from bridge_core.crypto.pairwise import Pairwise
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import CryptoStore, KeyServer, KeysWanted, Outdated, Owner, RoomRow, Row
from bridge_core.crypto.requests import KeyRequests
from bridge_core.crypto.senders import Senders
from bridge_core.crypto.shares import RoomSettings, Skipped
from bridge_core.crypto.todevice import Inbox
from bridge_core.crypto.upkeep import Upkeep
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest
from bridge_core.engine.ports import Write
from bridge_core.engine.secrecy import CLEAR, MEGOLM
from bridge_core.observe.tasks import TaskOwner

__all__ = ["CryptoMachine", "Decrypted", "Taken"]

ENCRYPTED: Final = "m.room.encrypted"
_CLEAR: Final = ("m.relates_to", "dev.matrix_bridge.id")
"""Keys of a content that stay readable: what the homeserver needs, and what a sent event is found again by."""
_WANTING: Final = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decrypted:
    """An event in the clear (all of it, as it would have come unencrypted), and of which device it is."""

    event: dict[str, Any]
    trust: Trust
    device: str
    session: str

    @property
    def sure(self) -> bool:
        """Whether it is of a device whose owner's identity an admin has confirmed."""
        return self.trust >= Trust.VERIFIED


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a transaction is to be committed with it. Give it to `CryptoMachine.committed` when it is."""

    rows: tuple[Row, ...]
    writes: tuple[Write, ...]
    counts: tuple[tuple[Owner, int, bool | None], ...]


class CryptoMachine:
    """Built by the application, one per bridge.

    `arrived(room, session)` is told of keys that have come, `withheld(room, session, user)` of who will not give one,
    `skipped(room, devices)` once of devices that get no keys of a room; none may block. `make_device` makes a user's
    plain device again that was deleted.
    """

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        bot: Owner,
        is_ours: Callable[[str], bool],
        clock: Clock,
        policy: Policy,
        counts: CryptoCounts,
        tasks: TaskOwner,
        arrived: Callable[[RoomId, str], None],
        skipped: Callable[[RoomId, Sequence[Skipped]], None],
        faults: FaultPoints,
        make_device: Callable[[UserId], Awaitable[bool]] | None = None,
        withheld: Callable[[RoomId, str, UserId], None] = lambda *_: None,
    ) -> None:
        self._store = store
        self._server = server
        self._bot = bot
        self._clock = clock
        self._is_ours = is_ours
        self._policy = policy
        self._counts = counts
        self._tasks = tasks
        self._make_device = make_device
        self._rooms: dict[RoomId, RoomSettings] = {}
        self._handling: asyncio.Task[None] | None = None
        self.cross = CrossSigning(store, server, counts.uploads)
        self._fresh = Freshness(store, server, bot, clock, self._not_before)
        self.accounts = Accounts(
            store, server, self.cross, bot.user, clock, policy, counts.uploads, faults, self._fresh
        )
        self.identities = Identities(server, self.accounts, self.cross)
        self.devices = DeviceLists(store, server, bot, clock, policy, counts.devices)
        self._pairwise = Pairwise(store, server, self.accounts, clock, policy, counts.claims, faults)
        self.senders = Senders(self.devices, is_ours, clock, policy, arrived)
        """Its `watch` is the application's to start."""
        self._told = arrived
        self._inbounds = Inbounds(store, clock, policy, self._arrived)
        self.backup: KeyBackup | None = None
        """Where the policy wants it; its `run` is the application's to start."""
        if policy.backup:
            self.backup = KeyBackup(
                store, server, self.cross, self._inbounds, bot, clock, policy, counts.backup, faults
            )
        self._outbounds = Outbounds(
            store, server, self.devices, self._pairwise, clock, policy, counts.shares, skipped, faults
        )
        self._requests = KeyRequests(
            store,
            server,
            self.accounts,
            self.devices,
            self._pairwise,
            self._inbounds,
            bot,
            clock,
            policy,
            counts.requests,
            tasks.start,
        )
        self._upkeep = Upkeep(store, server, self.accounts, self.devices, self._pairwise, counts.to_device, tasks.start)
        self._inbox = Inbox(
            store,
            self.accounts,
            self._pairwise,
            self._inbounds,
            self._requests,
            is_ours,
            self.devices.tracks,
            self._upkeep.wedged,
            self.devices.reachable,
            withheld,
            clock,
            policy,
            counts.to_device,
            faults,
        )

    async def start(self, *, restored: bool = False) -> None:
        """Read which rooms are encrypted and go on with what was not handled. Raises as CryptoStore.

        `restored`: the database is an older copy of itself. Sessions in it have been used further than it knows: new
        ones are made, since no ratchet may be used twice. Where it is not known here, the homeserver is asked before
        anything is encrypted.
        """
        await self._fresh.start(restored=restored)
        for row in await self._store.rooms():
            self._rooms[row.room] = RoomSettings.of(orjson.loads(row.value), self._policy)
        await self.accounts.start()
        await self.devices.start()
        await self._inbox.start()
        self._handling = self._tasks.keep(self._inbox.turn, "crypto-inbox", self._clock)
        for owner in await self._store.wanting(_WANTING):
            # How many are left is not known any more: as if none were.
            self._upkeep.fill(owner, 0, None)

    def _not_before(self, at: int) -> None:
        self._pairwise.not_before = self._outbounds.not_before = at

    async def stop(self) -> None:
        """Store how far sessions were used; nothing new is begun. The tasks are ended by their owner."""
        if self._handling is not None:
            self._handling.cancel()  # it would start others
        await self._outbounds.park()

    async def sweep(self) -> dict[str, int]:
        """Remove what the policy keeps no longer; return how many rows of what. For an hourly round."""
        now, policy = self._clock.now_ms(), self._policy
        return await self._store.sweep(
            received_before=now - policy.max_age if policy.max_age else 0,
            unused_before=now - policy.max_unused if policy.max_unused else 0,
            forgotten_before=now - policy.forget,
        )

    # Rooms

    @property
    def encrypted_rooms(self) -> int:
        """How many rooms are known to be encrypted."""
        return len(self._rooms)

    def settings(self, room: RoomId) -> RoomSettings | None:
        """How the room is encrypted; None when it is not. Does not block."""
        return self._rooms.get(room)

    async def room_encrypted(self, room: RoomId, content: Mapping[str, Any]) -> bool:
        """The room's m.room.encryption has this content; returns whether that was believed once it is stored.

        A room that is encrypted stays so: an event that would turn it off, or names another algorithm, is refused and
        counted. Rotation may change.
        """
        if content.get("algorithm") != MEGOLM:
            if room in self._rooms:
                _log.warning("encryption_not_turned_off", room=room)
            self._counts.rejected.inc(Reason.NOT_ENCRYPTED if room in self._rooms else Reason.ALGORITHM)
            return False
        settings = RoomSettings.of(content, self._policy)
        if self._rooms.get(room) != settings:
            value = {
                "algorithm": MEGOLM,
                "rotation_period_msgs": settings.messages,
                "rotation_period_ms": settings.after,
            }
            await self._store.commit([RoomRow(room, orjson.dumps(value))])
            self._rooms[room] = settings
        return True

    # Sending

    async def encrypt(
        self,
        request: SendRequest,
        members: frozenset[UserId],
        still: Callable[[frozenset[UserId]], frozenset[UserId]] = lambda them: them,
    ) -> SendRequest:
        """The request with its body encrypted for the devices of `members`, none of whom is ours.

        `still` gives those of them who are there when its turn comes. One that is not to be encrypted is given back
        as it is.

        Encrypted anew for each try: the homeserver knows the transaction id, and gives the first try's event.
        Raises as KeyServer and CryptoStore; then nothing may be sent.
        """
        settings = self._rooms.get(request.room)
        if settings is None or request.redacts is not None or request.type in CLEAR:
            return request
        content, readers = orjson.loads(request.body), lambda: still(members)
        sender = self._speaker(request)
        try:
            ours = await self.accounts.ready(sender)
            encrypted = await self._outbounds.encrypt(ours, request.room, settings, request.type, content, readers)
        except DamagedKeyError as error:
            raise TransientError(str(error)) from error  # an admin may put the database right
        except MatrixRejectedError as error:
            make = self._make_device if error.errcode == UNKNOWN_DEVICE else None
            if make is None or not await make(sender.user):
                raise
            # Somebody deleted the device; it is back under its old name, and gets its old keys.
            await self.accounts.lost(sender)
            ours = await self.accounts.ready(sender)
            encrypted = await self._outbounds.encrypt(ours, request.room, settings, request.type, content, readers)
        encrypted |= {key: content[key] for key in _CLEAR if key in content}
        self._counts.messages.inc("encrypted")
        return replace(request, type=ENCRYPTED, body=orjson.dumps(encrypted))

    async def lost(self, user: UserId, device: str) -> None:
        """The homeserver has lost a device of ours: its keys are uploaded again before it is used."""
        await self.accounts.lost(Owner(user, device))

    async def discard(self, sender: Owner, room: RoomId) -> None:
        """The sender's next message in the room gets a new session."""
        await self._outbounds.discard(sender, room)

    # Receiving

    async def decrypt(self, event: Mapping[str, Any]) -> Decrypted:
        """An m.room.encrypted event in the clear.

        Raises MissingKeyError (its key has been asked for, and `arrived` tells when it comes), CryptoRejectedError
        (counted by its reason), TransientError where the homeserver or the database has to be asked and cannot be.
        """
        try:
            return await self._decrypt(event)
        except CryptoRejectedError as error:
            self._counts.rejected.inc(error.reason)
            raise

    async def ask_for(self, missing: MissingKeyError, event: Mapping[str, Any]) -> bool:
        """Look for the key of an event in the backup, else ask the sender's devices, once per session.

        Returns whether they were asked now.
        """
        if not missing.listed or await self.recall(missing):
            return False
        sender_key = event["content"].get("sender_key")
        await self.devices.current([missing.sender])
        await self._upkeep.met(missing.sender)  # else the answer comes in a session that we do not have, too
        return await self._requests.ask(
            missing.room, missing.session, missing.sender, sender_key if isinstance(sender_key, str) else ""
        )

    async def recall(self, missing: MissingKeyError) -> bool:
        """Look for a key in the backup; whether it came."""
        if self.backup is None:
            return False
        try:
            return await self.backup.recall(missing.room, missing.session)
        except BridgeError as error:
            _log.info("key_backup_not_read", error=str(error))
            return False

    def _arrived(self, room: RoomId, session: str) -> None:
        if self.backup is not None:
            self.backup.wake()
        self._told(room, session)

    async def _decrypt(self, event: Mapping[str, Any]) -> Decrypted:
        room, sender, content = RoomId(event["room_id"]), UserId(event["sender"]), event["content"]
        if "state_key" in event:
            raise CryptoRejectedError(Reason.KIND, "state is never encrypted")
        body, session = content.get("ciphertext"), content.get("session_id")
        if content.get("algorithm") != MEGOLM:
            raise CryptoRejectedError(Reason.ALGORITHM, "encrypted in a way that is not allowed here")
        if not isinstance(body, str) or not isinstance(session, str) or not 0 < len(session) <= 255 or "\0" in session:
            raise CryptoRejectedError(Reason.DAMAGED, "not a usable encrypted event")
        ts = event.get("origin_server_ts")
        read = await self._inbounds.read(
            room,
            session,
            sender,
            body,
            EventId(event["event_id"]),
            ts if type(ts) is int else 0,
            any_sender=self._policy.receive <= Trust.MISMATCHED,
            claimed=content.get("sender_key"),
        )
        kind, inner = event_inside(read.plaintext, room)
        trust, device = await self.senders.trust(room, session, sender, read)
        # What a message relates to is outside, where homeservers and all clients look.
        inner.pop("m.relates_to", None)
        if "m.relates_to" in content:
            inner["m.relates_to"] = content["m.relates_to"]
        self._counts.messages.inc("decrypted")
        return Decrypted({**event, "type": kind, "content": inner}, trust, device, session)

    # Transactions

    def received(
        self,
        to_device: Sequence[Mapping[str, Any]],
        device_lists: Mapping[str, Any],
        key_counts: Mapping[str, Any],
        fallback_types: Mapping[str, Any],
    ) -> Taken:
        """What a transaction (or an answer of /sync) brought, with the writes to commit with it. Does not block."""
        rows = self._inbox.rows(to_device)
        rows += self.devices.marks(self._changed(device_lists))
        counts = self._upkeep.few(key_counts, fallback_types)
        rows += [KeysWanted(owner, wanted=True) for owner, _, _ in counts]
        return Taken(tuple(rows), self._store.writes(rows) if rows else (), tuple(counts))

    def missed(self, device_lists: Mapping[str, Any]) -> None:
        """A transaction was not taken that told of these device lists, which will not be told again. Does not block."""
        users = self._changed(device_lists)
        self.devices.met(users)
        self.senders.changed(users)

    def _changed(self, device_lists: Mapping[str, Any]) -> list[UserId]:
        found = [user for name in ("changed", "left") for user in _list(device_lists.get(name))]
        return sorted(
            {
                UserId(user)
                for user in found
                if isinstance(user, str) and 0 < len(user) <= 255 and "\0" not in user and not self._is_ours(user)
            }
        )

    def committed(self, taken: Taken) -> None:
        """The writes were committed. Does not block."""
        if not taken.rows:
            return
        self.devices.outdated(taken.rows)
        self.senders.changed(row.user for row in taken.rows if isinstance(row, Outdated))
        self._inbox.wake()
        for owner, left, unused in taken.counts:
            self._upkeep.fill(owner, left, unused)

    async def handled(self) -> None:
        """Return when all to-device messages that were committed are handled."""
        await self._inbox.idle()

    def _speaker(self, request: SendRequest) -> Owner:
        if request.device is None:
            return self._bot
        return Owner(request.sender, request.device) if self._policy.per_ghost else self._bot


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
