"""The cross-signing identities of the bridge's own users, all made from one recovery key.

Source: client-server API, "Cross-signing" and "Recovery key". An identity's three seeds are derived from the recovery
key, the user and a generation: whoever has kept the recovery key has every identity again, and nothing secret is stored
per ghost. A reset of one user raises their generation; a rotation makes a new recovery key and so new identities.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge_core.api.ids import UserId
from bridge_core.crypto.errors import IdentityFailedError, OlmError, Reason
from bridge_core.crypto.ports import CryptoStore, KeyServer, Owner, SecretRow
from bridge_core.crypto.signing import SigningKey, signed_bytes, with_signature
from bridge_core.observe.metrics import Counter

__all__ = ["RECOVERY", "CrossSigning", "Identity", "recovery_from", "recovery_text"]

RECOVERY: Final = "recovery"
_SIZE: Final = 32
_GENERATIONS: Final = 10
"""Identities of one user that are tried at once; the next try goes on behind them."""
_PREFIX: Final = b"\x8b\x01"
_DIGITS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user's keys: the master key signs the two others, the self-signing key their devices."""

    user: UserId
    master: SigningKey
    self_signing: SigningKey
    user_signing: SigningKey

    def signed_device(self, device_keys: dict[str, Any]) -> dict[str, Any]:
        """The device's keys with the owner's signature."""
        key = self.self_signing
        return with_signature(device_keys, self.user, key.public, key.sign(signed_bytes(device_keys)))

    def upload(self) -> dict[str, Any]:
        """The body of /keys/device_signing/upload."""
        body: dict[str, Any] = {"master_key": self._public("master", self.master)}
        for usage, key in (("self_signing", self.self_signing), ("user_signing", self.user_signing)):
            value = self._public(usage, key)
            signature = self.master.sign(signed_bytes(value))
            body[f"{usage}_key"] = with_signature(value, self.user, self.master.public, signature)
        return body

    def _public(self, usage: str, key: SigningKey) -> dict[str, Any]:
        return {"user_id": self.user, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}


class CrossSigning:
    """Makes, uploads, resets and rotates the identities of our users. Callers ask once per user at a time."""

    def __init__(self, store: CryptoStore, server: KeyServer, uploads: Counter) -> None:
        self._store = store
        self._server = server
        self._uploads = uploads
        self._recovery: bytes | None = None
        self._lock = asyncio.Lock()

    async def identity(self, user: UserId) -> Identity:
        """The user's identity, uploaded or not. The first one of all makes the recovery key."""
        generation, _ = await self._state(user)
        return self._derived(await self._key(), user, generation)

    async def ensure(self, owner: Owner) -> Identity:
        """The user's identity, which the homeserver has. Raises as KeyServer."""
        generation, uploaded = await self._state(owner.user)
        identity = self._derived(await self._key(), owner.user, generation)
        if uploaded != identity.master.public:
            generation = await self._uploaded(owner, generation)
            identity = self._derived(await self._key(), owner.user, generation)
        return identity

    async def _uploaded(self, owner: Owner, generation: int) -> int:
        """Upload the identity of a generation, or of the next one that the homeserver takes, and return which.

        Synapse never takes back an identity that was replaced: its public keys are unique for ever.
        """
        for _ in range(_GENERATIONS):
            identity = self._derived(await self._key(), owner.user, generation)
            try:
                await self._server.upload_cross_signing(owner, identity.upload())
            except IdentityFailedError:
                if not await self._has_another(owner, identity):
                    raise
            else:
                self._uploads.inc("cross_signing")
                await self._note(owner.user, generation, identity.master.public)
                return generation
            _log.warning("identity_not_taken_back", user=owner.user)
            generation += 1
            await self._note(owner.user, generation, "")
        raise IdentityFailedError("the homeserver takes none of the identities that the recovery key makes")

    async def _has_another(self, owner: Owner, identity: Identity) -> bool:
        """Whether the homeserver answers, and has another identity of the user than the one it failed over."""
        answer = await self._server.query_keys(owner, [owner.user])
        master = answer.masters.get(owner.user)
        keys = master.get("keys") if isinstance(master, Mapping) else None
        return isinstance(keys, Mapping) and identity.master.public not in keys.values()

    async def reset(self, user: UserId) -> None:
        """From now on the user has another identity; `ensure` uploads it. Others have to trust it anew."""
        generation, _ = await self._state(user)
        await self._note(user, generation + 1, "")
        _log.info("cross_signing_reset", user=user)

    async def epoch(self) -> str:
        """Changes with the recovery key: what was signed in another epoch is signed by another identity."""
        return blake2b(await self._key(), digest_size=8, person=b"mxbridge-epoch-1").hexdigest()

    async def backup_secret(self) -> bytes:
        """32 bytes, made from the recovery key: what the backup of keys is encrypted with."""
        return HKDF(SHA256(), _SIZE, None, b"mxbridge-backup-1").derive(await self._key())

    async def recovery_key(self) -> str:
        """The recovery key as people write it down. It opens every identity of the bridge: for admins' eyes."""
        return recovery_text(await self._key())

    async def restore(self, text: str) -> None:
        """Take a recovery key that was written down. Raises OlmError when it is none. The identities are then its."""
        await self._replace(recovery_from(text))

    async def differs(self, text: str) -> bool:
        """Whether a recovery key that was written down is another than the one in use. Raises OlmError."""
        return recovery_from(text) != await self._key()

    async def makes(self, user: UserId, master: str) -> bool:
        """Whether a master key is that of an identity which the recovery key makes, of the user's first ones."""
        key = await self._key()
        return any(self._derived(key, user, number).master.public == master for number in range(_GENERATIONS))

    async def rotate(self) -> None:
        """A new recovery key, and with it new identities for all our users."""
        await self._replace(os.urandom(_SIZE))

    async def _replace(self, key: bytes) -> None:
        await self._store.commit([SecretRow(RECOVERY, key)])
        self._recovery = key
        _log.info("recovery_key_replaced")

    async def _key(self) -> bytes:
        if self._recovery is None:
            async with self._lock:
                if self._recovery is None:
                    key = await self._store.secret(RECOVERY)
                    if key is None:
                        key = os.urandom(_SIZE)
                        await self._store.commit([SecretRow(RECOVERY, key)])
                    self._recovery = key
        return self._recovery

    async def _state(self, user: UserId) -> tuple[int, str]:
        """The user's generation, and the master key that was uploaded last."""
        value = await self._store.secret(f"identity/{user}")
        if value is None:
            return 0, ""
        state = orjson.loads(value)
        return state["generation"], state["master"]

    async def _note(self, user: UserId, generation: int, master: str) -> None:
        value = orjson.dumps({"generation": generation, "master": master})
        await self._store.commit([SecretRow(f"identity/{user}", value)])

    @staticmethod
    def _derived(key: bytes, user: UserId, generation: int) -> Identity:
        def seed(usage: str) -> SigningKey:
            info = b"\0".join((b"mxbridge-identity-1", usage.encode(), b"%d" % generation, user.encode()))
            return SigningKey(HKDF(SHA256(), _SIZE, None, info).derive(key))

        return Identity(user, seed("master"), seed("self_signing"), seed("user_signing"))


def recovery_text(key: bytes) -> str:
    """A key of 32 bytes in base 58 with its parity, in groups of four."""
    data = _PREFIX + key
    data += bytes([_parity(data)])
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def recovery_from(text: str) -> bytes:
    """Undo `recovery_text`, with or without spaces. Raises OlmError."""
    number = 0
    for digit in "".join(text.split()):
        value = _DIGITS.find(digit)
        if value < 0 or number.bit_length() > 8 * 64:
            raise OlmError(Reason.DAMAGED, "not a recovery key")
        number = number * len(_DIGITS) + value
    size = len(_PREFIX) + _SIZE + 1
    if number.bit_length() > 8 * size:
        raise OlmError(Reason.DAMAGED, "not a recovery key")
    data = number.to_bytes(size, "big")
    if not data.startswith(_PREFIX) or _parity(data) != 0:
        raise OlmError(Reason.DAMAGED, "not a recovery key, or one with a slip in it")
    return data[len(_PREFIX) : -1]


def _parity(data: bytes) -> int:
    parity = 0
    for byte in data:
        parity ^= byte
    return parity
