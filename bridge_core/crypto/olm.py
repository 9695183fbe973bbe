"""Olm and Megolm: the one module that touches vodozemac. Everything here computes; nothing waits.

Sources: the Olm and Megolm specifications of matrix.org; client-server API, "End-to-end encryption". Binary data is in
unpadded base64. Pickles are vodozemac's own, encrypted with a key of 32 bytes. Every failure of the library is an
`OlmError` with a counted reason, of a pickle a `DamagedKeyError`; none leaves an object changed.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, ParamSpec, TypeVar

import vodozemac

from bridge_core.crypto.errors import DamagedKeyError, OlmError, Reason

__all__ = [
    "Account",
    "BackupKey",
    "GroupSession",
    "InboundSession",
    "OlmSession",
    "decode",
    "encode",
    "is_signature",
    "message_index",
]

PRE_KEY: Final = 0
NORMAL: Final = 1

_P = ParamSpec("_P")
_T = TypeVar("_T")


def encode(data: bytes) -> str:
    """Unpadded base64."""
    return base64.b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Undo `encode`, padded or not. Raises OlmError."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise OlmError(Reason.BAD_MESSAGE, "not base64") from error


def _tried(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls the library; its many errors are all of ValueError, and a wrong type is a TypeError."""
    try:
        return call(*args, **kwargs)
    except (ValueError, TypeError, OverflowError) as error:
        raise OlmError(_reason(error), f"{type(error).__name__}: {error}") from error


def _reason(error: Exception) -> Reason:
    text = str(error)
    # The library has one class for all that may be wrong with a message: its words tell what it was.
    if isinstance(error, vodozemac.SignatureException) or "signature" in text:
        return Reason.BAD_SIGNATURE
    if "unknown message index" in text:
        return Reason.UNKNOWN_INDEX
    if "key with the given key can't be created" in text or "unknown one-time key" in text:
        return Reason.REPLAY
    return Reason.BAD_MESSAGE


def _unpickled(call: Callable[[str, bytes], _T], pickle: bytes, key: bytes) -> _T:
    try:
        return call(pickle.decode(), key)
    except (ValueError, TypeError) as error:
        raise DamagedKeyError(f"a stored key does not open: {type(error).__name__}") from error


class OlmSession:
    """A ratchet between two devices. Each `encrypt` and `decrypt` moves it: store it before what it made goes out."""

    __slots__ = ("_inner", "id")

    def __init__(self, inner: vodozemac.Session) -> None:
        self._inner = inner
        self.id = inner.session_id

    @classmethod
    def unpickled(cls, pickle: bytes, key: bytes) -> "OlmSession":
        """Undo `pickle`. Raises DamagedKeyError."""
        return cls(_unpickled(vodozemac.Session.from_pickle, pickle, key))

    def pickle(self, key: bytes) -> bytes:
        """All of it, encrypted."""
        return self._inner.pickle(key).encode()

    def encrypt(self, plaintext: bytes) -> tuple[int, str]:
        """Message type (0: pre-key) and body."""
        kind, ciphertext = _tried(self._inner.encrypt, plaintext).to_parts()
        return kind, encode(ciphertext)

    def decrypt(self, kind: int, body: str) -> bytes:
        """Raises OlmError; then nothing has moved."""
        return _tried(self._inner.decrypt, _message(kind, body))

    def matches(self, kind: int, body: str) -> bool:
        """Whether a pre-key message was made by the other end of this session."""
        pre_key = _message(kind, body).to_pre_key()
        return pre_key is not None and pre_key.session_id() == self.id


class Account:
    """A device's long-term keys and its one-time keys."""

    __slots__ = ("_inner", "curve25519", "ed25519")

    def __init__(self, inner: vodozemac.Account | None = None) -> None:
        self._inner = inner if inner is not None else vodozemac.Account()
        self.curve25519 = self._inner.curve25519_key.to_base64()
        self.ed25519 = self._inner.ed25519_key.to_base64()

    @classmethod
    def unpickled(cls, pickle: bytes, key: bytes) -> "Account":
        """Undo `pickle`. Raises DamagedKeyError."""
        return cls(_unpickled(vodozemac.Account.from_pickle, pickle, key))

    def pickle(self, key: bytes) -> bytes:
        """All of it, encrypted."""
        return self._inner.pickle(key).encode()

    def sign(self, message: bytes) -> str:
        """Signature with the device's Ed25519 key."""
        return self._inner.sign(message).to_base64()

    @property
    def most_one_time_keys(self) -> int:
        """How many one-time keys it keeps: with more, the oldest are forgotten."""
        return self._inner.max_number_of_one_time_keys

    def add_one_time_keys(self, count: int) -> None:
        """Make more of them."""
        self._inner.generate_one_time_keys(count)

    def add_fallback_key(self) -> None:
        """Make a new fallback key; the one before the last is forgotten."""
        self._inner.generate_fallback_key()  # type: ignore[attr-defined]  # missing in the library's stub

    def one_time_keys(self) -> dict[str, str]:
        """Key id to key: those not marked as published."""
        return {key_id: key.to_base64() for key_id, key in self._inner.one_time_keys.items()}

    def fallback_key(self) -> dict[str, str]:
        """Key id to key: the newest fallback key while it is not marked as published."""
        keys: Mapping[str, vodozemac.Curve25519PublicKey] = self._inner.fallback_key  # type: ignore[attr-defined]
        return {key_id: key.to_base64() for key_id, key in keys.items()}

    def published(self) -> None:
        """The homeserver has the keys that there are."""
        self._inner.mark_keys_as_published()

    def outbound(self, identity_key: str, one_time_key: str) -> OlmSession:
        """A session with a device of which a one-time key was claimed. Raises OlmError."""
        theirs = _tried(vodozemac.Curve25519PublicKey.from_base64, identity_key)
        once = _tried(vodozemac.Curve25519PublicKey.from_base64, one_time_key)
        return OlmSession(_tried(self._inner.create_outbound_session, theirs, once))

    def inbound(self, identity_key: str, body: str) -> tuple[OlmSession, bytes]:
        """The session that a pre-key message starts, and what the message says. Its one-time key is used up."""
        theirs = _tried(vodozemac.Curve25519PublicKey.from_base64, identity_key)
        pre_key = _message(PRE_KEY, body).to_pre_key()
        if pre_key is None:
            raise OlmError(Reason.BAD_MESSAGE, "not a pre-key message")
        session, plaintext = _tried(self._inner.create_inbound_session, theirs, pre_key)
        return OlmSession(session), plaintext


class GroupSession:
    """A Megolm session to speak in. Each `encrypt` uses up an index, which must never be used again."""

    __slots__ = ("_inner", "id")

    def __init__(self, inner: vodozemac.GroupSession | None = None) -> None:
        self._inner = inner if inner is not None else vodozemac.GroupSession()
        self.id = self._inner.session_id

    @classmethod
    def unpickled(cls, pickle: bytes, key: bytes) -> "GroupSession":
        """Undo `pickle`. Raises DamagedKeyError."""
        return cls(_unpickled(vodozemac.GroupSession.from_pickle, pickle, key))

    def pickle(self, key: bytes) -> bytes:
        """All of it, encrypted."""
        return self._inner.pickle(key).encode()

    @property
    def index(self) -> int:
        """The index that the next message gets."""
        return self._inner.message_index

    @property
    def key(self) -> str:
        """What lets others read from the next message on."""
        return self._inner.session_key.to_base64()

    def encrypt(self, plaintext: bytes) -> str:
        """The message's ciphertext."""
        return _tried(self._inner.encrypt, plaintext).to_base64()

    def skip_to(self, index: int) -> None:
        """Go on to `index` without using the messages between."""
        while self._inner.message_index < index:
            # The library has no other way to move on.
            self._inner.encrypt(b"")


class InboundSession:
    """A Megolm session to read in."""

    __slots__ = ("_inner", "first", "id")

    def __init__(self, inner: vodozemac.InboundGroupSession) -> None:
        self._inner = inner
        self.id = inner.session_id
        self.first = inner.first_known_index

    @classmethod
    def of_key(cls, key: str) -> "InboundSession":
        """From the key of an m.room_key, which is signed by the session. Raises OlmError."""
        return cls(_tried(vodozemac.InboundGroupSession, _tried(vodozemac.SessionKey, key)))

    @classmethod
    def exported(cls, key: str) -> "InboundSession":
        """From an exported key (m.forwarded_room_key, backup), which anybody can have made up. Raises OlmError."""
        return cls(_tried(vodozemac.InboundGroupSession.import_session, _tried(vodozemac.ExportedSessionKey, key)))

    @classmethod
    def unpickled(cls, pickle: bytes, key: bytes) -> "InboundSession":
        """Undo `pickle`. Raises DamagedKeyError."""
        return cls(_unpickled(vodozemac.InboundGroupSession.from_pickle, pickle, key))

    def pickle(self, key: bytes) -> bytes:
        """All of it, encrypted."""
        return self._inner.pickle(key).encode()

    def decrypt(self, body: str) -> tuple[bytes, int]:
        """What a message says, and its index. Raises OlmError."""
        found = _tried(self._inner.decrypt, _tried(vodozemac.MegolmMessage.from_base64, body))
        return found.plaintext, found.message_index

    def export(self, index: int) -> str | None:
        """The key from `index` on, None when it is known only from later on."""
        key = _tried(self._inner.export_at, index)
        return key.to_base64() if key is not None else None


def message_index(body: str) -> int:
    """The index that a Megolm message says it has. Raises OlmError."""
    return _tried(vodozemac.MegolmMessage.from_base64, body).message_index()


class BackupKey:
    """A Curve25519 key of 32 bytes that what is in a backup is encrypted for (m.megolm_backup.v1.curve25519-aes-sha2).

    The algorithm's own MAC covers nothing, by an error that the specification has kept: whoever knows the public key
    can make a message, and change one.
    """

    __slots__ = ("_for", "_from", "public")

    def __init__(self, secret: bytes) -> None:
        self._from = vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(secret))
        self._for = vodozemac.PkEncryption.from_key(self._from.public_key)
        self.public = self._from.public_key.to_base64()

    def encrypt(self, plaintext: bytes) -> dict[str, str]:
        """The keys `ciphertext`, `mac`, `ephemeral` of a `session_data`. About 0.2 ms."""
        made = self._for.encrypt(plaintext)
        return {
            "ciphertext": encode(bytes(made.ciphertext)),
            "mac": encode(bytes(made.mac)),
            "ephemeral": encode(bytes(made.ephemeral_key)),
        }

    def decrypt(self, ciphertext: str, mac: str, ephemeral: str) -> bytes:
        """Undo `encrypt`. Raises OlmError."""
        made = _tried(vodozemac.Message, decode(ciphertext), decode(mac), decode(ephemeral))
        return bytes(_tried(self._from.decrypt, made))


def is_signature(public: str, message: bytes, signature: str) -> bool:
    """Whether a signature is of the Ed25519 key. Anything may be given; never raises.

    Half of what the same costs with `cryptography`: most of a large room's first key share are signatures.
    """
    try:
        _tried(vodozemac.Ed25519PublicKey.from_base64, public).verify_signature(
            message, _tried(vodozemac.Ed25519Signature.from_base64, signature)
        )
    except (OlmError, ValueError):
        return False
    return True


def _message(kind: int, body: str) -> vodozemac.AnyOlmMessage:
    return _tried(vodozemac.AnyOlmMessage.from_parts, kind, decode(body))
