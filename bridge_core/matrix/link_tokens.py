"""Signed tokens of media links: what file, until when, and nothing that can be changed.

Token: base64url(mac | payload), payload = version byte, expiry (4 bytes, seconds since 1970, 0: never), mime, NUL,
`server/media`, and for an encrypted file NUL and the digest of its keys. The mac is HMAC-SHA256 over payload, NUL and
file name, cut to 128 bits; IRC lines are short.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

from bridge_core.api.errors import RejectedError

__all__ = ["BadTokenError", "LinkTokens", "LinkedFile"]

_VERSION = 1
_HEAD = struct.Struct(">BI")
_MAC = 16
_PURPOSE = b"matrix-bridge media link 1"
_LONGEST = 2048


class BadTokenError(Exception):
    """Not a token of ours, or not for this file name."""


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """What a token stands for. `expires` is in seconds since 1970, None for never.

    `keys` is the digest of the keys with which the file is to be decrypted; empty: it is handed out as it is.
    """

    mxc: str
    mime: str
    expires: int | None
    keys: str = ""


class LinkTokens:
    """Makes and reads tokens with one secret (at least 16 bytes; a key is derived from it)."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of media links needs at least 16 bytes")
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def make(self, file: LinkedFile, name: str) -> str:
        """Returns a token for the file under this name. Raises RejectedError when the file cannot be named in one."""
        payload = _HEAD.pack(_VERSION, file.expires or 0)
        payload += file.mime.encode() + b"\0" + file.mxc.removeprefix("mxc://").encode()
        if b"\0" in payload[_HEAD.size + len(file.mime.encode()) + 1 :] or len(payload) > _LONGEST // 2:
            raise RejectedError("the file's address is unusable")
        payload += b"\0" + file.keys.encode() if file.keys else b""
        return base64.urlsafe_b64encode(self._mac(payload, name) + payload).decode().rstrip("=")

    def read(self, token: str, name: str) -> LinkedFile:
        """Returns what a token stands for, expired or not. Raises BadTokenError; compares in constant time.

        The mac is computed over the expiry that is in the token, never over one made up now.
        """
        if len(token) > _LONGEST:
            raise BadTokenError
        try:
            raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            mac, payload = raw[:_MAC], raw[_MAC:]
            expected = self._mac(payload, name)
        except (ValueError, binascii.Error) as error:
            raise BadTokenError from error
        # Decoding ignores stray characters and spare bits, so the one spelling is demanded.
        canonical = base64.urlsafe_b64encode(raw).decode().rstrip("=") == token
        if not hmac.compare_digest(mac, expected) or not canonical or len(payload) < _HEAD.size:
            raise BadTokenError
        version, expires = _HEAD.unpack_from(payload)
        mime, _, media = payload[_HEAD.size :].partition(b"\0")
        if version != _VERSION:
            raise BadTokenError
        media, _, keys = media.partition(b"\0")
        return LinkedFile(f"mxc://{media.decode()}", mime.decode(), expires or None, keys.decode())

    def _mac(self, payload: bytes, name: str) -> bytes:
        return hmac.digest(self._key, payload + b"\0" + name.encode(), hashlib.sha256)[:_MAC]
