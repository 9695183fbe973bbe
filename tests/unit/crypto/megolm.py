"""Megolm once more, written from the specification over `cryptography` alone: what the library is compared with.

Source: matrix.org, "Megolm group ratchet" (sections "The Megolm ratchet algorithm", "Message encryption").
"""

import base64
import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7


def unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


class Ratchet:
    """R(i,0..3), from the bytes of a session-sharing message."""

    def __init__(self, key: str) -> None:
        data = unbase64(key)
        assert data[0] == 2 and len(data) == 1 + 4 + 128 + 32 + 64
        self.index = int.from_bytes(data[1:5], "big")
        self.parts = [data[5 + 32 * part : 37 + 32 * part] for part in range(4)]
        self.public = Ed25519PublicKey.from_public_bytes(data[133:165])
        self.public.verify(data[165:], data[:165])

    def advance(self) -> None:
        self.index += 1
        # Part h was renewed when the lower 8 * (3 - h) bits came to be 0.
        first = next(part for part in range(4) if self.index % (1 << (8 * (3 - part))) == 0)
        source = self.parts[first]
        for part in range(first, 4):
            self.parts[part] = hmac.digest(source, bytes([part]), "sha256")

    def read(self, message: str) -> bytes:
        data = unbase64(message)
        body, mac, signature = data[:-72], data[-72:-64], data[-64:]
        self.public.verify(signature, data[:-64])
        assert body[0] == 3 and body[1] == 0x08
        index, rest = _varint(body[2:])
        assert rest[0] == 0x12
        length, ciphertext = _varint(rest[1:])
        assert length == len(ciphertext)
        while self.index < index:
            self.advance()
        keys = HKDF(SHA256(), 80, b"\0" * 32, b"MEGOLM_KEYS").derive(b"".join(self.parts))
        assert hmac.new(keys[32:64], body, sha256).digest()[:8] == mac
        decryptor = Cipher(AES256(keys[:32]), CBC(keys[64:])).decryptor()
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


def _varint(data: bytes) -> tuple[int, bytes]:
    value = shift = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, data[at + 1 :]
    raise AssertionError("no varint")
