"""Logging in after registration: when the server offers SASL again (IRCv3 sasl-3.2, cap-notify)."""

from collections.abc import Callable, Sequence
from typing import Final

from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.message import Line
from bridges.irc.codec.sasl import Mechanism, SaslSession, SaslState

LINES: Final = ("AUTHENTICATE", "900", "901", "902", "903", "904", "905", "906", "907", "908")


class LateLogin:
    """The login of one connection that is registered. Nothing happens while it has none to make.

    `mechanisms` makes them anew for each try; `write` sends lines; `ended` is told how a try ended.
    """

    __slots__ = ("_caps", "_ended", "_mechanisms", "_session", "_write", "account")

    def __init__(
        self,
        caps: CapNegotiation,
        mechanisms: Callable[[], Sequence[Mechanism]],
        write: Callable[[bytes], None],
        ended: Callable[[bool, str], None],
    ) -> None:
        self._caps = caps
        self._mechanisms = mechanisms
        self._write = write
        self._ended = ended
        self._session: SaslSession | None = None
        self.account: str | None = None
        """The account that we are logged in to; None for none."""

    @property
    def trying(self) -> bool:
        """Whether a login is under way."""
        return self._session is not None

    def begin(self) -> bool:
        """Logs in if there is a login, SASL is there, and nothing is done yet; whether it is under way now."""
        if self.account is not None or self._session is not None or "sasl" not in self._caps.enabled:
            return self._session is not None
        mechanisms = self._mechanisms()
        if not mechanisms:
            return False
        self._session = SaslSession(mechanisms, self._caps.available.get("sasl", ""))
        self._say(self._session.start())
        return self._session is not None

    def receive(self, line: Line) -> None:
        """Takes AUTHENTICATE and the numerics of SASL, and 901 (logged out)."""
        if line.command == "900":
            self.account = line.param(2) or None
        elif line.command == "901":
            self.account = None
        if self._session is not None:
            self._say(self._session.receive(line))

    def _say(self, lines: Sequence[bytes]) -> None:
        session = self._session
        assert session is not None
        for line in lines:
            self._write(line)
        if session.state is not SaslState.ACTIVE:
            self._session = None
            self._ended(session.state is SaslState.DONE, session.reason)
