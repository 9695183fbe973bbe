"""Errors for a Sentry server: which and where, and nothing of what anybody said or is called."""

import asyncio
import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web

from bridge_core.demo.ports import free_port
from bridge_core.observe import reports
from bridge_core.observe.log import setup_logging
from bridge_core.observe.reports import Reports, ReportsError, scrubbed, start_reports

SECRET = "syt_very_secret @anna:hs.test said hello"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(name="sent")
def _sent() -> Iterator[list[dict[str, Any]]]:
    sent: list[dict[str, Any]] = []
    now = [0.0]
    setup_logging("info", "json")
    handler = Reports(lambda event: sent.append(dict(event)), lambda: now[0])
    logging.getLogger().addHandler(handler)
    sent.append({"now": now})
    yield sent
    logging.getLogger().removeHandler(handler)


def _fail() -> None:
    raise ValueError(SECRET)


def test_an_error_tells_where_and_not_what(sent: list[dict[str, Any]]) -> None:
    """Name of the event, network, type of the exception and its place; no value, no text, no field of the line."""
    log = structlog.get_logger("bridge_core.tests")
    try:
        try:
            _fail()
        except ValueError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError:
        log.exception("entry_failed", network="irc", body=SECRET, user="@anna:hs.test")
    log.warning("not_an_error", body=SECRET)
    logging.getLogger("aiohttp.server").error("Error handling %s", SECRET)
    _, event, foreign = sent
    assert (event["message"], event["tags"]) == ("entry_failed", {"network": "irc"})
    cause, outer = event["exception"]["values"]
    assert (cause["type"], outer["type"], outer["value"]) == ("ValueError", "RuntimeError", "")
    assert cause["stacktrace"]["frames"][-1]["function"] == "_fail"
    assert foreign["message"].startswith("test_reports:")
    assert "anna" not in json.dumps(sent[1:]) and "secret" not in json.dumps(sent[1:])


def test_the_same_error_is_reported_once_a_minute(sent: list[dict[str, Any]]) -> None:
    """A failing server is not flooded; after the pause it is told again; other errors are not held back."""
    log = structlog.get_logger("bridge_core.tests")
    for _ in range(5):
        log.error("database_unavailable")
    log.error("homeserver_cannot_reach_bridge")
    sent[0]["now"][0] = 61.0
    log.error("database_unavailable")
    assert [event["message"] for event in sent[1:]] == [
        "database_unavailable",
        "homeserver_cannot_reach_bridge",
        "database_unavailable",
    ]


def test_a_report_that_fails_costs_nobody_anything() -> None:
    """The line is written all the same."""

    def broken(event: Any) -> None:
        raise RuntimeError("no")

    handler = Reports(broken)
    logging.getLogger().addHandler(handler)
    try:
        structlog.get_logger("x").error("something")
    finally:
        logging.getLogger().removeHandler(handler)


def test_setting_up_the_log_anew_keeps_reports() -> None:
    """A level that is changed while the bridge runs ends no reports."""
    handler = Reports(lambda event: None)
    logging.getLogger().addHandler(handler)
    try:
        setup_logging("debug", "json")
        assert handler in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wanted and not installed: in words, with what to install."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(reports.importlib, "import_module", missing)
    with pytest.raises(ReportsError, match=r"matrix-bridge-core\[sentry\]"):
        start_reports("https://key@sentry.test/1", "test", "1")


def test_what_the_library_adds_is_taken_out() -> None:
    """Host, modules and variables of the process stay here."""
    event = {"message": "x", "server_name": "host", "modules": {"a": "1"}, "extra": {"argv": [SECRET]}, "user": {}}
    assert scrubbed(event) == {"message": "x"}


async def test_the_library_sends_it_and_nothing_else() -> None:
    """With the real library and a server of our own: the error arrives, and nothing secret anywhere in the request."""
    got: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        got.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.json_response({"id": "1"})

    app = web.Application()
    app.router.add_post("/api/1/envelope/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    setup_logging("info", "json")
    end = start_reports(f"http://key@127.0.0.1:{port}/1", "test", "1.2.3")
    try:
        secret_of_the_frame = SECRET
        try:
            _fail()
        except ValueError:
            structlog.get_logger("x").exception("entry_failed", network="irc", body=secret_of_the_frame)
        async with asyncio.timeout(60):
            while not got:
                await asyncio.sleep(0.02)
    finally:
        await asyncio.to_thread(end)
        await runner.cleanup()
    text = b"".join(got).decode()
    assert "entry_failed" in text and "ValueError" in text and "1.2.3" in text
    assert "anna" not in text and "syt_" not in text and '"vars"' not in text and "context_line" not in text
