"""The program as an administrator meets it: init, check, run, probes, a second start, signals, on a real Synapse."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from bridge_core.config import load_config
from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, http_answers
from bridge_core.demo.synapse import Synapse
from tests.real import DOMAIN

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

ECHO = f"@_net_echo:{DOMAIN}"


async def command(*arguments: str) -> tuple[int, str]:
    """Runs `matrix-bridge ...` to its end; exit status, and what it said."""
    program = [sys.executable, "-m", "bridge_core.cli.main", *arguments]
    process = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode() + err.decode()


@dataclass
class Site:
    """A Synapse that was given what `init` wrote, and a user."""

    synapse: Synapse
    made: Path
    port: int
    health: int
    alice: MatrixClient
    halls: list[str]

    def copy(self, folder: Path, **sections: object) -> Path:
        """The two files of `init` in another folder, with sections of the configuration changed."""
        folder.mkdir(exist_ok=True)
        shutil.copy(self.made / "registration.yaml", folder)
        yaml = YAML()
        with (self.made / "config.yaml").open() as file:
            config = yaml.load(file)
        for name, section in sections.items():
            config.setdefault(name, {})
            config[name] = {**(config[name] or {}), **section} if isinstance(section, dict) else section
        with (folder / "config.yaml").open("w") as file:
            yaml.dump(config, file)
        (folder / "config.yaml").chmod(0o600)
        return folder / "config.yaml"

    async def get(self, path: str) -> tuple[int, str]:
        """What the port for probes answers."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.health}{path}") as response:
            return response.status, await response.text()

    @asynccontextmanager
    async def running(self, config: Path) -> AsyncIterator[ChildProcess]:
        """`matrix-bridge run`, ready; stopped in good order at the end, with status 0."""
        child = ChildProcess(
            [sys.executable, "-m", "bridge_core.cli.main", "run", "-c", str(config)],
            log=config.parent.parent / f"{config.parent.name}.log",
        )
        ready = f"http://127.0.0.1:{self.health}/health/ready"
        await child.start(lambda: http_answers(ready))
        try:
            yield child
            assert await child.stop(timeout=60) == 0, child.tail()
        finally:
            child.kill()

    async def talk(self, room: str = "") -> str:
        """Something that alice says comes back, in a new room unless one is given; the room."""
        # A new database knows no rooms of earlier bridges.
        room = room or await self.alice.join(f"#_net_{self.halls.pop()}:{DOMAIN}")
        said = f"hello {os.urandom(4).hex()}"
        await self.alice.send_text(room, said)
        await self.alice.wait_for_message(room, said, sender=ECHO)
        return room


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Made by `init` and a Synapse that read the registration at its start."""
    folder, port, health, home = tmp_path_factory.mktemp("site"), free_port(), free_port(), free_port()
    made = folder / "made"
    made.mkdir()
    flags = ["--homeserver", f"http://127.0.0.1:{home}", "--domain", DOMAIN, "--admin", f"@admin:{DOMAIN}"]
    halls = [f"hall{number}" for number in range(12)]
    settings = [
        f"health.listen=127.0.0.1:{health}",
        f"networks.net.portals=[{', '.join(halls)}]",
        "logging.level=debug",
    ]
    status, said = await command(
        *("init", "-c", str(made / "config.yaml"), "--no-input", "--network", "net=echo", *flags),
        *("--listen", f"127.0.0.1:{port}", *(flag for one in settings for flag in ("--set", one))),
    )
    assert status == 0, said
    assert f"{made / 'registration.yaml'}" in said
    synapse = Synapse(folder / "synapse", port=home, registrations=[made / "registration.yaml"])
    await synapse.start()
    try:
        async with MatrixClient(synapse.url, await synapse.register_user("alice", "pw")) as alice:
            yield Site(synapse, made, port, health, alice, halls)
    finally:
        synapse.kill()


async def test_what_init_wrote_works(site: Site, tmp_path: Path) -> None:
    """Synapse takes the registration, `check` finds nothing wrong, `run` bridges, and `check` passes beside it."""
    config = site.copy(tmp_path / "bridge")
    status, said = await command("check", "-c", str(config))
    assert "ok: the homeserver reaches the bridge's address with the right token" in said
    assert f"ok: the homeserver knows the bridge as @bridgebot-sender:{DOMAIN}" in said
    assert (status, "Nothing to complain about." in said) == (0, True), said
    async with site.running(config):
        await site.talk()
        status, said = await command("check", "-c", str(config))
        assert "is in use, presumably by the running bridge" in said
        assert status == 0, said


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("as_token", "does not know the bridge's as_token (M_UNKNOWN_TOKEN)"),
        ("hs_token", "shows another hs_token than the registration file has"),
        ("listen", "cannot connect to the url of its registration"),
        ("homeserver", "cannot be reached"),
        ("sender", "but appservice.sender is another"),
        ("bot", "namespaces.users: lacks @another"),
    ],
)
async def test_check_says_what_is_wrong(site: Site, tmp_path: Path, key: str, words: str) -> None:
    """Each mistake is found on the real homeserver, named, and makes the status 1."""
    mistakes: dict[str, dict[str, dict[str, str]]] = {
        "listen": {"appservice": {"listen": f"127.0.0.1:{free_port()}"}},
        "homeserver": {"homeserver": {"address": f"http://127.0.0.1:{free_port()}"}},
        "sender": {"appservice": {"sender": "another"}},
        "bot": {"appservice": {"bot": "another"}},
    }
    config = site.copy(tmp_path / "bridge", **mistakes.get(key, {}))
    if key.endswith("token"):
        path = config.with_name("registration.yaml")
        path.write_text(re.sub(rf"^{key}: .*$", f"{key}: {'0123456789abcdef' * 4}", path.read_text(), flags=re.M))
    status, said = await command("check", "-c", str(config))
    assert words in said, said
    assert status == 1


async def test_a_mistake_keeps_it_from_starting(site: Site, tmp_path: Path) -> None:
    """`run` with mistakes in its configuration ends at once with status 1 and names them all."""
    config = site.copy(tmp_path / "bridge", media={"max_size": "huge"}, homeserver={"adress": "x"})
    status, said = await command("run", "-c", str(config))
    assert status == 1
    assert "media.max_size" in said and "did you mean address?" in said
    assert "Traceback" not in said


async def test_its_folder_may_be_read_only(site: Site, tmp_path: Path) -> None:
    """With the database elsewhere the bridge writes nothing beside its configuration."""
    config = site.copy(tmp_path / "bridge", database={"url": f"sqlite:///{tmp_path}/data/bridge.db"})
    (tmp_path / "data").mkdir()
    for path in config.parent.iterdir():
        path.chmod(0o440)
    config.parent.chmod(0o550)

    def contents() -> dict[str, tuple[str, int]]:
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in config.parent.iterdir()
        }

    before = contents()
    async with site.running(config):
        await site.talk()
    assert contents() == before
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"bridge.db", "spool"}
    config.parent.chmod(0o750)


async def test_a_configured_room_is_plumbed(site: Site, tmp_path: Path) -> None:
    """A portal with a room of its own in the configuration: the bot joins it at the start and bridges it."""
    room = await site.alice.create_room(preset="public_chat", room_alias_name="square", name="The square")
    portals = [{"chat": "square", "room": f"#square:{DOMAIN}"}]
    config = site.copy(tmp_path / "bridge", networks={"net": {"type": "echo", "portals": portals}})
    async with site.running(config):
        await site.alice.wait_for(lambda e: e["room_id"] == room and e.get("state_key") == f"@bridgebot:{DOMAIN}")
        assert await site.talk(room) == room
        assert await site.alice.get_state(room, "m.room.name") == {"name": "The square"}


async def test_probes_and_counters(site: Site, tmp_path: Path) -> None:
    """Live and ready answer 200 with their checks; counters grow with what crosses; secrets appear nowhere."""
    config = site.copy(tmp_path / "bridge")
    loaded = load_config(config, {})
    async with site.running(config) as child:
        status, body = await site.get("/health/live")
        assert (status, json.loads(body)["ok"]) == (200, True)
        status, body = await site.get("/health/ready")
        assert (status, json.loads(body)["reasons"]) == (200, {})
        assert {"database", "homeserver", "network net"} <= set(json.loads(body)["checks"])
        room = await site.talk()

        async def counted() -> dict[str, float]:
            lines = (await site.get("/metrics"))[1].splitlines()
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}

        wanted = {
            'matrix_bridge_journal_delivered{direction="to_network",network="net"}': 1.0,
            'matrix_bridge_journal_delivered{direction="to_matrix",network="net"}': 1.0,
            "matrix_bridge_journal_pending": 0.0,
        }
        async with asyncio.timeout(60):
            while not wanted.items() <= (await counted()).items():
                await asyncio.sleep(0.05)
        assert (await site.get("/nothing"))[0] == 404
        site.synapse.kill()
        async with asyncio.timeout(60):
            await site.synapse.start()
        await site.talk(room)
        log = child.log.read_text()
        assert not [token for token in loaded.tokens() if token in log]
        assert loaded.config.journal.secret.get_secret_value() not in log


async def test_a_second_process_is_refused(site: Site, tmp_path: Path) -> None:
    """A second bridge on the same database ends with status 1 and says who owns it; the first goes on."""
    config = site.copy(tmp_path / "bridge")
    other = site.copy(
        tmp_path / "other",
        database={"url": f"sqlite:///{config.parent}/bridge.db"},
        appservice={"listen": f"127.0.0.1:{free_port()}"},
        health={"listen": f"127.0.0.1:{free_port()}"},
    )
    async with site.running(config) as child:
        status, said = await command("run", "-c", str(other))
        assert status == 1
        assert "owns this database; stop it first" in said and str(child.pid) in said
        assert "Traceback" not in said
        await site.talk()
    status, said = await command("db", "status", "-c", str(config))
    assert status == 0, said


async def test_only_the_homeserver_is_let_in(site: Site, tmp_path: Path) -> None:
    """Old paths work with the token, in header or query; without it nothing is taken, and nothing of it is bridged."""
    config = site.copy(tmp_path / "bridge")
    _, hs_token = load_config(config, {}).tokens()
    address, right = f"http://127.0.0.1:{site.port}", {"Authorization": f"Bearer {hs_token}"}
    forged: dict[str, object] = {
        "event_id": "$forged",
        "sender": site.alice.user_id,
        "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "forged"},
        "origin_server_ts": 1,
    }
    async with site.running(config), aiohttp.ClientSession() as session:
        forged["room_id"] = room = await site.talk()

        async def put(path: str, headers: dict[str, str] | None = None, events: object = ()) -> tuple[int, str]:
            async with session.put(address + path, json={"events": list(events)}, headers=headers) as response:  # type: ignore[call-overload]
                return response.status, (await response.json()).get("errcode", "")

        for path in ("/_matrix/app/v1/transactions/x1", "/transactions/x2"):
            assert await put(path, None, [forged]) == (401, "M_MISSING_TOKEN")
            assert await put(path, {"Authorization": "Bearer wrong"}, [forged]) == (403, "M_FORBIDDEN")
            assert await put(f"{path}?access_token=wrong", right, [forged]) == (403, "M_FORBIDDEN")
            assert await put(path, right) == (200, "")
            assert await put(f"{path}0?access_token={hs_token}") == (200, "")
        assert await put("/_matrix/app/v1/nothing", right) == (404, "M_UNRECOGNIZED")
        assert await put("/_matrix/app/v1/ping", right) == (405, "M_UNRECOGNIZED")
        for path in ("/users/@_net_echo:", "/_matrix/app/v1/users/@_net_echo:"):
            async with session.get(address + path + DOMAIN, headers=right) as response:
                assert response.status == 200, await response.text()
        await site.talk(room)
    said = [event["content"].get("body") for event in await site.alice.messages(room)]
    assert "forged" not in said
    config = site.copy(tmp_path / "strict", appservice={"legacy_routes": False})
    async with site.running(config), aiohttp.ClientSession() as session:
        assert (await session.put(f"{address}/transactions/x3", json={"events": []}, headers=right)).status == 404
        url = f"{address}/_matrix/app/v1/transactions/x4?access_token={hs_token}"
        assert (await session.put(url, json={"events": []})).status == 401


async def test_it_listens_on_a_unix_socket(site: Site, folder: Path) -> None:
    """Behind something that passes requests on to its socket, as a proxy does, the bridge works the same."""
    path = folder / "bridge.sock"
    config = site.copy(
        folder / "bridge",
        appservice={"listen": f"unix:{path}", "url": f"http://127.0.0.1:{site.port}"},
    )
    closing: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        closing.update((writer, back))
        await asyncio.gather(copied(reader, back), copied(there, writer))

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(pass_on, "127.0.0.1", site.port)
    try:
        async with site.running(config):
            assert path.stat().st_mode & 0o777 == 0o660
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
                response = await session.put("http://bridge/_matrix/app/v1/transactions/1", json={})
                assert response.status == 401
            await site.talk()
        assert not path.exists()
    finally:
        proxy.close()
        for writer in closing:
            writer.close()
