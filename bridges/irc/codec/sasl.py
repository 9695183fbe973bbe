"""Logging in, without input or output: IRCv3 sasl-3.1 and 3.2 with PLAIN, EXTERNAL and SCRAM."""

import base64
import binascii
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

from bridges.irc.codec.message import Line
from bridges.irc.codec.scram import SaslError
from bridges.irc.codec.serializer import serialize

CHUNK: Final = 400
"""Characters of base64 in one AUTHENTICATE line; a full one means that another follows."""
_CHALLENGE_AT_MOST: Final = 16384


class Mechanism(Protocol):
    """One way of proving who one is. `verified` is False while the server still owes a proof of its own."""

    name: str
    verified: bool

    def step(self, challenge: bytes) -> bytes:
        """The answer to a challenge; raises SaslError when the challenge is wrong."""
        ...


class Plain:
    """Name and password in the clear (RFC 4616): over TLS only."""

    name = "PLAIN"
    verified = True

    def __init__(self, user: str, password: str, authzid: str = "") -> None:
        """Raises ValueError for NUL in a name or password."""
        if "\0" in user + password + authzid:
            raise ValueError("NUL in a name or password")
        self._answer = "\0".join((authzid, user, password)).encode()

    def step(self, challenge: bytes) -> bytes:
        """The credentials, whatever the challenge."""
        return self._answer


class External:
    """The certificate of the TLS connection (RFC 4422 appendix A)."""

    name = "EXTERNAL"
    verified = True

    def __init__(self, authzid: str = "") -> None:
        self._answer = authzid.encode()

    def step(self, challenge: bytes) -> bytes:
        """The name to act as, usually empty: the server takes it from the certificate."""
        return self._answer


class SaslState(StrEnum):
    """How far a login is."""

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"


class SaslSession:
    """One login over one connection: tries the mechanisms in the given order, those the server does not list left out.

    Send `start()`, give AUTHENTICATE lines and numerics 900 to 908 to `receive`, send what it returns, until `state` is
    DONE or FAILED; then `reason` says why, in words for an admin.
    """

    def __init__(self, mechanisms: Sequence[Mechanism], offered: str = "") -> None:
        """`offered` is the value of the capability `sasl`: names with commas, or empty when the server does not say."""
        self._left = list(mechanisms)
        self._current: Mechanism | None = None
        self._challenge = ""
        self._restrict(offered)
        self.state = SaslState.ACTIVE
        self.account = ""
        self.reason = ""

    def start(self) -> list[bytes]:
        """The line that names the first mechanism; none when no mechanism fits, and then the login has failed."""
        return self._next("the server offers no mechanism that is configured")

    def abort(self, reason: str) -> list[bytes]:
        """Gives up: the line that says so."""
        self._fail(reason)
        return [serialize("AUTHENTICATE", "*")]

    def receive(self, line: Line) -> list[bytes]:
        """Takes a line of the server and returns lines to send. Never raises."""
        if self.state is not SaslState.ACTIVE:
            return []
        match line.command:
            case "AUTHENTICATE":
                return self._authenticate(line.param(0))
            case "900":
                self.account = line.param(2)
            case "903" | "907":
                if self._current is not None and not self._current.verified:
                    self._fail("the server did not prove that it knows the password")
                else:
                    self.state = SaslState.DONE
            case "904":
                return self._next(line.param(-1) or "the server refused the login")
            case "902" | "905" | "906":
                self._fail(line.param(-1) or "the server refused the login")
            case "908":
                self._restrict(line.param(1))
        return []

    def _authenticate(self, payload: str) -> list[bytes]:
        """One piece of a challenge; the answer once it is whole."""
        if payload != "+":
            self._challenge += payload
        if len(self._challenge) > _CHALLENGE_AT_MOST:
            return self.abort("the server's challenge is too long")
        if len(payload) == CHUNK:
            return []
        text, self._challenge = self._challenge, ""
        if self._current is None:
            return self.abort("the server challenges before a mechanism was named")
        try:
            answer = self._current.step(base64.b64decode(text.encode(), validate=True))
        except (binascii.Error, UnicodeEncodeError):
            return self.abort("the server's challenge is not base64")
        except SaslError as error:
            return self.abort(str(error))
        return authenticate_lines(answer)

    def _restrict(self, offered: str) -> None:
        """Leaves out mechanisms that the server does not list."""
        names = {name.strip().upper() for name in offered.split(",") if name.strip()}
        if names:
            self._left = [mechanism for mechanism in self._left if mechanism.name in names]

    def _next(self, reason: str) -> list[bytes]:
        """Names the next mechanism, or fails for `reason`."""
        self._challenge = ""
        if not self._left:
            self._fail(reason)
            return []
        self._current = self._left.pop(0)
        return [serialize("AUTHENTICATE", self._current.name)]

    def _fail(self, reason: str) -> None:
        """Ends the login."""
        self.state = SaslState.FAILED
        self.reason = reason


def authenticate_lines(answer: bytes) -> list[bytes]:
    """An answer as AUTHENTICATE lines of at most 400 characters; `+` ends one that fills its last line."""
    text = base64.b64encode(answer).decode()
    chunks = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    if not chunks or len(chunks[-1]) == CHUNK:
        chunks.append("+")
    return [serialize("AUTHENTICATE", chunk) for chunk in chunks]
