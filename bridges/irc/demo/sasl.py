"""SASL on the server's side: PLAIN, EXTERNAL and SCRAM (IRCv3 sasl-3.2, RFC 4616, RFC 4422, RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Protocol

from bridges.irc.demo import services
from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import Line, upper
from bridges.irc.demo.world import World

#: Characters of one AUTHENTICATE line; a shorter one ends the answer.
_PIECE = 400
#: Bytes of a whole answer.
_ANSWER_LIMIT = 8192
_ITERATIONS = 4096


class _FailedError(Exception):
    """The client is not who it says, or its answer is malformed."""


class Exchange(Protocol):
    """One run of a mechanism; ``received`` are the pieces of the answer so far."""

    received: str

    def step(self, world: World, client: Client, answer: bytes) -> bytes | str:
        """Take an answer; gives the next challenge (bytes) or the account (text). Raises _FailedError."""
        ...


class Plain:
    """PLAIN: name and password in one answer."""

    def __init__(self) -> None:
        self.received = ""

    def step(self, world: World, client: Client, answer: bytes) -> bytes | str:
        """Check the password."""
        authzid, authcid, password = _words(answer, 3, b"\0")
        if authzid not in ("", authcid) or world.options.accounts.get(authcid) != password:
            raise _FailedError
        return authcid


class External:
    """EXTERNAL: the account that belongs to the certificate's fingerprint."""

    def __init__(self) -> None:
        self.received = ""

    def step(self, world: World, client: Client, answer: bytes) -> bytes | str:
        """Look the fingerprint up; an account the client names must be that one."""
        account = world.options.certificates.get(client.certfp, "") if client.certfp else ""
        if not account or answer.decode("utf-8", "replace") not in ("", account):
            raise _FailedError
        return account


class Scram:
    """SCRAM without channel binding: neither side shows the password, and both prove that they know it."""

    def __init__(self, digest: str) -> None:
        self.received = ""
        self._digest = digest
        self._account = ""
        self._bare = ""
        self._challenge = ""
        self._key = b""
        self._proven = False

    def step(self, world: World, client: Client, answer: bytes) -> bytes | str:
        """Go on: first message, proof, and the client's consent to our signature."""
        if self._proven:
            return self._account
        if not self._challenge:
            return self._first(world, answer)
        return self._final(world, answer)

    def _first(self, world: World, answer: bytes) -> bytes:
        header, _, name, nonce = _words(answer, 4, b",")
        if header not in ("n", "y") or not name.startswith("n=") or not nonce.startswith("r="):
            raise _FailedError
        self._account = name[2:].replace("=2C", ",").replace("=3D", "=")
        password = world.options.accounts.get(self._account)
        if password is None:
            raise _FailedError
        salt = secrets.token_bytes(16)
        self._bare = f"{name},{nonce}"
        encoded = base64.b64encode(salt).decode()
        self._challenge = f"{nonce}{secrets.token_hex(12)},s={encoded},i={_ITERATIONS}"
        self._key = hashlib.pbkdf2_hmac(self._digest, password.encode(), salt, _ITERATIONS)
        return self._challenge.encode()

    def _final(self, world: World, answer: bytes) -> bytes:
        binding, nonce, proof = _words(answer, 3, b",")
        if base64.b64decode(binding[2:])[:1] not in (b"n", b"y") or nonce != self._challenge.split(",")[0]:
            raise _FailedError
        signed = f"{self._bare},{self._challenge},{binding},{nonce}".encode()
        client_key = self._hmac(self._key, b"Client Key")
        stored = hashlib.new(self._digest, client_key).digest()
        expected = bytes(a ^ b for a, b in zip(client_key, self._hmac(stored, signed), strict=True))
        if not proof.startswith("p=") or not hmac.compare_digest(base64.b64decode(proof[2:]), expected):
            raise _FailedError
        self._proven = True
        signature = self._hmac(self._hmac(self._key, b"Server Key"), signed)
        if world.faults.wrong_signature:
            signature = bytes(len(signature))
        return b"v=" + base64.b64encode(signature)

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._digest)


def _words(answer: bytes, count: int, separator: bytes) -> list[str]:
    words = answer.decode().split(separator.decode())
    if len(words) != count:
        raise _FailedError
    return words


def _begin(name: str) -> Exchange | None:
    if name == "PLAIN":
        return Plain()
    if name == "EXTERNAL":
        return External()
    if name.startswith("SCRAM-SHA-"):
        return Scram("sha" + name.removeprefix("SCRAM-SHA-"))
    return None


def authenticate(world: World, client: Client, line: Line) -> None:
    """Run one line of SASL; before and after registration."""
    if "sasl" not in client.caps:
        world.numeric(client, 904, "SASL authentication failed")
    elif client.account:
        world.numeric(client, 907, "You have already authenticated using SASL")
    elif client.sasl is None:
        _choose(world, client, upper(line.params[0]) if line.params else "")
    else:
        _answered(world, client, client.sasl, line.params[0] if line.params else "")


def _choose(world: World, client: Client, name: str) -> None:
    offered = world.options.sasl_mechanisms
    client.sasl = _begin(name) if name in offered else None
    if client.sasl is None:
        world.numeric(client, 908, "are available SASL mechanisms", ",".join(offered))
        world.numeric(client, 904, "SASL authentication failed")
        return
    client.link.write(b"AUTHENTICATE +\r\n")


def _answered(world: World, client: Client, exchange: Exchange, word: str) -> None:
    if word == "*":
        client.sasl = None
        world.numeric(client, 906, "SASL authentication aborted")
        return
    if len(word) > _PIECE or len(exchange.received) > _ANSWER_LIMIT:
        client.sasl = None
        world.numeric(client, 905, "SASL message too long")
        return
    exchange.received += "" if word == "+" else word
    if len(word) == _PIECE:
        return
    answer, exchange.received = exchange.received, ""
    try:
        if world.faults.sasl_answer:
            raise _FailedError
        step = exchange.step(world, client, base64.b64decode(answer, validate=True))
    except (_FailedError, binascii.Error, ValueError):
        client.sasl = None
        world.numeric(client, world.faults.sasl_answer or 904, "SASL authentication failed")
        return
    if isinstance(step, str):
        client.sasl = None
        services.log_in(world, client, step)
        world.numeric(client, 903, "SASL authentication successful")
        return
    text = base64.b64encode(step).decode()
    for start in range(0, len(text) + 1, _PIECE):
        client.link.write(f"AUTHENTICATE {text[start : start + _PIECE] or '+'}\r\n".encode())
