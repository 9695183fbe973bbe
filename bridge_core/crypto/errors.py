"""What goes wrong with encryption, beside the errors of `bridge_core.api.errors`."""

from enum import StrEnum

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.engine.decrypting import MissingKeyError

__all__ = ["CryptoRejectedError", "DamagedKeyError", "IdentityFailedError", "MissingKeyError", "OlmError", "Reason"]


class Reason(StrEnum):
    """Why something encrypted was refused; each is counted."""

    ALGORITHM = "algorithm"
    BAD_MESSAGE = "bad_message"
    """Not of the form, changed on its way, or for other keys: it does not decrypt."""
    BAD_SIGNATURE = "bad_signature"
    DAMAGED = "damaged"
    """Decrypted, and not what must be inside."""
    KEYS = "keys"
    """The keys inside are not those of the sender or not ours."""
    KIND = "kind"
    """Of a type that homeservers must have judged, or state: such events are not encrypted."""
    NOT_ENCRYPTED = "not_encrypted"
    REPLAY = "replay"
    ROOM = "room"
    SENDER = "sender"
    """Somebody else than the session is of has sent it."""
    TRUST = "trust"
    UNKNOWN_INDEX = "unknown_index"
    UNKNOWN_SESSION = "unknown_session"
    WEDGED = "wedged"


class CryptoRejectedError(RejectedError):
    """Will never decrypt, or must not be believed: `reason` says why. Holds no content."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OlmError(BridgeError):
    """A primitive of `olm` failed: `reason` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DamagedKeyError(BridgeError):
    """What the store holds of a key cannot be read: the secret or the database is not the one it was."""


class IdentityFailedError(TransientError):
    """The homeserver failed over cross-signing keys: they may be some that it had before, or it is in trouble."""
