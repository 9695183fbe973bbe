"""How a session is kept in a backup of keys, and how it is known that we put it there. Pure functions.

Source: client-server API, "Server-side key backups", `m.megolm_backup.v1.curve25519-aes-sha2`. Whoever knows the
public key can put anything into such a backup, the homeserver above all: what we put there has a MAC as MSC4048 has
it, by a key that is made from the backup's own, and nothing else is taken back.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.crosssigning import Identity
from bridge_core.crypto.errors import OlmError, Reason
from bridge_core.crypto.inbound import Found, inbound_row
from bridge_core.crypto.olm import BackupKey, InboundSession, encode
from bridge_core.crypto.ports import InboundRow
from bridge_core.crypto.signing import signed_bytes, with_signature
from bridge_core.engine.secrecy import MEGOLM

__all__ = ["ALGORITHM", "BackupSeal"]

ALGORITHM: Final = "m.megolm_backup.v1.curve25519-aes-sha2"

_MAC: Final = "org.matrix.msc4048.hmac-sha-256:backup_mac_key"
_MAC_KEY: Final = b"MATRIX_BACKUP_MAC_KEY"
_OURS: Final = "dev.matrix_bridge.session"
"""Key of what only we need of a session: other clients pass over it."""
_LARGEST: Final = 65_536


class BackupSeal:
    """Seals sessions for a backup of `user`, whose secret of 32 bytes is given, and opens them."""

    def __init__(self, secret: bytes, user: UserId) -> None:
        self._key = BackupKey(secret)
        self._mac_key = HKDF(SHA256(), 32, None, _MAC_KEY).derive(secret)
        self._user = user
        self.public = self._key.public

    def auth_data(self, identity: Identity) -> dict[str, Any]:
        """What says whose backup it is: the public key, signed by the user's master key."""
        data = {"public_key": self.public}
        master = identity.master
        return with_signature(data, self._user, master.public, master.sign(signed_bytes(data)))

    def sealed(self, found: Found) -> dict[str, Any]:
        """The key data of a session."""
        row, session = found.row, found.session
        plaintext: dict[str, Any] = {
            "algorithm": MEGOLM,
            "forwarding_curve25519_key_chain": [],
            "sender_claimed_keys": {"ed25519": found.ed25519},
            "sender_key": row.sender_key,
            "session_key": session.export(session.first),
            _OURS: {
                "room": row.room,
                "sender": row.sender,
                "forwarded": found.forwarded,
                "by": found.shared_by,
                "device": found.device,
                "received_at": row.received_at,
            },
        }
        data: dict[str, Any] = self._key.encrypt(orjson.dumps(plaintext))
        return {
            "first_message_index": session.first,
            "forwarded_count": int(found.forwarded),
            "is_verified": not found.forwarded,
            "session_data": {**data, "signatures": {self._user: {_MAC: self._mac(data)}}},
        }

    def opened(self, room: RoomId, session: str, value: Mapping[str, Any], now: int, pickle_key: bytes) -> InboundRow:
        """The row of a session that `sealed` has made, used `now`. Raises OlmError for anything else."""
        data = value.get("session_data")
        if not isinstance(data, Mapping):
            raise OlmError(Reason.DAMAGED, "no session")
        mac = _mac_of(data, self._user)
        if not hmac.compare_digest(mac.encode(), self._mac(data).encode()):
            raise OlmError(Reason.BAD_SIGNATURE, "somebody else has put it into the backup")
        parts = [data.get(name) for name in ("ciphertext", "mac", "ephemeral")]
        texts = [part for part in parts if isinstance(part, str) and len(part) <= _LARGEST]
        if len(texts) != len(parts):
            raise OlmError(Reason.DAMAGED, "no session")
        plaintext = self._key.decrypt(*texts)
        try:
            inside = orjson.loads(plaintext)
            ours = inside[_OURS]
            found = InboundSession.exported(inside["session_key"])
            if ours["room"] != room or found.id != session:
                raise OlmError(Reason.ROOM, "another session was put in its place")
            row = inbound_row(
                room,
                found,
                UserId(ours["sender"]),
                inside["sender_key"],
                inside["sender_claimed_keys"]["ed25519"],
                now,
                pickle_key,
                forwarded=ours["forwarded"],
                by=ours["by"],
                device=ours["device"],
            )
            return replace(row, received_at=int(ours["received_at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise OlmError(Reason.DAMAGED, "not what was put into the backup") from error

    def _mac(self, data: Mapping[str, Any]) -> str:
        return encode(hmac.new(self._mac_key, signed_bytes(data), hashlib.sha256).digest())


def _mac_of(data: Mapping[str, Any], user: UserId) -> str:
    found: Any = data.get("signatures")
    for name in (user, _MAC):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) and found.isascii() else ""
