"""Probes over real HTTP."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bridge_core.config import Listen
from bridge_core.observe import Health, HealthServer, Metrics


async def _get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as reply:
        return reply.status, await reply.text()


async def test_probes_answer_with_reasons() -> None:
    """Ready is 503 with the reasons while a check complains; live only for what needs a restart."""
    health, metrics = Health(), Metrics()
    metrics.counter("things", "Things.").inc()
    reasons: dict[str, str | None] = {"database": "locked", "loop": None}
    health.add_ready("database", lambda: reasons["database"])
    health.add_live("loop", lambda: reasons["loop"])
    server = HealthServer(health, metrics, Listen("127.0.0.1", 0))
    await server.start()
    try:
        ready, body = await _get(server.port, "/health/ready")
        assert (ready, '"database": "locked"' in body) == (503, True)
        assert (await _get(server.port, "/health/live"))[0] == 200
        reasons["database"] = None
        assert (await _get(server.port, "/health/ready"))[0] == 200
        reasons["loop"] = "stuck"
        assert (await _get(server.port, "/health/live"))[0] == 503
        assert (await _get(server.port, "/health/ready"))[0] == 503
        status, text = await _get(server.port, "/metrics")
        assert (status, "matrix_bridge_things_total 1.0" in text) == (200, True)
        assert (await _get(server.port, "/other"))[0] == 404
    finally:
        await server.stop()


def test_a_broken_check_is_a_reason() -> None:
    """A check that raises makes the bridge not ready, and does not break the probe."""
    health = Health()

    def broken() -> str | None:
        raise KeyError("x")

    health.add_ready("odd", broken)
    assert health.ready() == {"odd": "check failed: KeyError"}
    with pytest.raises(ValueError, match="already"):
        health.add_ready("odd", broken)
    health.remove("odd")
    assert health.ready() == {}


async def test_a_taken_port_is_an_error() -> None:
    """Starting on an occupied address raises OSError."""
    one = HealthServer(Health(), Metrics(), Listen("127.0.0.1", 0))
    await one.start()
    two = HealthServer(Health(), Metrics(), Listen("127.0.0.1", one.port))
    try:
        with pytest.raises(OSError, match="in use"):
            await two.start()
    finally:
        await two.stop()
        await one.stop()


async def test_a_unix_socket_works_and_replaces_a_stale_one(tmp_path: Path) -> None:
    """The probes can be served on a Unix socket, even where a crash left one."""
    path = str(tmp_path / "s")
    for _ in range(2):
        server = HealthServer(Health(), Metrics(), Listen(path=path))
        Path(path).touch()
        await server.start()
        try:
            connector = aiohttp.UnixConnector(path=path)
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://bridge/health/live") as reply,
            ):
                assert reply.status == 200
        finally:
            await asyncio.wait_for(server.stop(), 60)
