"""Sections `health` and `logging`: what an administrator sees."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from bridge_core.config.section import Section
from bridge_core.config.types import Listen, ListenOn


class Health(Section):
    """Probes and metrics, on a port of their own: /health/live, /health/ready, /metrics."""

    listen: ListenOn | None = Field(
        default=Listen("127.0.0.1", 29312),
        description="Where they are served; null for nowhere. Nothing secret is shown, but keep it internal.",
    )


class LogLevel(StrEnum):
    """The least severe messages that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Logging(Section):
    """The log, on standard output. Message contents appear at level debug only, tokens never."""

    level: LogLevel = Field(default=LogLevel.INFO, description="The least severe messages that are written.")
    format: LogFormat = Field(
        default=LogFormat.AUTO, description="auto: console on a terminal, otherwise one JSON object a line."
    )
