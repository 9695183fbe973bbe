"""The log: one line per event, no secrets."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from bridge_core.observe import setup_logging
from bridge_core.observe.log import redact


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_have_time_level_and_name() -> None:
    """Each event is one JSON object with a UTC time; the standard library's messages look the same."""
    out = io.StringIO()
    setup_logging("info", "json", out)
    structlog.get_logger("bridge.part").info("thing_done", count=2)
    structlog.get_logger("bridge.part").debug("not_shown")
    logging.getLogger("library").warning("odd %s", "thing")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())

    assert first["timestamp"].endswith("Z")
    assert tuple(first[k] for k in ("event", "level", "logger", "count")) == ("thing_done", "info", "bridge.part", 2)
    assert tuple(second[k] for k in ("event", "level", "logger")) == ("odd thing", "warning", "library")


@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_do_not_reach_the_stream(style: str) -> None:
    """Secrets in keys, nested values, headers, addresses and exceptions are masked in every format."""
    out = io.StringIO()
    setup_logging("debug", style, out)
    log = structlog.get_logger("x")
    log.info(
        "request_sent",
        as_token="HIDE1",
        headers={"Authorization": "Bearer HIDE2"},
        url="https://u:HIDE3@h/x?access_token=HIDE4&a=b",
        deep=[{"sasl_password": "HIDE5"}, "Bearer HIDE6"],
        raw=b"HIDE7",
    )
    try:
        raise OSError("cannot reach postgresql://u:HIDE8@h/db")
    except OSError:
        log.exception("database_failed")
    logging.getLogger("lib").error("GET /x?token=HIDE9 HTTP/1.1")

    assert "HIDE" not in out.getvalue()
    assert "a=b" in out.getvalue()
    assert out.getvalue().count("cannot reach") + out.getvalue().count("database_failed") >= 2


def test_harmless_values_are_left_alone() -> None:
    """Flags and missing secrets stay readable, other values unchanged."""
    event = {"event": "x", "token_known": True, "token": None, "user": "@a:b", "n": 5}

    assert event == redact(None, "info", dict(event))
