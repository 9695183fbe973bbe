"""One connection, on both event loops, with and without TLS."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from bridges.irc.dialing import ConnectError, ConnectFailure, Route
from bridges.irc.tls import TlsSettings, tls_settings
from bridges.irc.transport import Connection, WriteBufferFull

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, None]], None]
PATIENCE = 60.0


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on plain asyncio and on uvloop."""

    def start(main: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(main, PATIENCE))

    return start


class Pki:
    """An authority, a server certificate of it, and what clients need."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server)
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        self.fingerprint = hashlib.sha256(der).hexdigest()

    def settings(self) -> TlsSettings:
        return tls_settings(ca_file=self.ca_file)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates for this module."""
    return Pki(tmp_path_factory.mktemp("pki"))


class Peer:
    """A connection with what it received; `until` waits for it."""

    def __init__(self, port: int, tls: TlsSettings | None = None, host: str = "localhost", **options: Any) -> None:
        self.lines: list[bytes] = []
        self.closed: list[Exception | None] = []
        self._changed = asyncio.Event()
        self.connection = Connection(host, port, tls, on_lines=self._take, on_closed=self._end, **options)

    def _take(self, lines: list[bytes]) -> None:
        self.lines += lines
        self._changed.set()

    def _end(self, error: Exception | None) -> None:
        self.closed.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


@contextlib.asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port, each connection with the handler."""
    ends: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ends.append(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends every line back."""
    while line := await reader.readline():
        writer.write(line)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads and says nothing."""
    while await reader.read(65536):
        pass


@pytest.mark.parametrize("secured", [False, True])
def test_lines_both_ways(run: Run, pki: Pki, secured: bool) -> None:
    """Lines written in one turn arrive in order; our close is reported once, as ours."""

    async def main() -> None:
        async with serving(echo, pki.server if secured else None) as port:
            peer = Peer(port, pki.settings() if secured else None)
            await peer.connection.open(5)
            for number in range(100):
                peer.connection.write(b"PING %d\r\n" % number)
            await peer.until(lambda: len(peer.lines) == 100)
            assert peer.lines == [b"PING %d" % number for number in range(100)]
            await peer.connection.close(5)
            assert peer.closed == [None]
            peer.connection.write(b"PING late\r\n")
            await peer.connection.drain()
            await peer.connection.close(5)
            assert peer.closed == [None]

    run(main())


@pytest.mark.parametrize("secured", [False, True])
def test_what_was_written_is_sent_before_closing(run: Run, pki: Pki, secured: bool) -> None:
    """A QUIT written just before the close reaches the server, and TLS ends with its alert."""
    received = asyncio.Event()
    seen: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read())
        received.set()

    async def main() -> None:
        async with serving(collect, pki.server if secured else None) as port:
            peer = Peer(port, pki.settings() if secured else None)
            await peer.connection.open(5)
            peer.connection.write(b"QUIT :bye\r\n")
            await peer.connection.close(5)
            await received.wait()
            assert seen == [b"QUIT :bye\r\n"]

    run(main())


@pytest.mark.parametrize("secured", [False, True])
def test_reading_can_be_paused(run: Run, pki: Pki, secured: bool) -> None:
    """After a pause no line arrives until reading goes on, and then all of them do, in order."""
    lines = [b"LINE %d %s" % (number, b"x" * 80) for number in range(5000)]

    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\r\n".join(lines) + b"\r\n")
        await silent(reader, writer)

    async def main() -> None:
        async with serving(burst, pki.server if secured else None) as port:
            peer = Peer(port, pki.settings() if secured else None)
            await peer.connection.open(5)
            for _ in range(20):
                await peer.until(lambda: bool(peer.lines))
                peer.connection.pause_reading()
                await asyncio.sleep(0)
                count = len(peer.lines)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert len(peer.lines) == count
                peer.connection.resume_reading()
            await peer.until(lambda: len(peer.lines) == len(lines))
            assert peer.lines == lines
            await peer.connection.close(5)

    run(main())


@pytest.mark.parametrize("secured", [False, True])
def test_pausing_within_a_burst(run: Run, pki: Pki, secured: bool) -> None:
    """An owner that pauses at every delivery gets everything, a little at a time."""
    lines = [b"LINE %d %s" % (number, b"x" * 80) for number in range(5000)]
    sizes: list[int] = []
    got: list[bytes] = []

    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\r\n".join(lines) + b"\r\n")
        await silent(reader, writer)

    async def main() -> None:
        full = asyncio.Event()

        def take(some: list[bytes]) -> None:
            sizes.append(len(some))
            got.extend(some)
            connection.pause_reading()
            asyncio.get_running_loop().call_soon(connection.resume_reading)
            if len(got) == len(lines):
                full.set()

        async with serving(burst, pki.server if secured else None) as port:
            settings = pki.settings() if secured else None
            connection = Connection("localhost", port, settings, on_lines=take, on_closed=lambda error: None)
            await connection.open(5)
            await full.wait()
            assert got == lines
            assert max(sizes) * 90 < 40000
            await connection.close(5)

    run(main())


@pytest.mark.parametrize("secured", [False, True])
def test_a_server_that_does_not_read(run: Run, pki: Pki, secured: bool) -> None:
    """What may wait to be sent is bounded; once the server reads, drain returns and nothing was lost."""
    go, done = asyncio.Event(), asyncio.Event()
    received = bytearray()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while data := await reader.read(65536):
            received.extend(data)
            if received.endswith(b"END\r\n"):
                done.set()

    async def main() -> None:
        async with serving(slow, pki.server if secured else None) as port:
            peer = Peer(port, pki.settings() if secured else None, buffered_at_most=40000)
            await peer.connection.open(5)
            sent = 0
            line = b"x" * 510 + b"\r\n"
            with pytest.raises(WriteBufferFull):
                while True:
                    for _ in range(20):
                        peer.connection.write(line)
                        sent += 1
                    await asyncio.sleep(0)
            assert peer.connection.buffered <= 40000
            waiting = asyncio.ensure_future(peer.connection.drain())
            await asyncio.sleep(0)
            assert not waiting.done()
            go.set()
            await waiting
            peer.connection.write(b"END\r\n")
            await done.wait()  # before closing: uvloop's own TLS server loses bytes at the end of a stream
            assert received == line * sent + b"END\r\n"
            await peer.connection.close(5)

    run(main())


@pytest.mark.parametrize("secured", [False, True])
def test_the_server_closes(run: Run, pki: Pki, secured: bool) -> None:
    """Lines in front of the end arrive, then the end is reported once, in words."""

    async def goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ERROR :Closing Link\r\n")

    async def main() -> None:
        async with serving(goodbye, pki.server if secured else None) as port:
            peer = Peer(port, pki.settings() if secured else None)
            await peer.connection.open(5)
            peer.connection.write(b"QUIT\r\n")
            await peer.until(lambda: bool(peer.closed))
            assert peer.lines == [b"ERROR :Closing Link"]
            (error,) = peer.closed
            assert isinstance(error, ConnectError)
            assert error.failure is ConnectFailure.CLOSED
            assert str(error) == "localhost closed the connection"
            await peer.connection.close(5)

    run(main())


async def failure_of(peer: Peer, timeout: float = 5) -> ConnectError:
    """The error of an opening that must fail, and that nobody else is told of."""
    with pytest.raises(ConnectError) as caught:
        await peer.connection.open(timeout)
    assert peer.closed == []
    return caught.value


def test_certificates_are_checked(run: Run, pki: Pki) -> None:
    """An unknown authority and a wrong name are refused by default; the name can be configured."""

    async def main() -> None:
        async with serving(silent, pki.server) as port:
            error = await failure_of(Peer(port, tls_settings()))
            assert error.failure is ConnectFailure.CERTIFICATE
            error = await failure_of(Peer(port, pki.settings(), host="127.0.0.1"))
            assert error.failure is ConnectFailure.CERTIFICATE
            assert "127.0.0.1" in str(error)
            named = TlsSettings(pki.settings().context, server_name="localhost")
            peer = Peer(port, named, host="127.0.0.1")
            await peer.connection.open(5)
            await peer.connection.close(5)
            peer = Peer(port, tls_settings(verify=False))
            await peer.connection.open(5)
            await peer.connection.close(5)

    run(main())


def test_pinned_certificates(run: Run, pki: Pki) -> None:
    """Each pinned certificate is accepted whoever signed it, any other is refused."""

    async def main() -> None:
        async with serving(silent, pki.server) as port:
            peer = Peer(port, tls_settings(fingerprints=["11" * 32, pki.fingerprint.upper()]))
            await peer.connection.open(5)
            await peer.connection.close(5)
            error = await failure_of(Peer(port, tls_settings(fingerprints=["00" * 32, "11" * 32])))
            assert error.failure is ConnectFailure.CERTIFICATE
            assert "fingerprint" in str(error)

    run(main())


@pytest.mark.parametrize("fingerprint", ["", "00", "zz" * 32, "00" * 33])
def test_malformed_fingerprints_are_refused(fingerprint: str) -> None:
    """A pin that can match nothing is refused when configured."""
    with pytest.raises(ValueError):
        tls_settings(fingerprints=[fingerprint])


def test_plain_text_on_a_tls_port(run: Run, pki: Pki) -> None:
    """A server that speaks no TLS is told from one with a bad certificate."""

    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b":irc.test NOTICE * :*** Looking up your hostname\r\n")
        await silent(reader, writer)

    async def main() -> None:
        async with serving(banner) as port:
            error = await failure_of(Peer(port, pki.settings()))
            assert error.failure is ConnectFailure.TLS

    run(main())


def test_unfinished_handshakes_time_out(run: Run, pki: Pki) -> None:
    """A server that never answers the handshake is given up in time."""

    async def main() -> None:
        async with serving(silent) as port:
            error = await failure_of(Peer(port, pki.settings()), timeout=0.1)
            assert error.failure is ConnectFailure.TIMEOUT
            assert "secured" in str(error)

    run(main())


def test_server_gone_during_the_handshake(run: Run, pki: Pki) -> None:
    """A connection that ends within the handshake is a failed opening."""

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def main() -> None:
        async with serving(slam) as port:
            error = await failure_of(Peer(port, pki.settings()))
            assert error.failure is ConnectFailure.CLOSED

    run(main())


def test_openings_that_fail_in_words(run: Run) -> None:
    """Nobody listening, no such name, and an address that is not ours are told apart."""

    async def main() -> None:
        async with serving(silent) as port:
            pass
        assert (await failure_of(Peer(port, host="127.0.0.1"))).failure is ConnectFailure.REFUSED
        assert (await failure_of(Peer(port, host="no..name"))).failure is ConnectFailure.DNS
        foreign = Peer(port, host="127.0.0.1", route=Route("203.0.113.1"))
        assert (await failure_of(foreign)).failure is ConnectFailure.BIND
        other = Peer(port, host="127.0.0.1", route=Route("::1"))
        assert (await failure_of(other)).failure is ConnectFailure.DNS
        six = Peer(port, host="127.0.0.1", route=Route(family=socket.AF_INET6))
        error = await failure_of(six)
        assert (error.failure, "over IPv6" in str(error)) == (ConnectFailure.DNS, True)
        torn = Peer(port, host="127.0.0.1", route=Route("127.0.0.1", family=socket.AF_INET6))
        assert (await failure_of(torn)).failure is ConnectFailure.DNS

    run(main())


def test_own_port_is_known_before_connecting(run: Run) -> None:
    """An ident server learns our port in time, and the source address is used."""
    seen: list[tuple[str, int]] = []
    told: list[tuple[tuple[str, int], tuple[str, int]]] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername"))
        writer.write(b"PING x\r\n")
        await silent(reader, writer)

    async def main() -> None:
        async with serving(note) as port:
            peer = Peer(
                port,
                host="127.0.0.1",
                route=Route("127.0.0.2", bound=lambda ours, theirs: told.append((ours, theirs))),
            )
            await peer.connection.open(5)
            await peer.until(lambda: bool(peer.lines))
            assert told == [(seen[0], ("127.0.0.1", port))]
            assert seen[0][0] == "127.0.0.2"
            await peer.connection.close(5)

    run(main())


def test_all_addresses_of_a_name_are_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's preferred kind first, those of one kind in any order; each is tried once."""
    told: list[str] = []

    async def main() -> None:
        async with serving(silent) as port:
            loop = asyncio.get_running_loop()

            async def resolve(host: str, service: int, **more: Any) -> list[Any]:
                found: list[Any] = [(socket.AF_INET6, 1, 6, "", (f"::ffff:127.0.0.{n}", port, 0, 0)) for n in (7, 8, 7)]
                found += [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("127.0.0.3", "127.0.0.1")]
                return found

            class Loop:
                getaddrinfo = staticmethod(resolve)

            monkeypatch.setattr("bridges.irc.dialing.asyncio.get_running_loop", lambda: Overlay(loop, Loop))
            route = Route(bound=lambda ours, theirs: told.append(theirs[0]))
            peer = Peer(port, host="many.test", route=route)
            await peer.connection.open(10)
            monkeypatch.undo()
            assert sorted(told[:2]) == ["::ffff:127.0.0.7", "::ffff:127.0.0.8"]
            assert told[2:] in (["127.0.0.3", "127.0.0.1"], ["127.0.0.1"])
            await peer.connection.close(5)

    run(main())


class Overlay:
    """An event loop with some of its methods replaced."""

    def __init__(self, loop: Any, over: Any) -> None:
        self._loop = loop
        self._over = over

    def __getattr__(self, name: str) -> Any:
        return getattr(self._over, name, None) or getattr(self._loop, name)


def test_held_lines_survive_the_end(run: Run) -> None:
    """Lines read before a pause are delivered even when the connection ends first."""

    async def main() -> None:
        async with serving(silent) as port:
            peer = Peer(port)
            await peer.connection.open(5)
            peer.connection.pause_reading()
            peer.connection.data_received(b"PING a\r\nPING b\r\n")
            assert peer.lines == []
            peer.connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
            assert peer.lines == [b"PING a", b"PING b"]
            assert [str(error) for error in peer.closed] == [
                "the connection to localhost broke: Connection reset by peer"
            ]
            assert peer.connection._transport is not None
            peer.connection._transport.abort()

    run(main())
