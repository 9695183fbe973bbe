"""Encrypted attachments: AES-256 in counter mode, and a SHA-256 of what is on the homeserver. Streamed both ways.

Source: client-server API, "Sending encrypted attachments". `keys` is the JSON that `Attachment.keys` holds.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bridge_core.api.errors import RejectedError

_KEY = 32
_IV = 16


class DamagedFileError(RejectedError):
    """The bytes are not those that were encrypted, or the keys are unusable."""


async def decrypted(chunks: AsyncIterator[bytes], keys: str) -> AsyncIterator[bytes]:
    """The file in the clear. The last chunk is handed out only when the hash of everything was right.

    Raises DamagedFileError instead, so that nobody ever has the whole of a file that was changed on its way.
    """
    cipher, wanted = _opened(keys)
    digest = hashlib.sha256()
    held = b""
    async for chunk in chunks:
        if held:
            yield cipher.update(held)
        digest.update(chunk)
        held = chunk
    if not hmac.compare_digest(digest.digest(), wanted):
        raise DamagedFileError("the encrypted file was changed on its way")
    if held:
        yield cipher.update(held)


class EncryptingStream:
    """The encrypted bytes of a file, as many as the file has, and afterwards the keys to them.

    Iterate once. The key is new for each file: the counter starts at a random block with its lower half 0. Where `size`
    is given the keys are known with the last of so many bytes: who takes no more asks for no end.
    """

    def __init__(self, chunks: AsyncIterator[bytes], size: int | None = None) -> None:
        self._chunks = chunks
        self._size = size
        self._key = os.urandom(_KEY)
        self._iv = os.urandom(_IV // 2) + bytes(_IV // 2)
        self._digest = hashlib.sha256().digest() if size == 0 else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        cipher = Cipher(AES256(self._key), CTR(self._iv)).encryptor()
        digest, total = hashlib.sha256(), 0
        async for chunk in self._chunks:
            sealed = cipher.update(chunk)
            digest.update(sealed)
            total += len(sealed)
            if total == self._size:
                self._digest = digest.digest()
            yield sealed
        self._digest = digest.digest()

    def keys(self) -> dict[str, Any]:
        """`key`, `iv`, `hashes` and `v` of an event's `file`; `url` is added by whoever uploads. Only at the end."""
        if self._digest is None:
            raise RuntimeError("the keys are known when all of the file has been read")
        secret = base64.urlsafe_b64encode(self._key).decode().rstrip("=")
        return {
            "v": "v2",
            "key": {"kty": "oct", "alg": "A256CTR", "ext": True, "key_ops": ["encrypt", "decrypt"], "k": secret},
            "iv": base64.b64encode(self._iv).decode().rstrip("="),
            "hashes": {"sha256": base64.b64encode(self._digest).decode().rstrip("=")},
        }


def _opened(keys: str) -> tuple[Any, bytes]:
    try:
        found = json.loads(keys)
        key = _bytes(found["key"]["k"], _KEY)
        iv = _bytes(found["iv"], _IV)
        wanted = _bytes(found["hashes"]["sha256"], hashlib.sha256().digest_size)
        if found["v"] != "v2":
            raise ValueError("another version")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise DamagedFileError("the keys of the encrypted file are unusable") from error
    return Cipher(AES256(key), CTR(iv)).decryptor(), wanted


def _bytes(text: str, length: int) -> bytes:
    """Base64 of either alphabet, padded or not: clients differ."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    found = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    if len(found) != length:
        raise ValueError("a wrong length")
    return found
