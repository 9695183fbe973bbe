"""Errors of the log for a Sentry server, if the admin wants that: which error, where in the code, and nothing else.

Neither messages nor names, addresses, tokens or values of variables leave the bridge: what is sent is made here from
nothing, not cut down from what there is. sentry-sdk is an optional extra (`pip install matrix-bridge-core[sentry]`).
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

_EVERY: Final = 60.0
"""Seconds in which the same error is reported once."""
_KINDS_AT_MOST: Final = 500
_FRAMES_AT_MOST: Final = 50
_CAUSES_AT_MOST: Final = 5


class ReportsError(Exception):
    """Reports are wanted and cannot be made; in words for the admin."""


class Reports(logging.Handler):
    """A handler of the log that sends its errors. `capture` takes an event as Sentry has it, and does not block."""

    def __init__(
        self, capture: Callable[[Mapping[str, Any]], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(logging.ERROR)
        self._capture = capture
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one error, unless the same one was sent a moment ago. Never raises: a log line must not fail."""
        try:
            event = report(record)
            kind = (event["message"], str(event.get("exception", {}).get("values", [{}])[-1].get("type", "")))
            now = self._clock()
            if now - self._last.get(kind, -_EVERY) < _EVERY:
                return
            if len(self._last) >= _KINDS_AT_MOST:
                self._last.clear()
            self._last[kind] = now
            self._capture(event)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in the base class
        """Nothing: whoever reads the log has the error itself."""


def report(record: logging.LogRecord) -> dict[str, Any]:
    """An error as Sentry has it: the event's name, the network, the types of exceptions and the places in the code."""
    fields = record.msg if isinstance(record.msg, dict) else {}
    name = fields.get("event") if fields else f"{record.module}:{record.lineno}"
    event: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name, "message": str(name)[:100]}
    network = fields.get("network")
    if isinstance(network, str):
        event["tags"] = {"network": network[:32]}
    error = _error_of(record, fields)
    if error is not None:
        event["exception"] = {"values": list(reversed(_chain(error)))}
    return event


def _error_of(record: logging.LogRecord, fields: Mapping[str, Any]) -> BaseException | None:
    for found in (fields.get("exc_info"), record.exc_info):
        if found is True:
            return sys.exc_info()[1]
        if isinstance(found, BaseException):
            return found
        if isinstance(found, tuple) and len(found) > 1 and isinstance(found[1], BaseException):
            return found[1]
    return None


def _chain(error: BaseException) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = []
    at: BaseException | None = error
    while at is not None and len(values) < _CAUSES_AT_MOST:
        values.append({"type": type(at).__name__, "value": "", "stacktrace": {"frames": _frames(at.__traceback__)}})
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return values


def _frames(trace: TracebackType | None) -> list[dict[str, Any]]:
    found = [
        {"module": frame.f_globals.get("__name__", ""), "function": frame.f_code.co_name, "lineno": line}
        for frame, line in traceback.walk_tb(trace)
    ]
    return found[-_FRAMES_AT_MOST:]


def start_reports(dsn: str, environment: str, release: str) -> Callable[[], None]:
    """Sends errors from now on, in a thread of the library's own; what ends it, within two seconds.

    Raises ReportsError when the library is missing or refuses the address.
    """
    try:
        sdk = importlib.import_module("sentry_sdk")
    except ImportError:
        raise ReportsError(
            "observe.sentry_dsn is given, but sentry-sdk is not installed: pip install 'matrix-bridge-core[sentry]'"
        ) from None
    try:
        client = sdk.Client(
            dsn=dsn,
            environment=environment,
            release=release,
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            server_name="",
            auto_session_tracking=False,
            before_send=scrubbed,
        )
    except Exception as error:
        raise ReportsError(f"observe.sentry_dsn cannot be used: {type(error).__name__}") from None
    handler = Reports(client.capture_event)
    logging.getLogger().addHandler(handler)

    def end() -> None:
        logging.getLogger().removeHandler(handler)
        client.close(timeout=2.0)

    return end


_KEPT: Final = frozenset(
    ("event_id", "timestamp", "level", "logger", "message", "tags", "exception", "environment", "release", "platform")
)


def scrubbed(event: dict[str, Any], hint: Any = None) -> dict[str, Any]:
    """What the library added of its own (host, modules, variables) taken out again."""
    return {key: value for key, value in event.items() if key in _KEPT}
