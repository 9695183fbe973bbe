"""Seals what rests in the database: AES-256-GCM, a key derived from the configured secret, one nonce per value.

A sealed value is nonce (12 bytes: 7 random per run, 5 counted), ciphertext, tag (16). It opens only for the row it
was sealed for, since the row's kind and id are authenticated with it (NIST SP 800-38D).
"""

import itertools
import os
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge_core.store.errors import UnreadableError

_RUN = 7
_COUNT = 5
_NONCE = _RUN + _COUNT


class Seal:
    """Seals and opens. Safe to use from several threads; blocks for microseconds."""

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ValueError("the secret is empty")
        key = blake2b(secret.encode(), digest_size=32, person=b"mxbridge-seal-1").digest()
        self.fingerprint = blake2b(key, digest_size=8, person=b"mxbridge-print-1").hexdigest()
        """Tells whether a database was sealed with this secret, without telling the secret."""
        self.pickle_key = blake2b(key, digest_size=32, person=b"mxbridge-olm-1").digest()
        """What pickles of encryption are encrypted with before they are sealed."""
        cipher = AESGCM(key)
        self._encrypt = cipher.encrypt
        self._decrypt = cipher.decrypt
        self._run = os.urandom(_RUN)
        self._counter = itertools.count()

    def row(self, kind: bytes, row: int, version: int, value: bytes) -> bytes:
        """Seal a value of one row; `version` is the payload's, stored beside it."""
        nonce = self._run + next(self._counter).to_bytes(_COUNT, "big")
        return nonce + self._encrypt(nonce, value, b"%b%d.%d" % (kind, row, version))

    def open_row(self, kind: bytes, row: int, version: int, sealed: bytes) -> bytes:
        """Undo `row`. Raises UnreadableError."""
        return self._open(sealed, b"%b%d.%d" % (kind, row, version))

    def named(self, name: str, value: bytes) -> bytes:
        """Seal a value that has a name instead of a number."""
        nonce = self._run + next(self._counter).to_bytes(_COUNT, "big")
        return nonce + self._encrypt(nonce, value, b"name" + name.encode(errors="surrogatepass"))

    def open_named(self, name: str, sealed: bytes) -> bytes:
        """Undo `named`. Raises UnreadableError."""
        return self._open(sealed, b"name" + name.encode(errors="surrogatepass"))

    def _open(self, sealed: bytes, context: bytes) -> bytes:
        if len(sealed) < _NONCE:
            raise UnreadableError("a sealed value is too short")
        try:
            return self._decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except InvalidTag as error:
            raise UnreadableError("a sealed value does not open") from error
