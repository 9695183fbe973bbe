"""Megolm sessions in which our devices speak: one for each sender and room, and who has got its key.

Sources: client-server API, "m.megolm.v1.aes-sha2", "Sharing keys between devices", "m.room_key.withheld". No index is
used twice: the stored row says up to which index the session may be used (`reserved`), and after a restart, or any
error, it goes on behind that. A session is stored before its key is shared, and who got it before it is used.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import OurDevice
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.errors import DamagedKeyError
from bridge_core.crypto.held import Held
from bridge_core.crypto.inbound import own_row
from bridge_core.crypto.keyobjects import PeerDevice
from bridge_core.crypto.olm import GroupSession
from bridge_core.crypto.pairwise import Pairwise
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import CryptoStore, KeyServer, OutboundRow, Owner, SharesRow
from bridge_core.crypto.sending import plain_to_device, sent
from bridge_core.crypto.shares import RoomSettings, Share, Skipped, has_lost, shares_in
from bridge_core.crypto.userkeys import trust_of
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.secrecy import MEGOLM
from bridge_core.observe.metrics import Counter

__all__ = ["Outbounds"]

_log = structlog.get_logger(__name__)

_RECHECK: Final = 300_000
_TURNS: Final = 3


class Outbound:
    """A sender's session in a room. `lock` is held by whoever encrypts."""

    __slots__ = (
        "__weakref__",
        "created_at",
        "group",
        "lock",
        "members",
        "named",
        "owner",
        "parts",
        "recheck_at",
        "reserved",
        "room",
        "shares",
        "stale",
        "version",
    )

    def __init__(self, owner: Owner, room: RoomId) -> None:
        self.owner = owner
        self.room = room
        self.lock = asyncio.Lock()
        self.stale = True
        self.group: GroupSession | None = None
        self.created_at = 0
        self.reserved = 0
        self.shares: dict[tuple[UserId, str], Share] = {}
        self.parts = 0
        self.members: frozenset[UserId] = frozenset()
        self.version = -1
        self.recheck_at = 0
        self.named: set[tuple[UserId, str]] = set()


class Outbounds:
    """Encrypts for rooms. `skipped` is told once of each device that gets no keys of a room."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        devices: DeviceLists,
        pairwise: Pairwise,
        clock: Clock,
        policy: Policy,
        shared: Counter,
        skipped: Callable[[RoomId, Sequence[Skipped]], None],
        faults: FaultPoints,
    ) -> None:
        self._store = store
        self._server = server
        self._devices = devices
        self._pairwise = pairwise
        self._clock = clock
        self._policy = policy
        self._shared = shared
        self._skipped = skipped
        self._faults = faults
        self._held: Held[tuple[Owner, RoomId], Outbound] = Held(policy.loaded_outbound)
        self.not_before = -1
        """Sessions made until then (ms) are not spoken in any more: which of their indexes were used is not known."""

    async def encrypt(
        self,
        ours: OurDevice,
        room: RoomId,
        settings: RoomSettings,
        event_type: str,
        content: Mapping[str, Any],
        members: Callable[[], frozenset[UserId]],
    ) -> dict[str, Any]:
        """The content of the m.room.encrypted event, readable by the members' devices as the policy has it.

        `members` gives those who are to read it, without users of ours: asked when its turn comes, since who has left
        by then is given no new key. Raises as KeyServer; nothing was used up then.
        """
        key = (ours.owner, room)
        out = await self._held.get(key, lambda: self._new(ours.owner, room))
        plaintext = orjson.dumps({"type": event_type, "content": content, "room_id": room})
        async with out.lock:
            try:
                if out.stale:
                    await self._read(out)
                group = await self._current(out, ours, members(), settings)
                if group.index >= out.reserved:
                    out.reserved = group.index + self._policy.reserve
                    await self._store.commit([self._row(out, group)])
                    self._faults.hit("crypto.reserved")
                ciphertext = group.encrypt(plaintext)
            except BaseException:
                out.stale = True
                raise
        return {
            "algorithm": MEGOLM,
            "ciphertext": ciphertext,
            "session_id": group.id,
            "sender_key": ours.account.curve25519,
            "device_id": ours.owner.device,
        }

    async def park(self) -> None:
        """Store how far each loaded session was used, so that a planned restart skips no index."""
        for out in self._held.values():
            async with out.lock:
                if not out.stale and out.group is not None and out.group.index < out.reserved:
                    out.reserved = out.group.index
                    out.stale = True
                    await self._store.commit([self._row(out, out.group)])

    async def discard(self, owner: Owner, room: RoomId) -> None:
        """The next message gets a new session."""
        out = await self._held.get((owner, room), lambda: self._new(owner, room))
        async with out.lock:
            if out.stale:
                await self._read(out)
            if out.group is not None:
                out.created_at = 0
                await self._store.commit([self._row(out, out.group)])

    async def _new(self, owner: Owner, room: RoomId) -> Outbound:
        return Outbound(owner, room)

    async def _read(self, out: Outbound) -> None:
        row = await self._store.outbound(out.owner, out.room)
        out.version, out.members, out.shares, out.group, out.parts = -1, frozenset(), {}, None, 0
        if row is not None:
            try:
                value = orjson.loads(row.value)
                group = GroupSession.unpickled(value["pickle"].encode(), self._store.pickle_key)
                out.created_at, out.reserved = value["created_at"], value["reserved"]
                rows = await self._store.shares(out.room, group.id)
                for part in sorted(rows, key=lambda one: one.part):
                    out.shares.update(shares_in(part))
            except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError, DamagedKeyError):
                _log.warning("outbound_session_damaged", user=out.owner.user, room=out.room)
                out.stale, out.shares = False, {}
                return  # a new one is made: no index of it was ever used
            # What was reserved may have been sent: nobody can tell any more.
            group.skip_to(out.reserved)
            out.parts = max((part.part for part in rows), default=-1) + 1
            out.named.update(place for place, share in out.shares.items() if share.since < 0)
            out.group = group
        out.stale = False

    def _row(self, out: Outbound, group: GroupSession) -> OutboundRow:
        value = {
            "pickle": group.pickle(self._store.pickle_key).decode(),
            "created_at": out.created_at,
            "reserved": out.reserved,
        }
        return OutboundRow(out.owner, out.room, orjson.dumps(value))

    def _is_over(self, out: Outbound, group: GroupSession, settings: RoomSettings) -> bool:
        if out.created_at <= self.not_before:
            return True
        return group.index >= settings.messages or self._clock.now_ms() - out.created_at >= settings.after

    async def _current(
        self, out: Outbound, ours: OurDevice, members: frozenset[UserId], settings: RoomSettings
    ) -> GroupSession:
        """The session to speak in, whose key everybody has who is to have it."""
        for _ in range(_TURNS):
            group = out.group
            now = self._clock.now_ms()
            if (
                group is not None
                and not self._is_over(out, group, settings)
                and (members is out.members or members == out.members)
                and now < out.recheck_at
                and not self._devices.changed_since(out.version, members)
            ):
                out.version = self._devices.version
                return group
            version = self._devices.version
            wanted, refused = await self._readers(members)
            if group is None or self._is_over(out, group, settings) or has_lost(out.shares, wanted):
                group = await self._start(out, ours, settings)
            await self._share(out, group, ours, list(wanted.values()))
            await self._refuse(out, group, ours, refused)
            # Lists that change while keys are shared are looked at once more, and in the end at the next message.
            out.members, out.version, out.recheck_at = members, version, now + _RECHECK
        assert out.group is not None
        return out.group

    async def _readers(
        self, members: frozenset[UserId]
    ) -> tuple[dict[tuple[UserId, str], PeerDevice], list[tuple[PeerDevice, Trust]]]:
        wanted: dict[tuple[UserId, str], PeerDevice] = {}
        refused: list[tuple[PeerDevice, Trust]] = []
        for user, keys in (await self._devices.current(sorted(members))).items():
            for name, device in keys.devices.items():
                trust = trust_of(keys, device)
                if trust >= self._policy.send:
                    wanted[user, name] = device
                else:
                    refused.append((device, trust))
        return wanted, refused

    async def _start(self, out: Outbound, ours: OurDevice, settings: RoomSettings) -> GroupSession:
        group = GroupSession()
        now = self._clock.now_ms()
        out.created_at, out.parts, out.shares = now, 0, {}
        out.reserved = min(self._policy.reserve, settings.messages)
        own = own_row(out.room, group, ours, now, self._store.pickle_key)
        await self._store.commit([self._row(out, group), own])
        self._faults.hit("crypto.session_committed")
        self._shared.inc("sessions")
        out.group = group
        return group

    async def _share(self, out: Outbound, group: GroupSession, ours: OurDevice, wanted: list[PeerDevice]) -> None:
        due = [one for one in wanted if (share := out.shares.get((one.user, one.id))) is None or share.since < 0]
        if not due:
            return
        key = {"algorithm": MEGOLM, "room_id": out.room, "session_id": group.id, "session_key": group.key}
        keyless: list[PeerDevice] = []
        try:
            await self._give(out, group, ours, due, key, keyless)
        finally:
            self._name(out, [(one, Trust.UNKNOWN) for one in keyless], keyless=True)

    async def _give(
        self,
        out: Outbound,
        group: GroupSession,
        ours: OurDevice,
        due: list[PeerDevice],
        key: Mapping[str, Any],
        keyless: list[PeerDevice],
    ) -> None:
        """Sends the key in batches; devices without a session to be had are put into `keyless`."""
        index, size = group.index, self._policy.share_batch
        for start in range(0, len(due), size):
            batch = due[start : start + size]
            messages, without = await self._pairwise.encrypted(ours, batch, "m.room_key", lambda _: key)
            await sent(self._server, ours.owner, "m.room.encrypted", messages)
            self._faults.hit("crypto.key_sent")
            lacking = {(one.user, one.id) for one in without}
            given = {
                (one.user, one.id): Share(one.curve25519, index) for one in batch if (one.user, one.id) not in lacking
            }
            self._shared.inc("given", by=len(given))
            await self._note(out, group, given)
            told = [one for one in without if out.shares.get((one.user, one.id)) is None]
            if told:
                await self._withhold(out, group, ours, told, "m.no_olm")
                keyless += told

    async def _refuse(
        self, out: Outbound, group: GroupSession, ours: OurDevice, refused: list[tuple[PeerDevice, Trust]]
    ) -> None:
        new = [(one, trust) for one, trust in refused if (one.user, one.id) not in out.shares]
        for code, blocked in (("m.blacklisted", True), ("m.unverified", False)):
            those = [one for one, trust in new if (trust is Trust.BLOCKED) is blocked]
            if those:
                await self._withhold(out, group, ours, those, code)
        self._name(out, new)

    def _name(self, out: Outbound, devices: Sequence[tuple[PeerDevice, Trust]], *, keyless: bool = False) -> None:
        named = [
            Skipped(one.user, one.id, trust, keyless) for one, trust in devices if (one.user, one.id) not in out.named
        ]
        if named:
            out.named.update((one.user, one.device) for one in named)
            self._skipped(out.room, named)

    async def _withhold(
        self, out: Outbound, group: GroupSession, ours: OurDevice, peers: Sequence[PeerDevice], code: str
    ) -> None:
        """Says why: so that people see a reason and not a message that never decrypts."""
        content: dict[str, Any] = {"algorithm": MEGOLM, "sender_key": ours.account.curve25519, "code": code}
        if code != "m.no_olm":
            content |= {"room_id": out.room, "session_id": group.id}
        await plain_to_device(self._server, ours.owner, "m.room_key.withheld", peers, content, self._policy.share_batch)
        self._shared.inc(code.removeprefix("m."), by=len(peers))
        await self._note(out, group, {(one.user, one.id): Share(one.curve25519, -1, code) for one in peers})

    async def _note(self, out: Outbound, group: GroupSession, given: Mapping[tuple[UserId, str], Share]) -> None:
        if not given:
            return
        value = orjson.dumps([[*place, *share] for place, share in given.items()])
        await self._store.commit([SharesRow(out.room, group.id, out.parts, value, self._clock.now_ms())])
        self._faults.hit("crypto.share_committed")
        out.parts += 1
        out.shares.update(given)
