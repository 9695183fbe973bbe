"""Whether homeserver and bridge reach and know each other."""

from __future__ import annotations

import asyncio
import errno
import hmac
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from bridge_core.cli.checks.encryption import Brought, check_encryption
from bridge_core.cli.checks.report import Report
from bridge_core.config.load import LoadedConfig
from bridge_core.config.types import Listen

_TIMEOUT = aiohttp.ClientTimeout(total=15)  # Synapse itself gives a ping up to 10 s
_RESTART = "Restart the homeserver, which reads registration files at start only."
_MAX_REPLY = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A homeserver's answer."""

    status: int
    body: dict[str, Any]

    @property
    def errcode(self) -> str:
        """Matrix error code; empty when there is none."""
        return str(self.body.get("errcode", ""))


async def check_homeserver(
    loaded: LoadedConfig, tokens: tuple[str, str] | None, report: Report, *, asks: bool = True
) -> None:
    """Ask for its versions, who the token is, and for a ping. Takes at most about a minute.

    `asks`: the registration asks for keys with transactions.
    """
    address = loaded.config.homeserver.address
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        try:
            versions = await _request(session, "GET", f"{address}/_matrix/client/versions", None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            report.error(
                f"homeserver.address ({address})",
                f"cannot be reached: {str(error) or type(error).__name__}",
                "See that the homeserver runs and that the address is that of its client API.",
            )
            return
        if versions.status != 200 or "versions" not in versions.body:
            report.error(
                f"homeserver.address ({address})",
                f"does not answer like a homeserver (HTTP {versions.status})",
                "Give the address of the client API, without a path.",
            )
            return
        report.ok(f"the homeserver answers at {address}")
        if tokens is None:
            return
        try:
            if await _check_token(session, loaded, tokens[0], report):
                await _check_ping(session, loaded, tokens, report, asks=asks)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            words = str(error) or type(error).__name__
            report.error(f"homeserver.address ({address})", f"stopped answering: {words}", "Try again.")


async def _request(
    session: aiohttp.ClientSession, method: str, url: str | URL, token: str | None, **more: Any
) -> Reply:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.request(method, url, headers=headers, allow_redirects=False, **more) as response:
        raw = await response.content.read(_MAX_REPLY)
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        return Reply(response.status, body if isinstance(body, dict) else {})


async def _check_token(session: aiohttp.ClientSession, loaded: LoadedConfig, as_token: str, report: Report) -> bool:
    config = loaded.config
    reply = await _request(session, "GET", f"{config.homeserver.address}/_matrix/client/v3/account/whoami", as_token)
    if reply.status in (401, 403):
        report.error(
            "homeserver",
            f"does not know the bridge's as_token ({reply.errcode or reply.status})",
            f"List {loaded.registration_path} under app_service_config_files. {_RESTART}",
        )
        return False
    user = str(reply.body.get("user_id", ""))
    expected = f"@{config.appservice.sender or config.appservice.bot}:{config.homeserver.domain}"
    if reply.status != 200 or not user:
        report.error("homeserver", f"answers whoami with HTTP {reply.status} {reply.errcode}", "See its log.")
        return False
    if user != expected:
        report.error(
            "homeserver.domain, appservice.bot or sender",
            f"the homeserver takes the bridge for {user}, the configuration says {expected}",
            f"Correct these, or the registration. {_RESTART}",
        )
        return False
    report.ok(f"the homeserver knows the bridge as {user}")
    return True


class _Probe:
    """Answers the homeserver's ping in place of the bridge, and takes nothing that is the bridge's."""

    def __init__(self, hs_token: str) -> None:
        self._hs_token = hs_token
        self.brought = Brought()
        self.pinged = False
        self.wrong_token = False

    async def handle(self, request: web.Request) -> web.Response:
        if request.path != "/_matrix/app/v1/ping":
            # Whatever else arrives is kept by the homeserver for the bridge.
            if "/transactions/" in request.path and await self._look(request):
                return web.json_response({})
            return web.json_response({"errcode": "M_UNKNOWN", "error": "being checked"}, status=503)
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._hs_token.encode()):
            self.wrong_token = True
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "wrong token"}, status=403)
        self.pinged = True
        return web.json_response({})

    async def _look(self, request: web.Request) -> bool:
        """Whether a transaction holds nothing that is the bridge's."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            body = json.loads(await request.text())
        except ValueError:
            return False
        if not isinstance(body, dict) or not hmac.compare_digest(given.encode(), self._hs_token.encode()):
            return False
        return self.brought.look(body)


async def _check_ping(
    session: aiohttp.ClientSession, loaded: LoadedConfig, tokens: tuple[str, str], report: Report, *, asks: bool
) -> None:
    config = loaded.config
    probe = _Probe(tokens[1])
    runner = await _listen(probe, config.appservice.listen, report)
    if runner is None:
        return
    try:
        path = f"/_matrix/client/v1/appservice/{config.appservice.id}/ping"
        url = config.homeserver.address + path
        reply = await _request(session, "POST", url, tokens[0], json={"transaction_id": "check"})
        there = probe if reply.status == 200 else None
        await _check_encryption(session, loaded, tokens[0], there, report, asks=asks)
    finally:
        await runner.cleanup()
    if reply.status == 200:
        report.ok("the homeserver reaches the bridge's address with the right token")
        return
    what, advice = _ping_words(reply, probe, loaded)
    (report.warning if reply.status == 404 else report.error)("ping from the homeserver", what, advice)


async def _check_encryption(
    session: aiohttp.ClientSession,
    loaded: LoadedConfig,
    as_token: str,
    probe: _Probe | None,
    report: Report,
    *,
    asks: bool,
) -> None:
    async def ask(method: str, path: str, **more: Any) -> Reply:
        url = URL(f"{loaded.config.homeserver.address}/_matrix/client/v3/{path}", encoded=True)
        return await _request(session, method, url, as_token, **more)

    # Where the running bridge has answered the ping, it gets the transactions too.
    listening = probe is not None and probe.pinged
    brought = probe.brought if probe is not None and listening else None
    await check_encryption(ask, loaded, brought, report, asks=asks)


async def _listen(probe: _Probe, listen: Listen, report: Report) -> web.AppRunner | None:
    """Listen where the bridge will; when it runs already, it answers the ping itself."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", probe.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    if listen.path is not None:
        return runner  # what connects a Unix socket to the homeserver cannot be tried from here
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            await runner.cleanup()
            words = error.strerror or str(error)
            report.error(f"appservice.listen ({listen})", f"cannot be listened on: {words}", "Choose another.")
            return None
        report.ok(f"{listen} is in use, presumably by the running bridge")
    return runner


def _ping_words(reply: Reply, probe: _Probe, loaded: LoadedConfig) -> tuple[str, str]:
    """What a failed ping means (Application Service API, `POST /appservice/{id}/ping`)."""
    if probe.wrong_token:
        return (
            "the homeserver shows another hs_token than the registration file has",
            f"The file was changed since the homeserver read it. {_RESTART}",
        )
    if reply.status == 404:
        return "the homeserver cannot ping (before Matrix v1.7)", "Nothing to do; reaching the bridge was not checked."
    where = "the url of its registration"
    words = {
        "M_URL_NOT_SET": (f"the homeserver has no url for the bridge: {where} is null", f"Set url. {_RESTART}"),
        "M_FORBIDDEN": ("the id does not belong to the token", f"Compare id in both files. {_RESTART}"),
        "M_CONNECTION_FAILED": (
            f"the homeserver cannot connect to {where}",
            "See appservice.listen and appservice.url; inside containers 127.0.0.1 is the container itself.",
        ),
        "M_CONNECTION_TIMEOUT": (f"the homeserver got no answer from {where} in time", "See the firewall between."),
        "M_BAD_STATUS": (
            f"something else than the bridge answers at {where} (HTTP {reply.body.get('status', '?')})",
            f"See appservice.listen ({loaded.config.appservice.listen}) and proxies between.",
        ),
    }
    default = (f"failed with HTTP {reply.status} {reply.errcode}", "See the homeserver's log.")
    return words.get(reply.errcode, default)


def run_check(loaded: LoadedConfig, tokens: tuple[str, str] | None, report: Report, *, asks: bool) -> None:
    """`check_homeserver` for callers without a loop."""
    asyncio.run(check_homeserver(loaded, tokens, report, asks=asks))
