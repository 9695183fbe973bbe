"""The log: structlog on one stream, with everything secret masked before it is rendered."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from bridge_core.observe.reports import Reports

_SECRET_KEY = re.compile(r"(?i)token|secret|password|passwd|authorization|cookie|api_?key")
# Values that carry a secret in the middle of harmless text: headers, query strings, addresses with a password.
_SECRET_VALUE = re.compile(
    r"(?i)(\bbearer\s+|[?&](?:access_token|token|secret|sig)=|://[^\s/:@]*:)[^\s&@\"']+(?=[\s&@\"']|$)"
)
_MASK = "***"
_MAX_DEPTH = 6


def setup_logging(
    level: str = "info", style: str = "auto", stream: TextIO | None = None, colors: bool | None = None
) -> None:
    """Send structlog's and the standard library's log to `stream` (standard output unless given).

    `level` is debug, info, warning or error; `style` is auto, console or json. Called once, by the program;
    calling it again replaces the former setup (tests do).
    """
    out = stream if stream is not None else sys.stdout
    tty = out.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor
    if style == "json" or (style == "auto" and not tty):
        renderer = structlog.processors.JSONRenderer(default=str, sort_keys=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=tty if colors is None else colors, exception_formatter=structlog.dev.plain_traceback
        )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers are bound at construction; caching would pin a test's setup
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # before redact: messages of exceptions carry addresses
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler, *(one for one in root.handlers if isinstance(one, Reports))]
    root.setLevel(threshold)
    # Access lines carry query strings, and libraries' debug output carries message contents.
    for noisy in ("aiohttp.access", "asyncio", "sqlalchemy", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(max(threshold, logging.WARNING))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values of keys that name secrets, and secrets inside other texts; a structlog processor."""
    for key, value in event.items():
        event[key] = _masked(key, value, 0)
    return event


def _masked(key: str, value: Any, depth: int) -> Any:
    if _SECRET_KEY.search(key) and value is not None and not isinstance(value, bool):
        return _MASK
    if isinstance(value, str):
        return _SECRET_VALUE.sub(rf"\g<1>{_MASK}", value)
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {one: _masked(str(one), inner, depth + 1) for one, inner in value.items()}
        if isinstance(value, list | tuple):
            return [_masked("", inner, depth + 1) for inner in value]
    return value
