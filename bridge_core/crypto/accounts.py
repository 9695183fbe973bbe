"""Our devices: each one's account, its keys on the homeserver, and how many one-time keys are left there.

Source: client-server API, "Key management API", "One-time and fallback keys". A private key is committed before its
public half is uploaded, so a crash between the two costs nothing: the same keys are uploaded again.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.crypto.crosssigning import CrossSigning
from bridge_core.crypto.errors import DamagedKeyError
from bridge_core.crypto.freshness import Freshness
from bridge_core.crypto.held import Held
from bridge_core.crypto.olm import Account, OlmSession
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import AccountRow, CryptoStore, KeyServer, KeysWanted, Owner
from bridge_core.crypto.signing import signed_bytes, with_signature
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.engine.secrecy import MEGOLM
from bridge_core.observe.metrics import Counter

__all__ = ["ALGORITHMS", "OLM", "ONE_TIME", "UNKNOWN_DEVICE", "Accounts", "OurDevice", "PeerSession"]

OLM: Final = "m.olm.v1.curve25519-aes-sha2"
ALGORITHMS: Final = (OLM, MEGOLM)
ONE_TIME: Final = "signed_curve25519"
UNKNOWN_DEVICE: Final = "M_UNKNOWN_DEVICE"
_UPLOADS: Final = 6
_AGAIN: Final = 3_600_000
_OTHERS: Final = "already exists"
"""What Synapse says of a one-time key's id under which it has another key (400, M_UNKNOWN)."""

_log = structlog.get_logger(__name__)


class PeerSession:
    """An Olm session as it is stored."""

    __slots__ = ("created_at", "session", "used_at")

    def __init__(self, session: OlmSession, created_at: int, used_at: int) -> None:
        self.session = session
        self.created_at = created_at
        self.used_at = used_at


class OurDevice:
    """A loaded account, to be used inside `Accounts.using` only."""

    __slots__ = (
        "__weakref__",
        "account",
        "again_at",
        "epoch",
        "fallback_at",
        "keys",
        "lock",
        "owner",
        "peers",
        "stale",
        "uploaded",
    )

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.account: Account
        self.stale = True
        """What is in memory may not be what is stored."""
        self.uploaded = False
        self.epoch = ""
        """The epoch of the identity that has signed what was uploaded."""
        self.fallback_at = 0
        self.again_at = 0
        """When a signature that the homeserver refused is tried again, in ms."""
        self.keys: dict[str, Any] = {}
        """The device's keys with all signatures, once they are made."""
        self.lock = asyncio.Lock()
        self.peers: OrderedDict[str, list[PeerSession]] = OrderedDict()
        """Sessions in memory by the peer's identity key, the one to use first."""


class Accounts:
    """Loads, makes and uploads accounts. Idle ones are forgotten and loaded again: they cost no memory."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        cross: CrossSigning,
        bot: UserId,
        clock: Clock,
        policy: Policy,
        uploads: Counter,
        faults: FaultPoints,
        fresh: Freshness,
    ) -> None:
        self._store = store
        self._server = server
        self._cross = cross
        self._bot = bot
        self._clock = clock
        self._policy = policy
        self._uploads = uploads
        self._faults = faults
        self._fresh = fresh
        self._held: Held[Owner, OurDevice] = Held(policy.loaded_accounts)
        self._made: dict[str, set[UserId]] = {}
        """Users by the name of their device, which all of ours share: one string and a place in a set for each."""

    def __len__(self) -> int:
        """How many are loaded."""
        return len(self._held)

    @property
    def signs(self) -> bool:
        """Whether devices are signed by identities of their users."""
        return self._policy.cross_signing

    @property
    def made(self) -> int:
        """How many devices of ours have an account."""
        return sum(map(len, self._made.values()))

    async def start(self) -> None:
        """Read which devices have an account: their names stay in memory, and nothing else of those that are idle."""
        for owner in await self._store.owners():
            self._note(owner)

    def has(self, owner: Owner) -> bool:
        """Whether the device has an account. Does not block."""
        return owner.user in self._made.get(owner.device, ())

    async def known(self, owner: Owner) -> OurDevice | None:
        """The account if there is one: for what was sent to it. Raises DamagedKeyError."""
        return await self._get(owner) if self.has(owner) else None

    async def ready(self, owner: Owner) -> OurDevice:
        """The account with its keys on the homeserver, signed by its owner's identity. Raises as KeyServer.

        Whoever encrypts has it from here: not before it is known that the database is the newest copy of itself.
        The first call for a device makes them: two requests, or one without cross-signing.
        """
        await self._fresh.ready()
        device = await self._get(owner)
        epoch = await self._epoch()
        if not (self._is_up(device, epoch) and device.keys):
            async with self.using(device):
                if not self._is_up(device, epoch):
                    await self._publish(device, epoch)
                elif not device.keys:
                    device.keys = await self._signed_keys(device)
        return device

    @contextlib.asynccontextmanager
    async def using(self, device: OurDevice) -> AsyncIterator[None]:
        """Inside, nobody else moves the account or its sessions. What moves is to be committed inside.

        After any error the account is read anew before it is used again, as it was stored last.
        """
        async with device.lock:
            if device.stale:
                await self._read(device)
            try:
                yield
            except BaseException:
                device.stale = True
                raise

    async def counted(self, owner: Owner, left: int, fallback_unused: bool | None) -> bool:
        """The homeserver has `left` one-time keys of a device; upload more if they are few. Returns whether it did.

        `fallback_unused` is False when the fallback key was given out, None when that is not known.
        """
        device = await self.known(owner)
        if device is None:
            return False
        async with self.using(device):
            wanted = self._wanted(owner)
            few = left < wanted // 2
            stale = fallback_unused is False and self._is_old(device)
            if not device.uploaded or not (few or stale):
                return False
            await self._upload(device, wanted - left if few else 0, fallback=stale)
        return True

    def few(self, owner: Owner, left: int, fallback_unused: bool | None) -> bool:
        """Whether `counted` may have something to do."""
        device = self._held.peek(owner)
        used = fallback_unused is False and (device is None or self._is_old(device))
        return left < self._wanted(owner) // 2 or used

    async def lost(self, owner: Owner) -> None:
        """The homeserver has lost the device or its keys: the next `ready` uploads them again."""
        device = await self.known(owner)
        if device is not None:
            async with self.using(device):
                device.uploaded = False
                await self._store.commit([self.row(device)])

    def row(self, device: OurDevice) -> AccountRow:
        """What is to be committed of an account that has moved. Under its lock."""
        value = {
            "pickle": device.account.pickle(self._store.pickle_key).decode(),
            "uploaded": device.uploaded,
            "epoch": device.epoch,
            "fallback_at": device.fallback_at,
        }
        return AccountRow(device.owner, orjson.dumps(value))

    def _note(self, owner: Owner) -> None:
        self._made.setdefault(owner.device, set()).add(owner.user)

    async def _get(self, owner: Owner) -> OurDevice:
        return await self._held.get(owner, lambda: self._load(owner))

    async def _load(self, owner: Owner) -> OurDevice:
        device = OurDevice(owner)
        await self._read(device)
        return device

    async def _read(self, device: OurDevice) -> None:
        device.peers.clear()
        epoch = device.epoch
        row = await self._store.account(device.owner)
        if row is None:
            device.keys = {}
            # Stored before anything of it is uploaded: until then nobody knows it, and another will do.
            device.account, device.uploaded, device.epoch, device.fallback_at = Account(), False, "", 0
        else:
            try:
                value = orjson.loads(row.value)
                device.account = Account.unpickled(value["pickle"].encode(), self._store.pickle_key)
                device.uploaded, device.epoch = value["uploaded"], value["epoch"]
                device.fallback_at = value["fallback_at"]
            except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError, DamagedKeyError) as error:
                _log.error("account_damaged", user=device.owner.user, device=device.owner.device)
                raise DamagedKeyError("the keys of a device of ours cannot be read from the database") from error
        if device.epoch != epoch:
            device.keys = {}
        device.stale = False

    def _is_up(self, device: OurDevice, epoch: str) -> bool:
        return device.uploaded and (device.epoch == epoch or self._clock.now_ms() < device.again_at)

    def _is_old(self, device: OurDevice) -> bool:
        return self._clock.now_ms() - device.fallback_at >= self._policy.fallback_min_age

    def _wanted(self, owner: Owner) -> int:
        return self._policy.bot_one_time_keys if owner.user == self._bot else self._policy.ghost_one_time_keys

    async def _epoch(self) -> str:
        return await self._cross.epoch() if self._policy.cross_signing else ""

    async def _publish(self, device: OurDevice, epoch: str) -> None:
        device.keys = {}
        keys = await self._signed_keys(device, ensure=True)
        if self._clock.now_ms() < device.again_at:
            epoch = ""
        # Where the keys are uploaded again, since they were lost or have a new signature, one-time keys may be gone.
        await self._upload(device, self._wanted(device.owner), fallback=True, keys=keys, epoch=epoch)
        device.keys = keys
        _log.info("device_keys_uploaded", user=device.owner.user, device=device.owner.device)

    async def _signed_keys(self, device: OurDevice, *, ensure: bool = False) -> dict[str, Any]:
        owner, account = device.owner, device.account
        keys: dict[str, Any] = {
            "user_id": owner.user,
            "device_id": owner.device,
            "algorithms": list(ALGORITHMS),
            "keys": {f"curve25519:{owner.device}": account.curve25519, f"ed25519:{owner.device}": account.ed25519},
        }
        keys = with_signature(keys, owner.user, owner.device, account.sign(signed_bytes(keys)))
        if not self._policy.cross_signing:
            return keys
        try:
            identity = await (self._cross.ensure(owner) if ensure else self._cross.identity(owner.user))
        except MatrixRejectedError as error:
            if error.errcode == UNKNOWN_DEVICE:
                raise
            # Clients then warn of what the device says, which is better than that it says nothing.
            _log.warning("cross_signing_refused", user=owner.user, error=str(error))
            device.again_at = self._clock.now_ms() + _AGAIN
            return keys
        return identity.signed_device(keys)

    async def _upload(
        self,
        device: OurDevice,
        more: int,
        *,
        fallback: bool,
        keys: Mapping[str, Any] | None = None,
        epoch: str | None = None,
    ) -> None:
        account = device.account
        # Keys made before and never marked are there already: a crash or an error came between.
        more = max(0, more - len(account.one_time_keys()))
        if more:
            account.add_one_time_keys(min(more, account.most_one_time_keys))
        if fallback and not account.fallback_key():
            account.add_fallback_key()
            device.fallback_at = self._clock.now_ms()
        await self._store.commit([self.row(device)])
        self._note(device.owner)
        self._faults.hit("crypto.keys_committed")
        for left in reversed(range(_UPLOADS)):
            body: dict[str, Any] = {"one_time_keys": self._signed(device, account.one_time_keys())}
            if fallback_keys := account.fallback_key():
                body["fallback_keys"] = self._signed(device, fallback_keys, fallback=True)
            if keys is not None:
                body["device_keys"] = keys
            try:
                await self._server.upload_keys(device.owner, body)
                break
            except MatrixRejectedError as error:
                again = len(account.one_time_keys())
                if error.status != 400 or error.errcode == UNKNOWN_DEVICE or not again or not left:
                    raise
                # It has other keys under these ids: ours are of an older copy of the database. They are not used.
                _log.warning("one_time_keys_refused", user=device.owner.user, error=str(error))
                if _OTHERS in str(error):
                    await self._fresh.doubted()
                account.published()
                account.add_one_time_keys(again)
                if fallback:
                    account.add_fallback_key()
                await self._store.commit([self.row(device)])
        self._uploads.inc("device" if keys is not None else "one_time")
        self._faults.hit("crypto.keys_uploaded")
        account.published()
        device.uploaded = True
        device.epoch = epoch if epoch is not None else device.epoch
        await self._store.commit([self.row(device), KeysWanted(device.owner, wanted=False)])

    def _signed(self, device: OurDevice, keys: Mapping[str, str], *, fallback: bool = False) -> dict[str, Any]:
        owner, account = device.owner, device.account
        signed = {}
        for key_id, key in keys.items():
            value: dict[str, Any] = {"key": key, "fallback": True} if fallback else {"key": key}
            signature = account.sign(signed_bytes(value))
            signed[f"{ONE_TIME}:{key_id}"] = with_signature(value, owner.user, owner.device, signature)
        return signed
