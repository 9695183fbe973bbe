"""The first moments of a connection, from CAP to the end of the MOTD, without input or output."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.message import Line
from bridges.irc.codec.sasl import Mechanism, SaslSession, SaslState
from bridges.irc.codec.serializer import serialize
from bridges.irc.config.people import People
from bridges.irc.endings import Cause, Ending, by_numeric, by_standard_reply, by_words, joined

_TAKEN: Final = frozenset(("432", "433", "436", "437"))
_LONGEST_REAL: Final = 100

PRE_AWAY: Final = "draft/pre-away"
"""Who is away says so before anybody sees them come (IRCv3 pre-away)."""
AWAY: Final = "Away on Matrix"
_COMMON: Final[tuple[str | tuple[str, ...], ...]] = (
    "message-tags",
    "server-time",
    "batch",
    "labeled-response",
    "echo-message",
    "account-tag",
    "extended-join",
    "chghost",
    "userhost-in-names",
    "multi-prefix",
    "cap-notify",
    "setname",
    "standard-replies",
    "draft/chathistory",
    "draft/channel-rename",
    "draft/extended-isupport",
    ("message-redaction", "draft/message-redaction"),
    "draft/multiline",
)
"""What every connection asks for."""
CAPABILITIES: Final[tuple[str | tuple[str, ...], ...]] = (
    *_COMMON,
    "account-notify",
    "draft/event-playback",
    "draft/relaymsg",
)
"""What the observer asks for, which has to know of everybody in the channels."""
PUPPET_CAPABILITIES: Final[tuple[str | tuple[str, ...], ...]] = (
    *_COMMON,
    ("no-implicit-names", "draft/no-implicit-names", "soju.im/no-implicit-names"),
)
"""What connections ask for that need no lists of members."""


def observer_capabilities(people: People) -> tuple[str | tuple[str, ...], ...]:
    """What the observer asks for by its settings."""
    more = (
        *(["away-notify", "extended-monitor"] if people.away else []),
        *(["draft/metadata-2"] if people.metadata else []),
    )
    return (*CAPABILITIES, *more)


def puppet_capabilities(people: People) -> tuple[str | tuple[str, ...], ...]:
    """What a Matrix user's connection asks for by its settings."""
    more = (*(["draft/metadata-2"] if people.share else []), *([PRE_AWAY] if people.away else []))
    return (*PUPPET_CAPABILITIES, *more)


NEEDS: Final = {
    "echo-message": "labeled-response",
    "draft/multiline": "batch",
    "draft/chathistory": "batch",
    "draft/metadata-2": "batch",
}
"""What another capability is of no use without: an echo that cannot be told from others' lines by its label, say."""


class Registration:
    """One registration: send `start()`, give every line to `receive`, send what it returns, until `complete`.

    When `refusal` is set it has failed; until `over` is set the server may yet say more of why.
    `nicks` are tried in order; `isupport` is what the server told of itself.
    """

    def __init__(
        self,
        nicks: Iterator[str],
        user: str,
        real: str,
        *,
        password: str | None,
        sasl: Sequence[Mechanism],
        caps: CapNegotiation,
        sasl_needed: bool = True,
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._nicks = nicks
        self._user = user
        self._real = "".join(character for character in real if character.isprintable())[:_LONGEST_REAL] or user
        self._password = password
        self._mechanisms = sasl
        self._sasl_needed = sasl_needed
        self._sasl: SaslSession | None = None
        self._ended_caps = self._welcomed = False
        self._away = away
        self.told_away = False
        """Whether the server knows that the user is away."""
        self.caps = caps
        self.nick = next(nicks)
        self.isupport = Isupport()
        self.complete = False
        self.refusal: Ending | None = None
        self.over = False
        self.own_prefix = ""

    @property
    def account(self) -> str | None:
        """The account that the server logged us in to, `*` where it does not name it; None for none."""
        if self._sasl is None or self._sasl.state is not SaslState.DONE:
            return None
        return self._sasl.account or "*"

    def start(self) -> list[bytes]:
        """The first lines."""
        lines = self.caps.start()
        if self._password is not None:
            lines.append(serialize("PASS", self._password))
        return [*lines, serialize("NICK", self.nick), serialize("USER", self._user, "0", "*", self._real)]

    def receive(self, line: Line) -> list[bytes]:
        """Takes a line of the server and returns lines to send. Never raises."""
        command = line.command
        if command == "PING":
            return [serialize("PONG", line.param(-1))]
        if command == "CAP":
            return [*self.caps.receive(line), *self._after_caps()]
        if command == "AUTHENTICATE" or command in ("900", "902", "903", "904", "905", "906", "907", "908"):
            return self._log_in(line)
        if command in _TAKEN and not self._welcomed:
            return self._next_nick(line.param(-1))
        if command in ("410", "421", "451") and line.param(1).upper() in ("CAP", ""):
            self.caps.unsupported()
            return self._after_caps()
        if command == "001":
            self.nick, self._welcomed = line.param(0), True
            if not self.caps.settled:
                self.caps.unsupported()
            last = line.param(-1).rsplit(" ", 1)[-1]
            self.own_prefix = last if last.startswith(self.nick + "!") and "@" in last else ""
        elif command == "005":
            self.isupport = self.isupport.updated(line.params)
        elif command in ("376", "422"):
            self.complete = True
        elif command == "ERROR":
            self.refuse(joined(self.refusal, by_words(line.param(-1))))
        elif command == "FAIL":
            self.refusal = self.refusal or by_standard_reply(line.param(1), line.param(-1))
        else:
            self.refusal = self.refusal or by_numeric(command, line.param(-1))
        return []

    def refuse(self, ending: Ending) -> None:
        """It has failed, and nothing more is to be waited for."""
        self.refusal, self.over = ending, True

    def _after_caps(self) -> list[bytes]:
        """Once capabilities are settled: the login, or the end of negotiation."""
        if self._ended_caps or not self.caps.settled:
            return []
        if self._mechanisms and self._sasl is None and ("sasl" in self.caps.enabled or self._sasl_needed):
            if "sasl" not in self.caps.enabled:
                self.refuse(Ending(Cause.CREDENTIALS, "the server offers no SASL, but a login is configured"))
                return []
            self._sasl = SaslSession(self._mechanisms, self.caps.available.get("sasl", ""))
            return [*self._sasl.start(), *self._after_login()]
        if self._sasl is not None and self._sasl.state is SaslState.ACTIVE:
            return []
        self._ended_caps = True
        lines: list[bytes] = []
        if "draft/extended-isupport" in self.caps.enabled:
            lines.append(serialize("ISUPPORT"))  # known before the welcome
        if PRE_AWAY in self.caps.enabled and self._away():
            self.told_away = True
            lines.append(serialize("AWAY", AWAY))
        return [*lines, self.caps.end()]

    def _log_in(self, line: Line) -> list[bytes]:
        if self._sasl is None:
            return []
        return [*self._sasl.receive(line), *self._after_login()]

    def _after_login(self) -> list[bytes]:
        assert self._sasl is not None
        if self._sasl.state is SaslState.FAILED:
            self.refuse(Ending(Cause.CREDENTIALS, f"SASL: {self._sasl.reason}"))
            return []
        return self._after_caps() if self._sasl.state is SaslState.DONE else []

    def _next_nick(self, reason: str) -> list[bytes]:
        nick = next(self._nicks, None)
        if nick is None:
            self.refuse(Ending(Cause.NICK, reason or "every nick is taken"))
            return []
        self.nick = nick
        return [serialize("NICK", nick)]
