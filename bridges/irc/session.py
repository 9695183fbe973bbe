"""One connection from its opening to its end: registration, signs of life, our own nick, the proofs of our lines."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from bridge_core.api.ids import MessageId, UserId
from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.message import Line, LineError, parse, parse_source
from bridges.irc.codec.sasl import Mechanism
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.dialing import ConnectError, ConnectFailure
from bridges.irc.endings import Cause, Ending, RefusedError, by_numeric, by_words
from bridges.irc.flight import Flight
from bridges.irc.registration import NEEDS, Registration
from bridges.irc.splitting import Envelope
from bridges.irc.state import NetworkState, Own
from bridges.irc.transport import Connection, WriteBufferFull

log = structlog.get_logger(__name__)
_GOODBYE: Final = 2.0
_BUFFER: Final = 65536
_SPARE: Final = 4096
"""Bytes kept free for PONG, PING and QUIT."""
_BATCHES_AT_MOST: Final = 64
_ROOMS_AT_MOST: Final = 1024
_OBSERVED_PING: Final = 0.1
"""Seconds that the observer is given to see a line before the server is asked with a PING."""
# Errors about a target that follow a message to it (RFC 2812 section 5.2, modern.ircdocs.horse, InspIRCd, UnrealIRCd).
SEND_ERRORS: Final = frozenset(
    ("401", "402", "403", "404", "407", "408", "413", "414", "415", "442", "477")
) | frozenset(("482", "486", "489", "492", "494", "515", "531", "716", "717", "937", "974"))


class Owner(Protocol):
    """Whose connection it is."""

    def heard(self, lines: list[bytes]) -> None:
        """Lines that came after registration. Must not block."""

    def closed(self, ending: Ending) -> None:
        """The connection is gone, once after a successful `open`."""


class Session:
    """One connection, used once. `open` connects and registers; then lines go to the owner until it is told the end."""

    def __init__(
        self,
        state: NetworkState,
        owner: Owner,
        *,
        nicks: Iterator[str],
        user: str,
        real: str,
        wanted: Sequence[str | tuple[str, ...]],
        sasl: Sequence[Mechanism] = (),
        matrix_user: UserId | None = None,
    ) -> None:
        config = state.config
        self._state = state
        self._owner = owner
        self._matrix_user = matrix_user
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(
            config.server,
            config.port,
            state.tls,
            config.source_address,
            on_lines=self._received,
            on_closed=self._closed,
            buffered_at_most=_BUFFER + _SPARE,
        )
        wants = (*wanted, "sasl") if sasl else wanted
        self.caps = CapNegotiation(wants, NEEDS)
        password = config.password.get_secret_value() if config.password is not None else None
        self._registration = Registration(nicks, user, real, password=password, sasl=sasl, caps=self.caps)
        self._registered: asyncio.Future[None] | None = None
        self._ending: Ending | None = None
        self._batches: dict[str, str] = {}
        self._rooms: dict[tuple[str, str, bool], int] = {}
        self._ping: asyncio.Handle | None = None
        self._alive: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._paused = False
        self._pinged_at = 0.0
        self._heard_at = self._loop.time()
        self._handlers: dict[str, Callable[[Line], None]] = {
            "PING": self._on_ping,
            "PONG": self._on_pong,
            "ERROR": self._on_error,
            "BATCH": self._on_batch,
            "ACK": self._on_ack,
            "CAP": self._on_cap,
            "FAIL": self._on_fail,
            "NICK": self._on_nick,
            "CHGHOST": self._on_chghost,
            "396": self._on_host,
        }
        self.flight = Flight()
        self.own: Own | None = None
        self.envelope = Envelope("*")
        self.up = False
        """Whether lines may be sent: registered and not closed."""

    @property
    def nick(self) -> str:
        """Our nick, in the server's spelling."""
        return self.envelope.nick

    @property
    def key(self) -> str:
        """What this connection's budget is kept under: the same for the next one of the same user."""
        return self._matrix_user or "relay"

    @property
    def silence(self) -> float:
        """Seconds since the server was last heard."""
        return self._loop.time() - self._heard_at

    @property
    def isupport(self) -> Isupport:
        """What the server said of itself during registration."""
        return self._registration.isupport

    @property
    def labels(self) -> bool:
        """Whether the server answers each line under its label."""
        return "labeled-response" in self.caps.enabled

    @property
    def echoes(self) -> bool:
        """Whether each of our lines comes back under its label, with the id that the server gave it."""
        return self.labels and "echo-message" in self.caps.enabled

    @property
    def tags(self) -> bool:
        """Whether we may send tags of our own."""
        return "message-tags" in self.caps.enabled

    # Opening and closing

    async def open(self) -> None:
        """Returns when registered, within `connect_timeout` seconds. Raises RefusedError; nothing is left open then."""
        timeout = self._state.config.connect_timeout
        self._registered = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._connection.open(timeout)
                for line in self._registration.start():
                    self._connection.write(line)
                await self._registered
        except TimeoutError:
            await self._connection.close(0.0)
            raise RefusedError(Ending(Cause.LOST, f"not welcomed within {timeout:g} seconds")) from None
        except ConnectError as error:
            raise RefusedError(Ending(Cause.LOST, str(error))) from None
        except UnsafeLine as error:
            self._registered = None
            await self._connection.close(0.0)
            raise RefusedError(Ending(Cause.CREDENTIALS, f"a configured name cannot be sent: {error}")) from None
        except BaseException:
            await self._connection.close(0.0)
            raise
        finally:
            self._registered = None

    async def close(self, reason: str = "") -> None:
        """Says QUIT and closes. Idempotent."""
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
        self._paused = True
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Takes lines again."""
        self._paused = False
        self._heard_at = self._pinged_at = self._loop.time()
        self._connection.resume_reading()

    # Writing

    def write(self, data: bytes) -> None:
        """Sends serialized lines. Raises WriteBufferFull: await `drain` then."""
        self._connection.write(data)

    def reserve(self, size: int) -> None:
        """Raises WriteBufferFull when `write` would, for that many bytes."""
        if self._connection.buffered + size > _BUFFER:
            raise WriteBufferFull

    async def drain(self) -> None:
        """Returns once the server reads again, or the connection is gone."""
        await self._connection.drain()

    def tell(self, command: str, *params: str) -> None:
        """Sends a line that nobody waits for; it is dropped, with a word in the log, when it cannot be sent."""
        try:
            if self.up:
                self._connection.write(serialize(command, *params))
        except (UnsafeLine, WriteBufferFull) as error:
            log.warning("irc_line_not_sent", network=self._state.network, command=command, error=type(error).__name__)

    def room(self, command: str, target: str, action: bool) -> int:
        """Bytes of text that fit into one line to a target. Raises NoRoom."""
        key = (command, target, action)
        room = self._rooms.get(key)
        if room is None:
            if len(self._rooms) >= _ROOMS_AT_MOST:
                self._rooms.clear()
            room = self._rooms[key] = self.envelope.room(command, target, action=action)
        return room

    def wrote(self, observed: bool) -> None:
        """Lines were written: sees to it that they are proved. `observed`: the observer will probably see them."""
        if self._ping is None and not self.labels:
            if observed:
                self._ping = self._loop.call_later(_OBSERVED_PING, self._ask)
            else:
                self._ping = self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        """Asks the server for its PONG, if there is anything to prove."""
        self._ping = None
        if self.up and len(self.flight):
            self._send_ping()

    def _send_ping(self) -> None:
        """Sends a PING, unless one is on its way."""
        token = self.flight.ping()
        if token is not None:
            self._pinged_at = self._loop.time()
            self.tell("PING", token)

    def _check(self) -> None:
        """Looks for signs of life."""
        config = self._state.config
        now = self._loop.time()
        if not self._paused:
            if self.flight.pinging and now - self._pinged_at > config.ping_timeout:
                self._end(Ending(Cause.LOST, f"the server did not answer for {now - self._pinged_at:.0f} seconds"))
                return
            if now - self._heard_at > config.ping_interval / 2 or len(self.flight):
                self._send_ping()
        self._alive = self._loop.call_later(min(config.ping_interval, config.ping_timeout) / 2, self._check)

    def _end(self, ending: Ending) -> None:
        """Cuts the connection; `closed` follows."""
        self._ending = self._ending or ending
        self._closing = self._state.running.tasks.spawn(self._connection.close(0.0), "irc close")

    # Reading

    def _received(self, lines: list[bytes]) -> None:
        self._heard_at = self._loop.time()
        if self.up:
            self._owner.heard(lines)
            return
        for place, raw in enumerate(lines):
            if self.up:
                self._owner.heard(lines[place:])
                return
            self._register(raw)

    def _register(self, raw: bytes) -> None:
        """One line of registration."""
        registration, registered = self._registration, self._registered
        try:
            line = parse(raw, self._state.decode)
        except LineError:
            return
        for answer in registration.receive(line):
            self._connection.write(answer)
        if registered is None or registered.done():
            return
        if registration.refusal is not None:
            registered.set_exception(RefusedError(registration.refusal))
        elif registration.complete:
            source = parse_source(registration.own_prefix)
            self.envelope = Envelope(registration.nick, source.user or None, source.host or None)
            self.own = self._state.claim(
                self.nick,
                self.flight,
                self._matrix_user,
                by_observer=self._matrix_user is not None and not self.echoes,
            )
            self.up = True
            self._alive = self._loop.call_later(self._state.config.ping_interval / 2, self._check)
            registered.set_result(None)

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
        if line.tags and self._labelled(line):
            return True
        handler = self._handlers.get(command)
        if handler is not None:
            handler(line)
            return command not in ("NICK", "CHGHOST")
        if command in SEND_ERRORS:
            return self.flight.refused_target(self._state.isupport.fold(line.param(1)), line.param(-1))
        if command.isdigit():
            ending = by_numeric(command, line.param(-1))
            if ending is not None:
                self._ending = ending
                return True
        return False

    def _labelled(self, line: Line) -> bool:
        """Takes an answer to one of our labelled lines."""
        tags = line.tags
        label = tags.get("label") or self._batches.get(tags.get("batch", ""), "")
        if not label:
            return False
        command = line.command
        if command in ("PRIVMSG", "NOTICE", "TAGMSG", "REDACT"):
            message = tags.get("msgid")
            self.flight.answered(label, message=MessageId(message) if message else None)
            return True
        if command == "FAIL" or (len(command) == 3 and command[0] in "45"):
            return self.flight.refused(label, line.param(-1))
        return False

    def _on_ping(self, line: Line) -> None:
        self.tell("PONG", *line.params[-1:])

    def _on_pong(self, line: Line) -> None:
        if self.flight.pong(line.param(-1)):
            self.wrote(False)

    def _on_error(self, line: Line) -> None:
        self._ending = self._ending or by_words(line.param(-1))

    def _on_ack(self, line: Line) -> None:
        self.flight.answered(line.tags.get("label", ""), echoed=False)

    def _on_batch(self, line: Line) -> None:
        """Lines of a labelled batch belong to its label; at its end the label is answered."""
        name = line.param(0)
        if name.startswith("+"):
            label = line.tags.get("label", "")
            if label and len(self._batches) < _BATCHES_AT_MOST:
                self._batches[name[1:]] = label
        elif name.startswith("-"):
            label = self._batches.pop(name[1:], "")
            if label:
                self.flight.answered(label, echoed=False)

    def _on_cap(self, line: Line) -> None:
        for answer in self.caps.receive(line):
            self.write(answer)

    def _on_fail(self, line: Line) -> None:
        """A standard reply without a label names its target among its parameters (IRCv3 standard-replies)."""
        for context in line.params[2:-1]:
            if self.flight.refused_target(self._state.isupport.fold(context), line.param(-1)):
                return

    def _on_nick(self, line: Line) -> None:
        if line.source is not None and line.source.nick == self.nick and line.param(0):
            self._moved(Envelope(line.param(0), self.envelope.user, self.envelope.host))
            if self.own is not None:
                self._state.alias(self.own, line.param(0))

    def _on_chghost(self, line: Line) -> None:
        if line.source is not None and line.source.nick == self.nick and line.param(1):
            self._moved(Envelope(self.nick, line.param(0), line.param(1)))

    def _on_host(self, line: Line) -> None:
        """Our visible host, with or without the user name (numeric 396)."""
        user, at, host = line.param(1).rpartition("@")
        self._moved(Envelope(self.nick, user if at else self.envelope.user, host or None))

    def prefixed(self, line: Line) -> None:
        """Learns from a line of our own how the server calls us."""
        source = line.source
        if source is not None and source.host:
            self._moved(Envelope(self.nick, source.user, source.host))

    def _moved(self, envelope: Envelope) -> None:
        if envelope != self.envelope:
            self.envelope = envelope
            self._rooms.clear()

    def _closed(self, error: Exception | None) -> None:
        """The connection is gone."""
        up, self.up = self.up, False
        for handle in (self._ping, self._alive):
            if handle is not None:
                handle.cancel()
        if self._ending is None:
            lost = isinstance(error, ConnectError) and error.failure is ConnectFailure.CLOSED
            self._ending = Ending(Cause.LOST, str(error) if error is not None and not lost else "the connection broke")
        self.flight.lost(f"the connection to the network was lost before it was confirmed ({self._ending.reason})")
        if self._registered is not None and not self._registered.done():
            self._registered.set_exception(RefusedError(self._registration.refusal or self._ending))
        elif up or self._ending.cause is Cause.CLOSED:
            self._owner.closed(self._ending)
