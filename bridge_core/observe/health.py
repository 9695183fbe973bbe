"""Is the bridge alive, and can it do its work: probes and metrics on a port of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from aiohttp import web

from bridge_core.observe.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], str | None]
"""Why a component cannot do its work now, or None when it can. Must not block."""


class Health:
    """The named checks of a bridge; components add theirs when they are built."""

    def __init__(self) -> None:
        self._ready: dict[str, Check] = {}
        self._live: dict[str, Check] = {}

    def add_ready(self, name: str, check: Check) -> None:
        """Traffic is wanted only while `check` gives None. Raises `ValueError` when the name is taken."""
        _add(self._ready, name, check)

    def add_live(self, name: str, check: Check) -> None:
        """A restart is needed once `check` gives a reason: for what cannot heal by itself."""
        _add(self._live, name, check)

    def remove(self, name: str) -> None:
        """Forget a check; harmless when it does not exist."""
        self._ready.pop(name, None)
        self._live.pop(name, None)

    def ready(self) -> dict[str, str]:
        """Reasons, by check, why the bridge is not ready; empty when it is."""
        return _reasons(self._ready) | self.live()

    def live(self) -> dict[str, str]:
        """Reasons, by check, why the bridge should be restarted; empty when it should not."""
        return _reasons(self._live)

    def names(self) -> list[str]:
        """All checks of readiness."""
        return [*self._ready, *self._live]


def _add(checks: dict[str, Check], name: str, check: Check) -> None:
    if name in checks:
        raise ValueError(f"there is a check {name} already")
    checks[name] = check


def _reasons(checks: dict[str, Check]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, check in checks.items():
        try:
            reason = check()
        except Exception as error:
            reason = f"check failed: {type(error).__name__}"
        if reason is not None:
            found[name] = reason
    return found


def health_app(health: Health, metrics: Metrics) -> web.Application:
    """`/health/live`, `/health/ready` (200 or 503 with reasons as JSON), `/metrics`."""

    def answer(reasons: dict[str, str]) -> web.Response:
        body = {"ok": not reasons, "reasons": reasons, "checks": health.names()}
        return web.json_response(body, status=503 if reasons else 200)

    async def live(_: web.Request) -> web.Response:
        return answer(health.live())

    async def ready(_: web.Request) -> web.Response:
        return answer(health.ready())

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)
    app.router.add_get("/metrics", show)
    return app


class Address(Protocol):
    """Where to listen: TCP, or a Unix socket when `path` is given (a `config.Listen` is one)."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def path(self) -> str | None: ...


class HealthServer:
    """Serves `health_app`. `start` raises `OSError` when the address is taken."""

    def __init__(self, health: Health, metrics: Metrics, address: Address) -> None:
        self._runner = web.AppRunner(health_app(health, metrics), access_log=None, shutdown_timeout=1.0)
        self._address = address
        self.port = address.port

    async def start(self) -> None:
        """Begin to listen; afterwards `port` is the real one (it may have been 0)."""
        await self._runner.setup()
        address = self._address
        site: web.BaseSite
        if address.path is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(address.path).unlink()  # noqa: ASYNC240  (one unlink at start)
            site = web.UnixSite(self._runner, address.path)
        else:
            site = web.TCPSite(self._runner, address.host, address.port)
        await site.start()
        for listening in self._runner.addresses:
            if isinstance(listening, tuple):
                self.port = listening[1]

    async def stop(self) -> None:
        """Stop listening and end open requests within about a second."""
        await self._runner.cleanup()
