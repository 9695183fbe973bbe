"""One connection from its opening to its end: registration, signs of life, our own nick, the proofs of our lines."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from bridge_core.api.ids import UserId
from bridges.irc.access.approach import Approach
from bridges.irc.admission import Admission, secure
from bridges.irc.answers import Answers
from bridges.irc.barriers import Barriers
from bridges.irc.batches import Batches
from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.message import Line, LineError, parse
from bridges.irc.codec.sasl import Mechanism
from bridges.irc.codec.serializer import serialize
from bridges.irc.dialing import ConnectError, ConnectFailure
from bridges.irc.endings import Cause, Ending, by_numeric, by_words, joined
from bridges.irc.flight import Flight
from bridges.irc.identity import Identity
from bridges.irc.latelogin import LINES as SASL_LINES
from bridges.irc.latelogin import LateLogin
from bridges.irc.outbox import BUFFER
from bridges.irc.pulse import Pulse
from bridges.irc.registration import NEEDS, Registration
from bridges.irc.state import NetworkState, Own
from bridges.irc.transport import Connection, WriteBufferFull

log = structlog.get_logger(__name__)
_GOODBYE: Final = 2.0
_LAST_PROOFS: Final = 1.0
_OWNERS_TOO: Final = frozenset(("NICK", "CHGHOST", "WARN", "NOTE"))
"""What the session's owner looks at, too."""
_SPARE: Final = 4096
"""Bytes kept free for PONG, PING and QUIT."""


class Owner(Protocol):
    """Whose connection it is."""

    def heard(self, lines: list[bytes]) -> None:
        """Lines that came after registration. Must not block."""

    def closed(self, ending: Ending) -> None:
        """The connection is gone, once after a successful `open`."""


class Session(Admission):
    """One connection, used once. `open` connects and registers; then lines go to the owner until it is told the end."""

    def __init__(
        self,
        state: NetworkState,
        owner: Owner,
        approach: Approach,
        *,
        nicks: Iterator[str],
        real: str,
        wanted: Sequence[str | tuple[str, ...]],
        sasl: Sequence[Mechanism] = (),
        login: Callable[[bool], Sequence[Mechanism]] | None = None,
        matrix_user: UserId | None = None,
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        config = state.config
        self._state = state
        self._owner = owner
        self._matrix_user = matrix_user
        self._loop = asyncio.get_running_loop()
        connection = Connection(
            approach.host,
            approach.port,
            approach.tls,
            approach.route,
            on_lines=self._received,
            on_closed=self._closed,
            buffered_at_most=BUFFER + _SPARE,
        )
        sasl = login(secure(approach)) if login is not None else sasl
        caps = CapNegotiation((*wanted, "sasl") if sasl else wanted, NEEDS)
        password = config.password.get_secret_value() if config.password is not None else None
        registration = Registration(
            nicks, approach.user, real, password=password, sasl=sasl, caps=caps, sasl_needed=login is None, away=away
        )
        super().__init__(state, connection, approach, registration)
        if matrix_user is None:
            self._traffic = state.meter.bot
        self._counted = False
        self._late = LateLogin(
            self.caps, lambda: login(self.secure) if login is not None else (), self.write, self._logged_in
        )
        self.logged_in: Callable[[bool, str], None] = lambda done, reason: None
        """Told how a login after registration ended."""
        self.remarked: Callable[[str], None] = lambda text: None
        """Told what the server wants to be known that refuses nothing. Must not block."""
        self._ending: Ending | None = None
        self.flight = Flight()
        self.identity = Identity()
        self._answers = Answers(state, self.flight, lambda: self.echoes)
        self.batches = Batches()
        self.failures: dict[str, Callable[[Line], None]] = {}
        """Who is told of a FAIL without a label, by its command (IRCv3 standard-replies); others are about messages."""
        self._pulse = Pulse(config, self.flight, lambda token: self.tell("PING", token), self._dead)
        self._closing: asyncio.Task[None] | None = None
        self._barriers = Barriers(self._write_now)
        self._handlers: dict[str, Callable[[Line], None]] = {
            "PING": self._on_ping,
            "PONG": self._on_pong,
            "ERROR": self._on_error,
            "BATCH": self._on_batch,
            "ACK": self._answers.acknowledged,
            "CAP": self._on_cap,
            "FAIL": self._on_fail,
            "WARN": self._on_remark,
            "NOTE": self._on_remark,
            "NICK": self._on_nick,
            "CHGHOST": self.identity.changed_host,
            "396": self.identity.visible_host,
            **dict.fromkeys(SASL_LINES, self._late.receive),
        }
        self.own: Own | None = None

    @property
    def nick(self) -> str:
        """Our nick, in the server's spelling."""
        return self.identity.nick

    @property
    def key(self) -> str:
        """Whose connection it is, for logs."""
        return self._matrix_user or "relay"

    @property
    def silence(self) -> float:
        """Seconds since the server was last heard."""
        return self._pulse.silence

    @property
    def account(self) -> str | None:
        """The account that we are logged in to; None for none."""
        return self._late.account

    # Opening and closing

    async def close(self, reason: str = "") -> None:
        """Says QUIT and closes. Idempotent."""
        if self.up:
            self._pulse.ping()
            await self.flight.settled(_LAST_PROOFS)
        if self.up:
            self.up = False
            self._ending = self._ending or Ending(Cause.CLOSED, reason or "closed")
            try:
                self._connection.write(serialize("QUIT", reason or "Leaving"))
            except WriteBufferFull:
                log.debug("irc_quit_not_sent", network=self._state.network)
        await self._connection.close(_GOODBYE)

    def pause_reading(self) -> None:
        """Takes no more lines for now."""
        self._pulse.paused()
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Takes lines again."""
        self._pulse.resumed()
        self._connection.resume_reading()

    # Writing

    def wrote(self, observed: bool) -> None:
        """Lines were written: sees to it that they are proved. `observed`: the observer will probably see them."""
        if not self.labels:
            self._pulse.wrote(observed)

    def barrier(self, passed: Callable[[], None]) -> bool:
        """Calls `passed` once all that the server has sent us up to now is read, or the connection is gone.

        False, and no call, when that cannot be found out.
        """
        return self.up and self._barriers.ask(passed)

    def _dead(self, reason: str) -> None:
        """The server gives no sign of life."""
        self._end(Ending(Cause.LOST, reason))

    def _end(self, ending: Ending) -> None:
        """Cuts the connection; `closed` follows."""
        self._ending = self._ending or ending
        self._closing = self._state.running.tasks.spawn(self._connection.close(0.0), "irc close")

    # Reading

    def _received(self, lines: list[bytes]) -> None:
        self._pulse.heard()
        self._traffic.heard += len(lines)
        if self.up:
            self._owner.heard(lines)
            return
        for place, raw in enumerate(lines):
            if self.up:
                self._owner.heard(lines[place:])
                return
            self._register(raw)

    def _welcomed(self) -> None:
        registration = self._registration
        if self._matrix_user is not None:
            # Each copy would take several KiB, and the observer's says the same.
            registration.isupport = self._state.isupport
        self._late.account = registration.account
        self.identity.welcomed(registration.nick, registration.own_prefix)
        self.own = self._state.claim(
            self.nick,
            self.flight,
            self._matrix_user,
            by_observer=self._matrix_user is not None and not self.echoes,
        )

    def _admitted(self) -> None:
        self._pulse.begin()
        self._counted = True
        self._traffic.made += 1
        self._traffic.connected += 1

    def parse(self, raw: bytes) -> Line | None:
        """One line; None when it is none."""
        try:
            return parse(raw, self._state.decode)
        except LineError:
            log.debug("irc_line_malformed", network=self._state.network)
            return None

    def common(self, line: Line) -> bool:
        """Does what every connection does with a line; whether the owner need not look at it."""
        command = line.command
        if line.tags and (("batch" in line.tags and self.batches.take(line)) or self._answers.labelled(line)):
            return True
        handler = self._handlers.get(command)
        if handler is not None:
            handler(line)
            return command not in _OWNERS_TOO
        if command[0] in "45":
            if self._answers.error(line):
                return True
            ending = by_numeric(command, line.param(-1))
            if ending is not None:
                self._ending = ending
                return True
        return False

    def _on_ping(self, line: Line) -> None:
        self.tell("PONG", *line.params[-1:])

    def _on_pong(self, line: Line) -> None:
        if self._barriers.pong(line.param(-1)):
            return
        if self.flight.pong(line.param(-1)):
            self.wrote(False)

    def _on_error(self, line: Line) -> None:
        if self._ending is None or self._ending.cause is not Cause.CLOSED:
            self._ending = joined(self._ending, by_words(line.param(-1)))

    def _on_cap(self, line: Line) -> None:
        for answer in self.caps.receive(line):
            self.write(answer)
        self._late.begin()
        moved = self._moved(line)
        if moved is not None:
            self._end(Ending(Cause.LOST, moved))

    def _logged_in(self, done: bool, reason: str) -> None:
        self.logged_in(done, reason)

    def _on_fail(self, line: Line) -> None:
        handler = self.failures.get(line.param(0))
        if handler is not None:
            handler(line)
        else:
            self._answers.failed(line)

    def _on_remark(self, line: Line) -> None:
        """WARN and NOTE (IRCv3 standard-replies): the command that they are about, a code, and words for people."""
        about = "" if line.param(0) in ("*", "") else f" ({line.param(0)})"
        self.remarked(f"{'Warning: ' if line.command == 'WARN' else ''}{line.param(-1)}{about}")

    def _on_batch(self, line: Line) -> None:
        if not self._answers.batch(line):
            self.batches.received(line)

    def _on_nick(self, line: Line) -> None:
        if self.identity.renamed(line) and self.own is not None:
            self._state.renamed(self.own, self.nick)

    def _closed(self, error: Exception | None) -> None:
        """The connection is gone."""
        up, self.up = self.up, False
        if self._counted:
            self._counted = False
            self._traffic.connected -= 1
        self._left()
        self._pulse.end()
        if self._ending is None:
            lost = isinstance(error, ConnectError) and error.failure is ConnectFailure.CLOSED
            self._ending = Ending(Cause.LOST, str(error) if error is not None and not lost else "the connection broke")
        self.batches.closed()
        if self.outlet is not None:
            self.outlet.close()
        self._barriers.end()
        self._last_lines(f"the connection was lost before the network confirmed it ({self._ending.reason})")
        if not self._turned_away(self._ending) and (up or self._ending.cause is Cause.CLOSED):
            self._owner.closed(self._ending)

    def _last_lines(self, reason: str) -> None:
        """What the observer sees of a connection that is gone is delivered; the rest is of unknown fate."""
        flight, own, barrier = self.flight, self.own, self._state.barrier
        flight.closed()
        if own is not None and own.user is not None and len(flight) and barrier is not None:
            own.by_observer = True
            if barrier(lambda: flight.lost(reason)):
                self._loop.call_later(_GOODBYE, flight.lost, reason)
                return
        flight.lost(reason)
