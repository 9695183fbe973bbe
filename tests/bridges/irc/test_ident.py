"""The ident server: who asks, when, and what is answered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import NetworkId
from bridge_core.demo.ports import free_port
from bridges.irc.access import ident as idents
from bridges.irc.access.ident import IdentServer
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from tests.bridges.irc.fronts import Front, Reader, Writer
from tests.bridges.irc.rig import FakeHost, FakeInbox, StartRig, StartServer, eventually

HERE = "127.0.0.1"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[IdentServer]:
    """An ident server on a free port."""
    made = IdentServer(HERE, 0)
    await made.start()
    yield made
    await made.stop()


async def ask(port: int, question: bytes, *, host: str = HERE, source: str = HERE) -> bytes:
    """What an ident server answers; empty when it closes without a word."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
        writer.write(question)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def test_the_server_of_a_connection_is_told_its_user(server: IdentServer) -> None:
    """The one at the other end reads the user name; after the connection is gone nobody does."""
    key = server.claim((HERE, 40001), (HERE, 6697), "anna")
    assert await ask(server.port, b"40001, 6697\r\n") == b"40001, 6697 : USERID : UNIX : anna\r\n"
    assert await ask(server.port, b"40001,6697\n") == b"40001, 6697 : USERID : UNIX : anna\r\n"
    server.release(key)
    server.release(key)
    assert await ask(server.port, b"40001, 6697\r\n") == b"40001, 6697 : ERROR : NO-USER\r\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "source"),
    [
        ((HERE, 40001), (HERE, 6667), HERE),
        ((HERE, 40002), (HERE, 6697), HERE),
        (("127.0.0.9", 40001), (HERE, 6697), HERE),
        ((HERE, 40001), (HERE, 6697), "127.0.0.3"),
    ],
)
async def test_nobody_else_is_told_anything(
    server: IdentServer, ours: tuple[str, int], theirs: tuple[str, int], source: str
) -> None:
    """Another port, another one of our addresses, and above all another asker get no name."""
    server.claim(ours, theirs, "anna")
    assert await ask(server.port, b"40001, 6697\r\n", source=source) == b"40001, 6697 : ERROR : NO-USER\r\n"


async def test_a_connection_from_any_address_is_known_by_its_port(server: IdentServer) -> None:
    """Where the system chooses our address, the port is enough."""
    server.claim(("0.0.0.0", 40001), (f"::ffff:{HERE}", 6697), "anna")
    assert await ask(server.port, b"40001, 6697\r\n") == b"40001, 6697 : USERID : UNIX : anna\r\n"


@pytest.mark.parametrize(
    ("question", "answered"),
    [
        (b"\r\n", idents.INVALID),
        (b"0, 6697\r\n", idents.INVALID),
        (b"40001, 65536\r\n", idents.INVALID),
        (b"40001\r\n", idents.INVALID),
        (b"-1, 6697\r\n", idents.INVALID),
        (b"40001, 6697, 1\r\n", idents.INVALID),
        ("４0001, 6697\r\n".encode(), idents.INVALID),
        (b"\xff\xfe\0\r\n", idents.INVALID),
        (b"40001, 6697\r\n" * 50, b"40001, 6697 : USERID : UNIX : anna\r\n"),
        (b" " * 65 + b"40001, 6697\r\n", b""),
        (b"1" * 100_000, b""),
    ],
)
async def test_what_is_no_question(server: IdentServer, question: bytes, answered: bytes) -> None:
    """Nonsense is answered or cut off; one connection gets one answer."""
    server.claim((HERE, 40001), (HERE, 6697), "anna")
    assert await ask(server.port, question) == answered
    await eventually(lambda: not server.askers)


async def test_a_question_may_come_byte_by_byte(server: IdentServer) -> None:
    """However the network cuts it, it is one question with one answer."""
    server.claim((HERE, 40001), (HERE, 6697), "anna")
    asker = idents.Asker(server)
    wire = Wire()
    asker.connection_made(wire)
    for byte in b"40001, 6697\r\n40001, 6697\r\n":
        asker.data_received(bytes([byte]))
    assert wire.said == [b"40001, 6697 : USERID : UNIX : anna\r\n"]
    asker.connection_lost(None)


class Wire(asyncio.Transport):
    """A connection that remembers what is written."""

    def __init__(self) -> None:
        super().__init__({"sockname": (HERE, 113), "peername": (HERE, 50000)})
        self.said: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_askers_are_bounded_and_the_silent_are_cut_off(
    server: IdentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects and says nothing takes a place for a while only, and never more than all of them."""
    monkeypatch.setattr(idents, "_ASKERS_AT_MOST", 3)
    server.claim((HERE, 40001), (HERE, 6697), "anna")
    silent = [await asyncio.open_connection(HERE, server.port) for _ in range(3)]
    await eventually(lambda: len(server.askers) == 3)
    assert await ask(server.port, b"40001, 6697\r\n") == b""
    for asker in list(server.askers):
        asker.end()
    await eventually(lambda: not server.askers)
    monkeypatch.setattr(idents, "_PATIENCE", 0.05)
    silent.append(await asyncio.open_connection(HERE, server.port))
    for reader, writer in silent:
        assert await reader.read() == b""
        writer.close()
    assert (await ask(server.port, b"40001, 6697\r\n")).endswith(b"anna\r\n")


class Asking:
    """What a server does that asks at once who connects, before it reads a byte."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[bytes] = []

    async def meets(self, reader: Reader, writer: Writer) -> None:
        (peer, ours), (own, theirs) = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        self.answers.append(await ask(self.port, b"%d, %d\r\n" % (ours, theirs), host=peer, source=own))

    @property
    def names(self) -> list[str]:
        return [answer.decode().rpartition(": ")[2].strip() for answer in self.answers]


@pytest.mark.parametrize("more", [{}, {"addresses": {"prefix": "127.16.0.0/12"}}])
async def test_the_question_never_comes_too_early(rig: StartRig, serve: StartServer, more: dict[str, Any]) -> None:
    """A server that asks the moment it accepts is told each user's own name, whatever address they come from."""
    port = free_port()
    asking = Asking(port)
    server = await serve()
    front = Front(server.port or 0, meets=asking.meets)
    await front.listen()
    try:
        adapter = await rig(front.port, ident={"port": port}, username="bridge", **more)
        users = [f"@user{number}:hs.test" for number in range(10)]
        await asyncio.gather(*(adapter.puppet(user) for user in users))
        assert asking.names[0] == "bridge"
        assert sorted(asking.names[1:]) == sorted(f"user{number}" for number in range(10))
        await adapter.puppets[users[0]].disconnect()
        ident = adapter.connector._state.access._ident
        assert ident is not None
        assert sorted(ident._names.values()) == sorted(["bridge", *(f"user{number}" for number in range(1, 10))])
    finally:
        await front.stop()


async def test_networks_share_one_ident_server() -> None:
    """Two networks of a process answer on the one port there is; the last one to go closes it."""
    port = free_port()
    config = IrcConfig(server=HERE, tls=False, ident={"host": HERE, "port": port})
    hosts = FakeHost([]), FakeHost([])
    hosts[1].common = hosts[0].common
    networks = [IrcConnector(NetworkId(f"irc{number}"), config) for number in range(2)]
    for network, host in zip(networks, hosts, strict=True):
        await network.start(host, FakeInbox())  # type: ignore[arg-type]
    await networks[0].stop(0)
    await networks[0].stop(0)
    assert await ask(port, b"1, 1\r\n") == b"1, 1 : ERROR : NO-USER\r\n"
    await networks[1].stop(0)
    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"1, 1\r\n")


async def test_an_ident_port_in_use_stops_the_network_in_words() -> None:
    """Without the server that the network asks for there would be users nobody can tell apart."""
    taken = await asyncio.start_server(lambda reader, writer: None, HERE, 0)
    port = taken.sockets[0].getsockname()[1]
    network = IrcConnector(NetworkId("irc"), IrcConfig(server=HERE, tls=False, ident={"host": HERE, "port": port}))
    start: Callable[..., Any] = network.start
    with pytest.raises(BridgeError, match=f"cannot listen on port {port}: "):
        await start(FakeHost([]), FakeInbox())
    taken.close()
