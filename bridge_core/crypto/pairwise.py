"""Olm: what one of our devices says to one device of somebody else, and the other way round.

Sources: client-server API, "m.olm.v1.curve25519-aes-sha2", "Recovering from undecryptable messages"; MSC4147
(`sender_device_keys`). A ratchet that has moved is committed before what it made is sent or believed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
import structlog

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.crypto.accounts import OLM, ONE_TIME, Accounts, OurDevice, PeerSession
from bridge_core.crypto.errors import DamagedKeyError, OlmError, Reason
from bridge_core.crypto.keyobjects import PeerDevice, claimed_key
from bridge_core.crypto.olm import PRE_KEY, OlmSession
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import CryptoStore, KeyServer, OlmSessionGone, OlmSessionRow, Row
from bridge_core.engine.faults import FaultPoints
from bridge_core.observe.metrics import Counter

__all__ = ["Content", "Opened", "Pairwise", "ToDevice"]

Content = Mapping[str, Any]
ToDevice = dict[UserId, dict[str, Content]]

_Key = TypeVar("_Key")
_log = structlog.get_logger(__name__)

_REMEMBERED: Final = 10_000
_AFTER_FAILURE: Final = 300_000
_YIELD: Final = 20
"""Sessions worked on before the loop gets its turn: about 4 ms."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A decrypted to-device message, with the rows to commit together with what it brings.

    `moved`: a one-time key of our account was used, so that its row is to be committed too. `reachable`: the device had
    no keys left for us, and can be written to now.
    """

    plaintext: bytes
    rows: tuple[Row, ...]
    moved: bool = False
    reachable: bool = False


class Pairwise:
    """Encrypts for devices and decrypts what they sent. The caller of `opened` and `unwedge_due` is `todevice`."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        accounts: Accounts,
        clock: Clock,
        policy: Policy,
        claims: Counter,
        faults: FaultPoints,
    ) -> None:
        self._store = store
        self._server = server
        self._accounts = accounts
        self._clock = clock
        self._policy = policy
        self._claims = claims
        self._faults = faults
        self._without: OrderedDict[str, int] = OrderedDict()
        """Identity keys of devices that had no one-time key for whichever of ours, and servers that did not answer; and
        when they are asked again, in ms."""
        self._unwedged: OrderedDict[tuple[str, str], int] = OrderedDict()
        """(our key, their key) of devices with which a new session was made, and when."""
        self.not_before = -1
        """Sessions made until then (ms) are not spoken in any more: what they have sent is not known."""

    async def encrypted(
        self, ours: OurDevice, peers: Sequence[PeerDevice], event_type: str, content: Callable[[PeerDevice], Content]
    ) -> tuple[ToDevice, list[PeerDevice]]:
        """m.room.encrypted contents to send, committed; and the devices for which there is no session to be had.

        Sessions that are missing are made of claimed keys. Raises as KeyServer.
        """
        await self._prepare(ours, peers)
        messages: ToDevice = {}
        without: list[PeerDevice] = []
        async with self._accounts.using(ours):
            await self._load(ours, peers)
            rows: list[Row] = []
            for number, peer in enumerate(peers):
                found = self._spoken(ours, peer)
                if found is None:
                    without.append(peer)
                    continue
                plaintext = self._plaintext(ours, peer, event_type, content(peer))
                kind, body = found.session.encrypt(plaintext)
                rows.append(self._row(ours, peer.curve25519, found))
                messages.setdefault(peer.user, {})[peer.id] = {
                    "algorithm": OLM,
                    "sender_key": ours.account.curve25519,
                    "ciphertext": {peer.curve25519: {"type": kind, "body": body}},
                }
                if number % _YIELD == _YIELD - 1:
                    await asyncio.sleep(0)
            if rows:
                await self._store.commit(rows)
        self._faults.hit("crypto.olm_committed")
        return messages, without

    async def opened(self, ours: OurDevice, sender_key: str, kind: int, body: str) -> Opened:
        """What a device says. Inside `Accounts.using`; its rows are to be committed there. Raises OlmError."""
        await self._load_keys(ours, [sender_key])
        sessions = ours.peers.get(sender_key, [])
        error = OlmError(Reason.UNKNOWN_SESSION, "no session with this device")
        for found in sessions:
            if kind == PRE_KEY and not found.session.matches(kind, body):
                continue
            try:
                plaintext = found.session.decrypt(kind, body)
            except OlmError as failed:
                error = failed
                if kind == PRE_KEY:
                    raise  # it is this session's, and nobody else's
                continue
            found.used_at = self._clock.now_ms()
            sessions.remove(found)
            sessions.insert(0, found)
            return Opened(plaintext, (self._row(ours, sender_key, found),))
        if kind != PRE_KEY:
            raise error
        try:
            session, plaintext = ours.account.inbound(sender_key, body)
        except OlmError as failed:
            if failed.reason is not Reason.REPLAY:
                raise
            # Not a repeated message of a session that we know: a homeserver that was restored gives a key out twice.
            # Who got it second can be helped as anybody whose session we do not have.
            raise OlmError(Reason.UNKNOWN_SESSION, "its one-time key was used before, or never ours") from failed
        lacked = self._without.pop(sender_key, None) is not None
        return Opened(plaintext, tuple(self._add(ours, sender_key, session)), moved=True, reachable=lacked)

    async def unwedge_due(self, ours: OurDevice, sender_key: str) -> bool:
        """Whether a new session may be started with a device whose message did not decrypt: once in an hour."""
        now = self._clock.now_ms()
        key = (ours.account.curve25519, sender_key)
        if now - self._unwedged.get(key, -self._policy.unwedge_after) < self._policy.unwedge_after:
            return False
        rows = await self._store.olm_sessions(ours.owner, [sender_key])
        newest = max((row.created_at for row in rows), default=-self._policy.unwedge_after)
        self._remember(self._unwedged, key, now)
        return now - newest >= self._policy.unwedge_after

    async def renew(self, ours: OurDevice, peer: PeerDevice) -> bool:
        """Start a new session with a device, to be used from now on; False when it has no keys. As KeyServer."""
        return bool(await self._claim(ours, [peer]))

    def retry_at(self, peer: PeerDevice) -> int:
        """When a device without keys will be asked for one again, in ms; 0 when it is not known to have none."""
        return max(self._without.get(peer.curve25519, 0), self._without.get(_server(peer), 0))

    async def _prepare(self, ours: OurDevice, peers: Sequence[PeerDevice]) -> None:
        async with self._accounts.using(ours):
            await self._load(ours, peers)
            now = self._clock.now_ms()
            missing = [one for one in peers if self._spoken(ours, one) is None and self.retry_at(one) <= now]
        size = self._policy.claim_batch
        for start in range(0, len(missing), size):
            await self._claim(ours, missing[start : start + size])

    def _spoken(self, ours: OurDevice, peer: PeerDevice) -> PeerSession | None:
        """The session to speak in."""
        sessions = ours.peers.get(peer.curve25519, ())
        return next((one for one in sessions if one.created_at > self.not_before), None)

    async def _claim(self, ours: OurDevice, peers: Sequence[PeerDevice]) -> list[PeerDevice]:
        wanted: dict[UserId, dict[str, str]] = {}
        for peer in peers:
            wanted.setdefault(peer.user, {})[peer.id] = ONE_TIME
        answer = await self._server.claim_keys(ours.owner, wanted)
        self._faults.hit("crypto.claimed")
        made: list[PeerDevice] = []
        now = self._clock.now_ms()
        for server in answer.failed:
            # Each question waits for it, and every device of ours would put one.
            self._remember(self._without, server, now + _AFTER_FAILURE)
        async with self._accounts.using(ours):
            await self._load(ours, peers)
            rows: list[Row] = []
            for number, peer in enumerate(peers):
                given = answer.keys.get(peer.user)
                key = claimed_key(given.get(peer.id) if isinstance(given, Mapping) else None, peer)
                try:
                    session = ours.account.outbound(peer.curve25519, key) if key else None
                except OlmError:
                    session = None
                if session is None:
                    self._claims.inc("none")
                    if _server(peer) not in answer.failed:
                        self._remember(self._without, peer.curve25519, now + self._policy.no_key_retry)
                    continue
                self._claims.inc("made")
                self._without.pop(peer.curve25519, None)
                rows += self._add(ours, peer.curve25519, session)
                made.append(peer)
                if number % _YIELD == _YIELD - 1:
                    await asyncio.sleep(0)
            if rows:
                await self._store.commit(rows)
        return made

    def _plaintext(self, ours: OurDevice, peer: PeerDevice, event_type: str, content: Content) -> bytes:
        return orjson.dumps(
            {
                "type": event_type,
                "content": content,
                "sender": ours.owner.user,
                "sender_device": ours.owner.device,
                "keys": {"ed25519": ours.account.ed25519},
                "recipient": peer.user,
                "recipient_keys": {"ed25519": peer.ed25519},
                "sender_device_keys": ours.keys,
            }
        )

    async def _load(self, ours: OurDevice, peers: Sequence[PeerDevice]) -> None:
        await self._load_keys(ours, [peer.curve25519 for peer in peers])

    async def _load_keys(self, ours: OurDevice, keys: Sequence[str]) -> None:
        missing = [key for key in keys if key not in ours.peers]
        for key in keys:
            if key in ours.peers:
                ours.peers.move_to_end(key)
        if not missing:
            return
        for key in missing:
            ours.peers[key] = []
        rows = await self._store.olm_sessions(ours.owner, missing)
        for row in sorted(rows, key=lambda one: (one.used_at, one.created_at), reverse=True):
            try:
                session = OlmSession.unpickled(row.value, self._store.pickle_key)
            except DamagedKeyError:
                # Another one is made, as for any session that does not work.
                _log.warning("olm_session_damaged", user=ours.owner.user, device=ours.owner.device)
                continue
            ours.peers[row.peer].append(PeerSession(session, row.created_at, row.used_at))
        while len(ours.peers) > max(self._policy.peer_sessions, len(keys)):
            ours.peers.popitem(last=False)

    def _add(self, ours: OurDevice, peer: str, session: OlmSession) -> list[Row]:
        now = self._clock.now_ms()
        sessions = ours.peers.setdefault(peer, [])
        found = PeerSession(session, now, now)
        sessions.insert(0, found)
        rows: list[Row] = [self._row(ours, peer, found)]
        while len(sessions) > self._policy.sessions_per_peer:
            rows.append(OlmSessionGone(ours.owner, peer, sessions.pop().session.id))
        return rows

    def _row(self, ours: OurDevice, peer: str, found: PeerSession) -> OlmSessionRow:
        pickle = found.session.pickle(self._store.pickle_key)
        return OlmSessionRow(ours.owner, peer, found.session.id, pickle, found.created_at, found.used_at)

    @staticmethod
    def _remember(place: OrderedDict[_Key, int], key: _Key, at: int) -> None:
        place[key] = at
        place.move_to_end(key)
        if len(place) > _REMEMBERED:
            place.popitem(last=False)


def _server(peer: PeerDevice) -> str:
    return peer.user.partition(":")[2]
