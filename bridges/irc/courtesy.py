"""Answers that nobody waits for: CTCP requests, and a word to those who write to the relay. Few at a time."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from bridges.irc.codec.ctcp import ctcp, parse_ctcp

_BURST: Final = 5.0
_PER_SECOND: Final = 0.5
_TOLD_AT_MOST: Final = 1000
_PING_AT_MOST: Final = 64
_KNOWN: Final = "ACTION CLIENTINFO PING SOURCE TIME VERSION"
_VERSION: Final = "matrix-bridge-core"


class Courtesy:
    """The answers of one connection; `now` is a monotonic clock in seconds."""

    __slots__ = ("_at", "_contact", "_now", "_tokens", "_told")

    def __init__(self, now: Callable[[], float], contact: str | None = None) -> None:
        self._contact = contact
        self._now = now
        self._at = now()
        self._tokens = _BURST
        self._told: OrderedDict[str, None] = OrderedDict()

    def ctcp(self, text: str) -> str | None:
        """The text of the NOTICE that answers a CTCP request; None for no answer."""
        request = parse_ctcp(text)
        if request is None:
            return None
        command, argument = request
        match command:
            case "VERSION":
                answer = f"{_VERSION}, a bridge to Matrix" + (f" run by {self._contact}" if self._contact else "")
            case "SOURCE":
                answer = _VERSION
            case "PING":
                answer = "".join(character for character in argument if character.isprintable())[:_PING_AT_MOST]
            case "TIME":
                answer = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            case "CLIENTINFO":
                answer = _KNOWN
            case _:
                return None
        return ctcp(command, answer) if self._allowed() else None

    def first_time(self, folded: str) -> bool:
        """Whether somebody is to be told something now: once each, as far as the last thousand are remembered."""
        if folded in self._told or not self._allowed():
            return False
        self._told[folded] = None
        if len(self._told) > _TOLD_AT_MOST:
            self._told.popitem(last=False)
        return True

    def _allowed(self) -> bool:
        now = self._now()
        self._tokens = min(_BURST, self._tokens + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
