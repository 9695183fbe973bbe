"""SCRAM without channel binding: RFC 5802, RFC 7677."""

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from typing import Final

_ROUNDS_AT_LEAST: Final = 4096
_ROUNDS_AT_MOST: Final = 500_000
_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


class SaslError(Exception):
    """The server's part of the exchange is wrong: malformed, weakened, or not from who knows the password."""


class Scram:
    """One SCRAM exchange. `step` is called with each challenge in turn; `verified` says the server proved itself.

    The second step costs the processor as many rounds as the server asks for, at most half a second in all: call it in
    a thread when that matters.
    """

    def __init__(self, user: str, password: str, name: str = "SCRAM-SHA-256", *, nonce: str | None = None) -> None:
        """`nonce` is for tests."""
        self.name = name
        self.verified = False
        self._hash = _HASHES[name]
        self._password = saslprep(password).encode()
        self._nonce = nonce if nonce is not None else secrets.token_urlsafe(24)
        escaped = saslprep(user).replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={escaped},r={self._nonce}"
        self._server_signature = b""
        self._step = 0

    def step(self, challenge: bytes) -> bytes:
        """The answer to one challenge.

        Raises SaslError for a challenge that is malformed or unsafe, and for a wrong proof of the server.
        """
        self._step += 1
        match self._step:
            case 1:
                return f"n,,{self._first}".encode()
            case 2:
                return self._final(challenge)
            case 3:
                return self._verify(challenge)
            case _:
                raise SaslError("the server asks for more than SCRAM has")

    def _final(self, challenge: bytes) -> bytes:
        """Client proof from the server's salt, rounds and nonce."""
        fields = _fields(challenge)
        nonce, salt, rounds = fields.get("r", ""), fields.get("s", ""), fields.get("i", "")
        if "m" in fields or not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslError("the server's nonce does not extend ours")
        if not (rounds.isascii() and rounds.isdigit() and len(rounds) < 10):
            raise SaslError("the server's number of rounds is no number")
        if not _ROUNDS_AT_LEAST <= int(rounds) <= _ROUNDS_AT_MOST:
            raise SaslError(f"{rounds} rounds are not between {_ROUNDS_AT_LEAST} and {_ROUNDS_AT_MOST}")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, _decode(salt), int(rounds))
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        stored = hashlib.new(self._hash, client_key).digest()
        without_proof = f"c=biws,r={nonce}"
        message = b",".join((self._first.encode(), challenge, without_proof.encode()))
        signature = hmac.digest(stored, message, self._hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        self._server_signature = hmac.digest(server_key, message, self._hash)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def _verify(self, challenge: bytes) -> bytes:
        """Checks that the server knows the password too."""
        fields = _fields(challenge)
        if "e" in fields or not hmac.compare_digest(_decode(fields.get("v", "")), self._server_signature):
            raise SaslError("the server did not prove that it knows the password")
        self.verified = True
        return b""


def saslprep(text: str) -> str:
    """The SASLprep form of a name or password (RFC 4013); text that it forbids is left as it is."""
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    return unicodedata.normalize("NFKC", mapped)


def _fields(challenge: bytes) -> dict[str, str]:
    """`k=value` pairs of a challenge."""
    try:
        text = challenge.decode()
    except UnicodeDecodeError:
        raise SaslError("the server's challenge is not text") from None
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        fields[key] = value
    return fields


def _decode(value: str) -> bytes:
    """Base64, strictly."""
    try:
        return base64.b64decode(value.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SaslError("the server's challenge is not base64") from None
