"""The real servers that other tests stand on start, answer, and come back after being killed."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, ProcessDiedError, tcp_answers
from tests.conftest import SynapseFactory
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd
from tests.servers.postgres import Postgres
from tests.servers.server import MissingServerError, find_command

pytestmark = pytest.mark.server


@contextlib.asynccontextmanager
async def _irc(
    server: InspIRCd | NgIRCd, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = server.tls_port if context else server.port
    reader, writer = await asyncio.open_connection(server.host, port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _register(server: InspIRCd | NgIRCd, context: ssl.SSLContext | None = None) -> tuple[str, str]:
    """Registers a client and returns the server's capabilities and its welcome line."""
    async with asyncio.timeout(60), _irc(server, context) as (reader, writer):
        writer.write(b"CAP LS 302\r\nNICK probe\r\nUSER probe 0 * :probe\r\nCAP END\r\n")
        capabilities = ""
        async for raw in reader:
            line = raw.decode()
            if " LS " in line:
                capabilities += line
            if line.startswith("PING"):
                writer.write(line.replace("PING", "PONG", 1).encode())
            if " 001 " in line:
                return capabilities, line
    raise AssertionError("the server closed the connection")


async def test_irc_server_registers_plain_and_tls_and_restarts(ircd: InspIRCd | NgIRCd) -> None:
    """An IRC server registers clients over plain text and TLS, is gone when killed, and is back when started."""
    _, welcome = await _register(ircd)
    assert ircd.name in welcome
    _, welcome = await _register(ircd, ircd.certificate.client_context())
    assert ircd.name in welcome

    ircd.kill()
    assert not await tcp_answers(ircd.host, ircd.port)
    await ircd.start()
    await _register(ircd)
    await ircd.restart()
    await _register(ircd)


async def test_inspircd_offers_proof_of_delivery(inspircd: InspIRCd) -> None:
    """InspIRCd offers echo-message with labeled-response, and no longer when started without the module."""
    capabilities, _ = await _register(inspircd)
    assert {"echo-message", "labeled-response", "server-time"} <= set(capabilities.split())
    inspircd.without = ["ircv3_echomessage"]
    await inspircd.restart()
    capabilities, _ = await _register(inspircd)
    assert "echo-message" not in capabilities


async def test_ngircd_is_the_plain_path(ngircd: NgIRCd) -> None:
    """ngIRCd offers multi-prefix only, so a bridge has to prove delivery without an echo."""
    capabilities, _ = await _register(ngircd)
    assert capabilities.rstrip().endswith(":multi-prefix")


async def test_postgres_databases_are_separate_and_survive_a_kill(folder: Path) -> None:
    """A committed row of a durable PostgreSQL is there after SIGKILL, and only in its own database."""
    server = Postgres(folder / "postgres", durable=True)
    try:
        await server.start()
        first, second = await server.create_database(), await server.create_database()
        async with await psycopg.AsyncConnection.connect(first) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.kill()
        assert not await tcp_answers(server.host, server.port)
        await server.start()
        async with await psycopg.AsyncConnection.connect(first) as connection:
            rows = await (await connection.execute("SELECT answer FROM kept")).fetchall()
            assert rows == [(42,)]
        async with await psycopg.AsyncConnection.connect(second) as connection:
            rows = await (await connection.execute("SELECT to_regclass('kept')")).fetchall()
            assert rows == [(None,)]
    finally:
        server.kill()


async def test_postgres_url_is_an_empty_database(postgres_url: str) -> None:
    """The shared PostgreSQL gives a test an empty UTF-8 database."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rows = await (await connection.execute("SELECT getdatabaseencoding()")).fetchall()
        assert rows == [("UTF8",)]
        rows = await (await connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")).fetchall()
        assert rows == []


async def test_synapse_and_two_witnesses(synapse_factory: SynapseFactory) -> None:
    """Two raw clients talk through Synapse with every act of the witness, over a SIGKILL of the homeserver."""
    synapse = await synapse_factory()
    async with (
        MatrixClient(synapse.url, await synapse.register_user("alice", "pw")) as alice,
        MatrixClient(synapse.url, await synapse.register_user("bob", "pw")) as bob,
    ):
        room = await alice.create_room(name="witness", preset="private_chat")
        await alice.invite(room, bob.user_id)
        assert await bob.wait_for_invite(sender=alice.user_id) == room
        await bob.join(room)
        assert set(await alice.members(room)) == {"@alice:hs.test", "@bob:hs.test"}

        first = await alice.send_text(room, "one", html="<b>one</b>")
        assert (await bob.wait_for_message(room, "one", sender=alice.user_id))["event_id"] == first
        await bob.reply(room, first, "answer")
        await bob.react(room, first, "👍")
        await alice.edit(room, first, "uno")
        edit = await bob.wait_for(lambda event: "m.new_content" in event["content"])
        assert edit["content"]["m.new_content"]["body"] == "uno"
        await alice.redact(room, first, "enough")
        redaction = await bob.wait_for(lambda event: event["type"] == "m.room.redaction")
        assert redaction["content"]["redacts"] == first

        mxc = await alice.upload(b"\x89PNG bytes", "image/png", "a.png")
        assert await bob.download(mxc) == b"\x89PNG bytes"
        await alice.set_state(room, "m.room.topic", {"topic": "weather"})
        assert await bob.get_state(room, "m.room.topic") == {"topic": "weather"}
        assert await bob.get_state(room, "org.example.none") is None

        waiting = asyncio.ensure_future(bob.wait_for_message(room, "after the crash", timeout=60))
        synapse.kill()
        assert not synapse.running
        await synapse.start()
        await alice.send(room, {"msgtype": "m.text", "body": "after the crash"}, txn_id="same")
        await waiting

        await bob.leave(room)
        with pytest.raises(MatrixError) as refused:
            await bob.send_text(room, "too late")
        assert refused.value.errcode == "M_FORBIDDEN"


async def test_witness_fills_gaps(synapse_factory: SynapseFactory) -> None:
    """A witness that asks rarely still sees each of more events than one sync holds, in order and once."""
    synapse = await synapse_factory()
    token = await synapse.register_user("alice", "pw")
    async with MatrixClient(synapse.url, token) as writer, MatrixClient(synapse.url, token) as witness:
        room = await writer.create_room()
        await writer.send_text(room, "0")
        await witness.wait_for_message(room, "0")
        sent = [str(number) for number in range(1, 231)]
        for body in sent:
            await writer.send_text(room, body)
        await witness.wait_for_message(room, sent[-1])
        bodies = [event["content"]["body"] for event in witness.timeline(room) if event["type"] == "m.room.message"]
        assert bodies == ["0", *sent]
        told = [event["content"]["body"] for event in await writer.messages(room) if "body" in event["content"]]
        assert told == ["0", *sent]


async def test_a_server_that_dies_at_start_shows_its_log(tmp_path: Path) -> None:
    """A child that ends before it answers raises an error that holds its status and the end of its log."""
    child = ChildProcess(["/bin/sh", "-c", "echo the reason; exit 7"], log=tmp_path / "log")
    port = free_port()
    with pytest.raises(ProcessDiedError, match=r"status 7(.|\n)*the reason"):
        await child.start(lambda: tcp_answers("127.0.0.1", port))
    assert not child.running


async def test_a_server_that_does_not_answer_is_killed(tmp_path: Path) -> None:
    """A child that does not answer in its time is killed and reported; one that ignores SIGTERM is killed too."""
    child = ChildProcess(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], log=tmp_path / "log")

    async def never() -> bool:
        return False

    async def at_once() -> bool:
        return True

    with pytest.raises(ProcessDiedError, match="did not answer"):
        await child.start(never, timeout=0.2)
    assert not child.running
    await child.start(at_once)
    assert child.running
    await child.stop(timeout=0.3)
    assert not child.running


def test_a_missing_server_names_its_package() -> None:
    """A server that is not installed is an error that names the Debian package to install."""
    with pytest.raises(MissingServerError, match="apt-get install -y some-package"):
        find_command("no-such-server-here", "some-package")
