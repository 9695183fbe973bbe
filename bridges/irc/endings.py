"""Why a connection ended or was refused, and what follows from it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_WORDS: Final = (
    # Servers say it in English only; the numerics, where they come, are believed first.
    ("throttled", re.compile(r"throttl|reconnect\w* too fast|connect\w* too fast|wait a while", re.IGNORECASE)),
    ("full", re.compile(r"too many|no more connections|server is full|session limit|connection limit", re.IGNORECASE)),
    ("banned", re.compile(r"\b[kgdz]-?lined?\b|akill|\bbanned\b|bad user info", re.IGNORECASE)),
)


class Cause(StrEnum):
    """What ended a connection, by what is to be done then."""

    LOST = "lost"
    """It broke, or the server closed it: try again."""
    BANNED = "banned"
    """The network does not want this user: do not try again."""
    CREDENTIALS = "credentials"
    """The password or login is wrong: an admin must act."""
    THROTTLED = "throttled"
    """Too many connections in too little time: wait longer."""
    FULL = "full"
    """No more connections are allowed: wait, and let others be."""
    NICK = "nick"
    """No nick that the server accepts was found."""
    CLOSED = "closed"
    """We closed it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why there is no connection any more; `reason` is in the server's words or ours."""

    cause: Cause
    reason: str


class RefusedError(Exception):
    """The connection did not come to be; `ending` says why."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


def by_words(reason: str) -> Ending:
    """The ending that an ERROR line speaks of."""
    for name, pattern in _WORDS:
        if pattern.search(reason):
            return Ending(Cause(name), reason)
    return Ending(Cause.LOST, reason)


def by_numeric(command: str, reason: str) -> Ending | None:
    """The ending that a numeric speaks of, None for one that ends nothing."""
    match command:
        case "463" | "465" | "466":  # no permission for your host; banned; will be banned
            return Ending(Cause.BANNED, reason or "banned from the server")
        case "464":
            return Ending(Cause.CREDENTIALS, reason or "the server's password is wrong")
        case _:
            return None
