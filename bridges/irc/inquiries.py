"""Questions to the server about one person, and what it answered: WHOIS (RFC 2812 section 3.6.2)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge_core.api.errors import NotConnectedError, TransientError
from bridges.irc.codec.message import Line

_PATIENCE: Final = 10.0
_LINES_AT_MOST: Final = 64
_FACTS: Final = ("276", "301", "307", "311", "312", "313", "317", "319", "320", "330", "335", "338", "378", "379")
ANSWERS: Final = frozenset((*_FACTS, "263", "318", "401", "402", "431", "671", "760"))
"""Numerics that an answer may consist of."""


@dataclass(frozen=True, slots=True)
class Whois:
    """What a server tells of a person. Empty where it tells nothing; `account` is None where it tells none."""

    nick: str
    user: str = ""
    host: str = ""
    real: str = ""
    account: str | None = None
    channels: str = ""
    server: str = ""
    away: str = ""
    bot: bool = False
    secure: bool = False
    idle: int | None = None


class Inquiries:
    """The questions of one connection, one at a time. `ask` writes a line; give every numeric to `take`."""

    def __init__(self, ask: Callable[..., None], fold: Callable[[str], str]) -> None:
        self._ask = ask
        self._fold = fold
        self._turn = asyncio.Lock()
        self._nick = ""
        self._lines: list[Line] = []
        self._answer: asyncio.Future[None] | None = None

    async def whois(self, nick: str) -> Whois | None:
        """What the server tells of a nick; None when nobody has it.

        Raises NotConnectedError when the connection breaks, TransientError when there is no answer in time.
        """
        async with self._turn:
            self._nick, self._lines = self._fold(nick), []
            self._answer = asyncio.get_running_loop().create_future()
            try:
                self._ask("WHOIS", nick)
                async with asyncio.timeout(_PATIENCE):
                    await self._answer
            except TimeoutError:
                raise TransientError("the network did not answer in time") from None
            finally:
                self._answer = None
            return read(self._lines)

    def take(self, line: Line) -> bool:
        """Takes a line of an answer; whether it is one."""
        if self._answer is None or self._answer.done() or line.command not in ANSWERS:
            return False
        if line.command == "263":
            if line.param(1).upper() != "WHOIS":
                return False
            self._answer.set_exception(TransientError("the network has no time to answer now"))
            return True
        if self._fold(line.param(1)) != self._nick:
            return False
        if len(self._lines) < _LINES_AT_MOST:
            self._lines.append(line)
        if line.command == "318":
            self._answer.set_result(None)
        return True

    def closed(self) -> None:
        """The connection is gone."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotConnectedError("the connection broke"))


def read(lines: Sequence[Line]) -> Whois | None:
    """The lines of an answer as one value; None when nobody has the nick. Pure."""
    found: dict[str, str] = {}
    flags: set[str] = set()
    nick = ""
    account: str | None = None
    idle: int | None = None
    for line in lines:
        match line.command:
            case "311":
                nick = line.param(1)
                found |= {"user": line.param(2), "host": line.param(3), "real": line.param(-1)}
            case "312":
                found["server"] = line.param(2)
            case "319":
                found["channels"] = f"{found.get('channels', '')} {line.param(-1)}".strip()
            case "330":
                account = line.param(2)
            case "301":
                found["away"] = line.param(-1)
            case "317" if line.param(2).isascii() and line.param(2).isdigit():
                idle = int(line.param(2)[:12])
            case "335" | "671":
                flags.add(line.command)
    if not nick:
        return None
    return Whois(nick, **found, account=account, bot="335" in flags, secure="671" in flags, idle=idle)


def told(whois: Whois) -> str:
    """An answer in words, one fact a line."""
    lines = [f"{whois.nick} ({whois.user}@{whois.host}): {whois.real}"]
    if whois.account:
        lines.append(f"is logged in as {whois.account}")
    if whois.channels:
        lines.append(f"is in {whois.channels}")
    if whois.server:
        lines.append(f"is on the server {whois.server}")
    if whois.away:
        lines.append(f"is away: {whois.away}")
    if whois.bot:
        lines.append("is a bot")
    if whois.secure:
        lines.append("has a secure connection")
    if whois.idle is not None:
        lines.append(f"has said nothing for {whois.idle} seconds")
    return "\n".join(lines)
