"""`matrix-bridge check`."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bridge_core.api.info import Advice
from bridge_core.cli.checks.homeserver import check_homeserver
from bridge_core.cli.checks.report import Report
from bridge_core.cli.main import main
from bridge_core.config import LoadedConfig, load_config
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.errors import SecretError
from bridge_core.store.seal import Seal
from registration import load


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a fresh configuration and registration."""
    flags = ["--homeserver", f"http://127.0.0.1:{_free_port()}", "--domain", "example.org", "--no-input"]
    network = ["--network", "libera=irc", "--set", "networks.libera.server=x"]
    assert (
        main(["init", "-c", str(tmp_path / "config.yaml"), "--listen", f"127.0.0.1:{_free_port()}", *flags, *network])
        == 0
    )
    capsys.readouterr()
    return tmp_path


def _check(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = main(["check", "-c", str(folder / "config.yaml"), *more])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_fresh_files_have_no_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What init wrote passes the offline check; only what networks expect of an admin is left to do."""
    assert ((found := _check(folder, capsys, "--offline"))[0], "0 errors, 2 warnings" in found[1]) == (0, True)


def test_who_is_named_without_permission_is_told_of(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Matrix user of a network's settings who may do nothing is a warning; what keeps it from starting an error."""

    class Named:
        """A connector that names two users."""

        def named(self) -> dict[str, str]:
            return {"@alice:example.org": "boxes.a.members", "@eve:elsewhere.org": "boxes.a.members"}

        def advise(self) -> list[Advice]:
            return [Advice("a file is away", "Bring it.", grave=True)]

    monkeypatch.setattr("bridge_core.cli.check.load_networks", lambda loaded, further: ({}, {"libera": Named()}))
    code, said = _check(folder, capsys, "--offline")
    assert "networks.libera.boxes.a.members: @eve:elsewhere.org has no permission" in said
    assert "@alice:example.org" not in said
    assert code == 1 and "a file is away" in said


def test_the_servers_of_networks_are_tried(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What keeps a network from its server is an error with what to do, unless only files are looked at."""
    port = _free_port()
    _edit(folder / "config.yaml", "server: x", f"server: 127.0.0.1\n    port: {port}")
    code, out = _check(folder, capsys)
    assert code == 1 and f"refuses connections on port {port}" in out and "See `server` and `port`" in out
    assert "refuses" not in _check(folder, capsys, "--offline")[1]


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("registration.yaml", "id: matrix-bridge", "id: other", "id: is other, but appservice.id is matrix-bridge"),
        ("registration.yaml", "sender_localpart: ", "sender_localpart: b", "but appservice.sender is bridgebot-sender"),
        ("config.yaml", "sender: bridgebot-sender", "#", "is bridgebot-sender, but appservice.bot is bridgebot"),
        ("config.yaml", "sender: bridgebot-sender", "#", "Set appservice.sender to bridgebot-sender, or"),
        ("registration.yaml", "@_libera_", "@_oftc_", "lacks @_libera_.*:example\\.org"),
        ("registration.yaml", "#_libera_", "#_oftc_", "namespaces.aliases: lacks #_libera_"),
        ("registration.yaml", "exclusive: true", "exclusive: false", "is not exclusive"),
        ("registration.yaml", "receive_ephemeral: true", "receive_ephemeral: false", "typing and receipts do not"),
        ("registration.yaml", "- irc", "- icq", "protocols: does not name irc"),
        ("registration.yaml", "url: http", "url: https", "but the configuration means http://"),
        ("registration.yaml", "as_token: ", "as_token: x # ", "as_token: is shorter than 32"),
        ("registration.yaml", "hs_token: ", "hs_tokn: ", "hs_token: is missing"),
        ("config.yaml", "server: x", "sevrer: x", "networks.libera.sevrer: unknown key, did you mean server?"),
        ("config.yaml", "type: irc", "type: broken", "made.up.module:Missing cannot be loaded"),
        ("config.yaml", "#level: info", "level: loud", "logging.level: 'loud' is not allowed"),
        ("config.yaml", "registration: registration.yaml", "registration: none.yaml", "none.yaml: does not exist"),
    ],
)
def test_mismatches_are_found(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, words: str
) -> None:
    """Each way in which the files disagree is named with what to do; errors make the exit code 1."""
    _edit(folder / name, old, new)
    code, out = _check(folder, capsys, "--offline")

    assert words in out
    assert int("error: " in out or "is not allowed" in out) == code


@pytest.mark.parametrize(("mode", "level", "status"), [("appservice", "error", 1), ("auto", "warning", 0)])
def test_encryption_asks_for_more_of_the_registration(
    folder: Path, capsys: pytest.CaptureFixture[str], mode: str, level: str, status: int
) -> None:
    """Where encryption wants keys with transactions and the registration has none of it, each flag is named."""
    _edit(folder / "config.yaml", '#mode: "off"', f"mode: {mode}")
    _edit(folder / "registration.yaml", "receive_ephemeral: true", "receive_ephemeral: false")
    code, out = _check(folder, capsys, "--offline")
    assert code == status
    assert f"{level}: registration.yaml: org.matrix.msc3202: is not true" in out
    assert f"{level}: registration.yaml: receive_ephemeral: is not true" in out
    assert "io.element.msc4190: is not true" in out
    # One advice mends all of it, and is given once; nothing above says that all is well.
    assert out.count("init --only-registration") == 1
    assert out.count("receive_ephemeral") == 1 and "typing or receipts" in out
    assert "fits the configuration" not in out
    assert ("0 errors, 5 warnings" if level == "warning" else "2 errors, 3 warnings") in out  # two are of the network


def test_who_asks_for_keys_needs_none_with_transactions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In sync mode nothing of the registration is missing but what lets the bridge make devices."""
    _edit(folder / "config.yaml", '#mode: "off"', "mode: sync")
    code, out = _check(folder, capsys, "--offline")
    assert code == 0
    assert "msc3202" not in out and "io.element.msc4190: is not true" in out


def test_init_writes_what_encryption_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new configuration with encryption gets a registration that fits it."""
    arguments = ["--homeserver", "http://127.0.0.1:1", "--domain", "example.org", "--admin", "@a:example.org"]
    new = folder / "new"
    new.mkdir()
    more = ["--network", "libera=irc", "--set", "networks.libera.server=x", "--set", "encryption.mode=auto"]
    assert main(["init", "--no-input", "-c", str(new / "config.yaml"), *arguments, *more]) == 0
    found = load(new / "registration.yaml")
    assert (found.msc3202, found.msc4190, found.ephemeral) == (True, True, True)


def test_world_readable_secrets_are_pointed_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file everybody can read is a warning with the command that mends it; for the group it is fine."""
    (folder / "config.yaml").chmod(0o644)
    (folder / "registration.yaml").chmod(0o640)
    code, out = _check(folder, capsys, "--offline")

    assert (code, out.count("warning:")) == (0, 3)  # two are of the network
    assert f"chmod 640 {folder}/config.yaml" in out


def test_other_bridges_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second bridge's registration that claims the same names is an error."""
    other = folder / "other.yaml"
    other.write_text((folder / "registration.yaml").read_text())
    code, out = _check(folder, capsys, "--offline", "--other", str(other))

    assert code == 1
    assert "overlap, and both are exclusive" in out


def test_an_unreachable_homeserver_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nobody at the address, the check says so and still looks at the database."""
    code, out = _check(folder, capsys)

    assert code == 1
    assert re.search(r"homeserver\.address .*: cannot be reached", out)
    assert "bridge.db will be created" in out


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///none/bridge.db", "none does not exist"),
        ("sqlite:///registration.yaml", "cannot be opened: file is not a database"),
        ("postgresql://u:hunter2@127.0.0.1:1/x", "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_used_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str], url: str, words: str
) -> None:
    """A missing folder, a foreign file and an unreachable server are told apart, without the password."""
    _edit(folder / "config.yaml", "#url: sqlite:///bridge.db", f"url: {url}")
    code, out = _check(folder, capsys)

    assert code == 1
    assert words in out
    assert "hunter2" not in out


async def _make_database(url: str, secret: str) -> None:
    database = Database(DatabaseSettings(url), Seal(secret))
    await database.start()
    await database.stop()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def test_a_secret_that_does_not_fit_the_database_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, kind: str
) -> None:
    """A database sealed with another secret is found before the bridge refuses to start; its own secret is fine."""
    url = f"sqlite:///{folder / 'bridge.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    loaded = load_config(folder / "config.yaml", {})
    secret = loaded.config.journal.secret.get_secret_value()
    _edit(folder / "config.yaml", "#url: sqlite:///bridge.db", f"url: {url}")
    asyncio.run(_make_database(url, secret))
    assert "journal.secret" not in _check(folder, capsys)[1]
    _edit(folder / "config.yaml", secret, "another-" + secret)
    code, out = _check(folder, capsys)
    assert code == 1
    assert "the bridge will not start" in out
    assert secret not in out
    if kind == "sqlite":
        with pytest.raises(SecretError, match="keys of encrypted rooms"):
            asyncio.run(_make_database(url, "another-" + secret))


class _Homeserver:
    """Answers versions, whoami and ping as Synapse does; pings the bridge for real."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.registration = load(loaded.registration_path)
        self.user_id = "@bridgebot-sender:example.org"
        self.can_ping = True

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/_matrix/client/versions":
            return web.json_response({"versions": ["v1.15"]})
        if request.headers.get("Authorization") != f"Bearer {self.registration.as_token}":
            return web.json_response({"errcode": "M_UNKNOWN_TOKEN"}, status=401)
        if request.path.endswith("/whoami"):
            return web.json_response({"user_id": self.user_id})
        if not self.can_ping:
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        return await self._ping()

    async def _ping(self) -> web.Response:
        if self.registration.url is None:
            return web.json_response({"errcode": "M_URL_NOT_SET"}, status=400)
        headers = {"Authorization": f"Bearer {self.registration.hs_token}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{self.registration.url}/_matrix/app/v1/ping", json={}) as reply,
            ):
                if reply.status == 200:
                    return web.json_response({"duration_ms": 1})
                return web.json_response({"errcode": "M_BAD_STATUS", "status": reply.status}, status=502)
        except aiohttp.ClientError:
            return web.json_response({"errcode": "M_CONNECTION_FAILED"}, status=502)


@pytest.fixture(name="loaded")
def _loaded(folder: Path) -> LoadedConfig:
    return load_config(folder / "config.yaml", {})


@pytest.fixture(name="homeserver")
async def _homeserver(loaded: LoadedConfig) -> AsyncIterator[_Homeserver]:
    """The homeserver, running at the configured address."""
    homeserver = _Homeserver(loaded)
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", homeserver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(loaded.config.homeserver.address.rpartition(":")[2])).start()
    yield homeserver
    await runner.cleanup()


async def _report(loaded: LoadedConfig) -> Report:
    report = Report()
    await check_homeserver(loaded, loaded.tokens(), report)
    return report


async def test_both_directions_are_tried(loaded: LoadedConfig, homeserver: _Homeserver) -> None:
    """The homeserver knows the token, and its ping reaches the bridge's address with the right token."""
    report = await _report(loaded)

    assert report.findings == []
    assert any("reaches the bridge" in text for text in report.fine)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"as_token": "y"}, "does not know the bridge's as_token (M_UNKNOWN_TOKEN)"),
        ({"hs_token": "y"}, "shows another hs_token"),
        ({"url": None}, "is null"),
        ({"url": "http://127.0.0.1:1"}, "cannot connect"),
    ],
)
async def test_what_the_homeserver_has_loaded_is_compared(
    loaded: LoadedConfig, homeserver: _Homeserver, changes: dict[str, str | None], words: str
) -> None:
    """A registration that was not loaded, is outdated, or cannot be reached is told apart."""
    homeserver.registration = homeserver.registration.model_copy(update=changes)
    report = await _report(loaded)

    assert report.errors == 1
    assert words in str(report.findings[0])


async def test_a_wrong_name_of_the_homeserver_is_found(loaded: LoadedConfig, homeserver: _Homeserver) -> None:
    """When the homeserver calls the bot otherwise, domain or bot are wrong."""
    homeserver.user_id = "@bridgebot:other.org"

    assert "takes the bridge for @bridgebot:other.org" in str((await _report(loaded)).findings[0])


async def test_a_homeserver_without_ping_is_a_warning(loaded: LoadedConfig, homeserver: _Homeserver) -> None:
    """An old homeserver is no error, but it is said that the way back was not tried."""
    homeserver.can_ping = False
    report = await _report(loaded)

    assert (report.errors, len(report.findings)) == (0, 1)


async def test_a_running_bridge_answers_itself(loaded: LoadedConfig, homeserver: _Homeserver) -> None:
    """When the port is taken, the ping goes to whoever holds it; something else there is an error."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    listen = loaded.config.appservice.listen
    await web.TCPSite(runner, listen.host, listen.port).start()
    try:
        report = await _report(loaded)
    finally:
        await runner.cleanup()

    assert any("is in use" in text for text in report.fine)
    assert "something else than the bridge answers" in str(report.findings[0])
