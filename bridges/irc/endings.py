"""Why a connection ended or was refused, and what follows from it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """What ended a connection, by what is to be done then."""

    LOST = "lost"
    """It broke, or the server closed it: try again."""
    BANNED = "banned"
    """The network does not want this user (K-line, G-line): do not try again."""
    USERINFO = "userinfo"
    """The network does not want such a name or real name (X-line, R-line): do not try again."""
    ADDRESS = "address"
    """The network wants nobody from this address (Z-line, D-line, no permission): no connection from there."""
    KILLED = "killed"
    """Staff of the network ended this one connection: not at once again."""
    CREDENTIALS = "credentials"
    """The password or login is wrong: an admin or the user must act."""
    THROTTLED = "throttled"
    """Too many connections from this address in too little time: nothing from there for a while."""
    FULL = "full"
    """The address or its class has all the connections it may have: wait until one of them ends, and let others be."""
    SERVER_FULL = "server_full"
    """This server takes nobody more: another one may."""
    NICK = "nick"
    """No nick that the server accepts was found."""
    CLOSED = "closed"
    """We closed it."""


UNWANTED: Final = frozenset((Cause.BANNED, Cause.USERINFO, Cause.KILLED))
"""What is meant for one user, whom the relay does not speak for then."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why there is no connection any more; `reason` is in the server's words or ours, `ban` the kind of a ban."""

    cause: Cause
    reason: str
    ban: str = ""


class RefusedError(Exception):
    """The connection did not come to be; `ending` says why."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


# Servers say it in English only; the numerics, where they come, are believed first. The words are those of InspIRCd,
# ngIRCd, the families of hybrid and ratbox (solanum), UnrealIRCd, Ergo, ircu and bahamut.
_LINED: Final = re.compile(r"\b([kgzdxr])[-: ]?lined?\b|\b(akill|autokill)", re.IGNORECASE)
_CONNECT_BAN: Final = re.compile(r"attempting to connect too many times|wait a while, and you will", re.IGNORECASE)
"""InspIRCd's connectban gives a Z-line of some minutes to whoever connects too often."""
_KILLED: Final = re.compile(r"\bkilled (?:\(|by )", re.IGNORECASE)
_NO_KILL: Final = re.compile(r"\bghost\b|nick(?:name)? collision|\brecover|\brelease command|\bregain", re.IGNORECASE)
_WORDS: Final = (
    (
        Cause.THROTTLED,
        re.compile(
            r"throttl|connect\w*\)? too fast|connect\w* too (?:frequently|quickly|often)|too many recent connections"
            r"|exceeded automated connection|\bwait a while\b",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.FULL,
        re.compile(
            r"connection class|connect class|session limit|no more connections"
            r"|too many (?:[\w-]+ )*(?:connections|clients|clones|sessions)\b|too many (?:host|user|unique ip|unknown)",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.SERVER_FULL,
        re.compile(r"server is full|server full|all connections in use|connection limit", re.IGNORECASE),
    ),
    (Cause.USERINFO, re.compile(r"bad user ?info", re.IGNORECASE)),
    (Cause.BANNED, re.compile(r"\bbanned\b|not welcome", re.IGNORECASE)),
    (
        Cause.ADDRESS,
        re.compile(r"not authori[sz]ed|unauthori[sz]ed connection|access denied by config", re.IGNORECASE),
    ),
)
_LINES: Final = {
    "K": Cause.BANNED,
    "G": Cause.BANNED,
    "Z": Cause.ADDRESS,
    "D": Cause.ADDRESS,
    "X": Cause.USERINFO,
    "R": Cause.USERINFO,
}


def by_words(reason: str) -> Ending:
    """The ending that an ERROR line speaks of.

    What names a kind of ban is one, whatever else its reason says: that text is for staff to choose.
    """
    lined = _LINED.search(reason)
    letter = "" if lined is None else lined[1].upper() if lined[1] else "G"
    if letter in ("", "Z") and _CONNECT_BAN.search(reason):
        return Ending(Cause.THROTTLED, reason)
    if letter:
        return Ending(_LINES[letter], reason, f"{letter}-line")
    if _KILLED.search(reason):
        if _NO_KILL.search(reason):
            return Ending(Cause.LOST, reason)
        banned = _WORDS[4][1].search(reason)
        return Ending(Cause.BANNED if banned is not None else Cause.KILLED, reason)
    for cause, pattern in _WORDS:
        if pattern.search(reason):
            return Ending(cause, reason)
    return Ending(Cause.LOST, reason)


def by_numeric(command: str, reason: str) -> Ending | None:
    """The ending that a numeric speaks of, None for one that ends nothing. Source: RFC 2812 section 5.2."""
    match command:
        case "465" | "466":  # banned; will be banned
            said = by_words(reason)
            if said.ban or said.cause is Cause.THROTTLED:
                return said
            return Ending(Cause.BANNED, reason or "banned from the server")
        case "463":
            return Ending(Cause.ADDRESS, reason or "the server does not let this address in")
        case "464":
            return Ending(Cause.CREDENTIALS, reason or "the server's password is wrong")
        case _:
            return None


def by_standard_reply(code: str, reason: str) -> Ending | None:
    """The ending that a FAIL during registration speaks of (IRCv3 standard-replies); None for one that ends nothing."""
    match code:
        case "ACCOUNT_REQUIRED" | "ACCOUNT_REQUIRED_TO_CONNECT":
            return Ending(Cause.CREDENTIALS, reason or "the network wants an account")
        case "BANNED":
            return Ending(Cause.BANNED, reason or "banned from the server")
        case _:
            return None


def joined(first: Ending | None, last: Ending) -> Ending:
    """What a numeric and the ERROR that follows it say together: the numeric's cause, told apart further by the words.

    Staff choose the words of a ban's reason, so that of all other causes only a throttle is believed behind a 465.
    """
    if first is None or first.cause is Cause.LOST:
        return last
    if first.cause is not Cause.BANNED:
        return first
    if last.ban or last.cause in (Cause.USERINFO, Cause.BANNED):
        # InspIRCd says why in the ERROR only, solanum in the numeric only.
        reason = first.reason if last.reason in first.reason else f"{first.reason} {last.reason}"
        return Ending(last.cause, reason, first.ban or last.ban)
    if last.cause is Cause.THROTTLED and _CONNECT_BAN.search(last.reason):
        return last
    return first
