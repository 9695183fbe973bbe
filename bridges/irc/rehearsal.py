"""Whether the configured servers can be reached and take the bot's login, found out before the bridge is started.

A connection is opened, its capabilities are asked for, the bot logs in to its account, and says QUIT. It gives neither
nick nor user, so that nobody sees it and no nick of a running bridge is in its way.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from bridge_core.api.info import Advice
from bridges.irc.access.access import Access
from bridges.irc.access.endpoints import Endpoint
from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.encoding import Decoder
from bridges.irc.codec.message import Line, LineError, parse
from bridges.irc.codec.sasl import SaslSession, SaslState
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.config import IrcConfig
from bridges.irc.dialing import ConnectError, ConnectFailure
from bridges.irc.logins import bot_mechanisms
from bridges.irc.transport import Connection

_GOODBYE: Final = 1.0
_ADVICE: Final = {
    ConnectFailure.DNS: "See `server`, and whether this machine resolves names.",
    ConnectFailure.REFUSED: "See `server` and `port`.",
    ConnectFailure.TIMEOUT: "See `server`, `port` and the firewall between; TLS has a port of its own.",
    ConnectFailure.TLS: "See `tls` and `port`: mostly 6697 with TLS, 6667 without.",
    ConnectFailure.CERTIFICATE: "Correct `server`, or pin the certificate you know to be right: `tls_fingerprint`.",
    ConnectFailure.PROXY: "See `proxy`.",
    ConnectFailure.BIND: "See `source_address`.",
}
_ELSE: Final = "Try again later; the server may be closed, or ban this address."


class Rehearsal:
    """Tries all servers of one network, one after the other, each within `connect_timeout`."""

    def __init__(self, config: IrcConfig, access: Access) -> None:
        self._config = config
        self._access = access

    async def wrong(self) -> list[Advice]:
        """What would keep the bot from connecting; empty when nothing does. Raises BridgeError for unusable files."""
        found = []
        for endpoint in self._access.endpoints:
            where = f"{endpoint.host} port {endpoint.port}"
            found += [Advice(f"{where}: {what}", advice) for what, advice in await self._try(endpoint)]
        return found

    async def _try(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        tls, route = await self._access.rehearsed()
        talk = _Talk(self._config)
        connection = Connection(endpoint.host, endpoint.port, tls, route, on_lines=talk.received, on_closed=talk.closed)
        talk.write = connection.write
        timeout = self._config.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                await connection.open(timeout)
                talk.begin()
                return list(await talk.ended)
        except ConnectError as error:
            return [(str(error), _ADVICE.get(error.failure, _ELSE))]
        except TimeoutError:
            return [(f"does not answer like an IRC server within {timeout:g} seconds", "See `port` and `tls`.")]
        finally:
            await connection.close(_GOODBYE)


class _Talk:
    """What is said on one connection."""

    def __init__(self, config: IrcConfig) -> None:
        self._decode = Decoder(config.encoding)
        self._mechanisms = bot_mechanisms(config)
        self._required = config.sasl is not None and config.sasl.required
        self._caps = CapNegotiation(("sasl",) if self._mechanisms else ())
        self._sasl: SaslSession | None = None
        self.write: Callable[[bytes], None] = lambda data: None
        self.ended: asyncio.Future[tuple[tuple[str, str], ...]] = asyncio.get_running_loop().create_future()
        """What is wrong, each with what to do."""

    def begin(self) -> None:
        """Asks what the server can do."""
        for line in self._caps.start():
            self.write(line)

    def received(self, lines: list[bytes]) -> None:
        """Lines of the server."""
        for raw in lines:
            if self.ended.done():
                return
            try:
                line = parse(raw, self._decode)
            except LineError:
                continue
            try:
                for answer in self._answers(line):
                    self.write(answer)
            except UnsafeLine as error:
                self._end((f"the login cannot be sent: {error}", "Correct `sasl`."))

    def closed(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._end((f"closes the connection: {error or 'without a word'}", _ELSE))

    def _answers(self, line: Line) -> Iterator[bytes]:
        if line.command == "PING":
            yield serialize("PONG", line.param(-1))
        elif line.command == "ERROR":
            self._end((f"closes the connection: {line.param(-1)}", _ELSE))
        elif line.command in ("410", "421", "451") and line.param(1).upper() in ("CAP", ""):
            self._caps.unsupported()
            yield from self._after_caps()
        elif line.command == "CAP":
            yield from self._caps.receive(line)
            yield from self._after_caps()
        elif self._sasl is not None:
            yield from self._sasl.receive(line)
            yield from self._after_login()

    def _after_caps(self) -> Iterator[bytes]:
        if not self._caps.settled or self._sasl is not None:
            return
        if self._mechanisms and "sasl" in self._caps.enabled:
            self._sasl = SaslSession(self._mechanisms, self._caps.available.get("sasl", ""))
            yield from self._sasl.start()
            yield from self._after_login()
        elif self._mechanisms and self._required:
            self._end(("offers no SASL, but a login is configured", "Set `sasl.required: false`, or see `server`."))
        else:
            yield from self._leave()

    def _after_login(self) -> Iterator[bytes]:
        assert self._sasl is not None
        if self._sasl.state is SaslState.FAILED:
            self._end((f"does not take the bot's login: {self._sasl.reason}", "Correct `sasl`."))
        elif self._sasl.state is SaslState.DONE:
            yield from self._leave()

    def _leave(self) -> Iterator[bytes]:
        self._end()
        yield serialize("QUIT", "Only a look")

    def _end(self, *wrong: tuple[str, str]) -> None:
        if not self.ended.done():
            self.ended.set_result(wrong)
