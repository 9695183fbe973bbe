"""Sections `health`, `logging` and `observe`: what an administrator sees."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, SecretStr

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


class Observe(Section):
    """Reports of errors, beside the log."""

    sentry_dsn: SecretStr | None = Field(
        default=None,
        description="Address of a project on a Sentry server that is told of errors: their name, network, types of "
        "exceptions and places in the code; no texts, names, addresses or values. Needs the extra `sentry`.",
        examples=["https://key@sentry.example.org/1"],
    )
    sentry_environment: str = Field(
        default="production", min_length=1, max_length=64, description="What the reports name as their environment."
    )
