"""Sections `database` and `journal`: what must survive."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from bridge_core.config.section import Section
from bridge_core.config.types import Duration, Secret, Words


def _database_url(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"sqlite:///\S.*|postgres(ql)?://\S+", value.get_secret_value()):
        raise ValueError("is not a sqlite:///... or postgresql://... address")
    return value


DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_database_url),
    Words("sqlite:///file (relative to this file), sqlite:////absolute/file, or postgresql://user:pw@host/name"),
]


class Database(Section):
    """Where everything is kept. One running bridge owns a database."""

    url: DatabaseUrl = Field(
        default=SecretStr("sqlite:///bridge.db"),
        description="SQLite for small bridges, PostgreSQL for large ones. PostgreSQL needs a database in UTF8.",
    )
    auto_migrate: bool = Field(
        default=True,
        description="Whether an older schema is upgraded at start. When off, the bridge refuses to start "
        "until `matrix-bridge db upgrade` was run.",
    )
    pool_size: int = Field(
        default=4,
        ge=1,
        le=100,
        description="Connections for reading. Writing always uses one, in batches, which is faster than many.",
    )
    busy_timeout: Duration = Field(
        default=10.0,
        gt=0,
        description="How long SQLite waits for another process's lock (a backup) before work is put off.",
    )


class UnknownOutcome(StrEnum):
    """What happens to a message whose fate towards a network is unknown."""

    REPORT = "report"
    RESEND = "resend"


class Journal(Section):
    """Messages on their way. What was acknowledged is in here until it ended in a counted state."""

    secret: Secret = Field(
        description="Seals what waits in the database. Losing it loses the messages in hand, so keep it with "
        "the backups, but not inside them. `matrix-bridge init` generates it.",
        examples=["REPLACE-ME-matrix-bridge-init-does-this"],
    )
    retry_window: Duration = Field(
        default=7 * 86400.0,
        gt=0,
        description="How long a delivery is retried before it becomes a dead letter (which can be replayed). "
        "A week outlasts a weekend's outage plus the Monday to notice it.",
    )
    keep_done: Duration = Field(
        default=86400.0,
        ge=0,
        description="How long finished entries stay listed; their contents are erased at once.",
    )
    keep_keys: Duration = Field(
        default=30 * 86400.0,
        ge=0,
        description="How long ids of handled events are remembered. Longer than any peer repeats itself, and "
        "than the oldest backup one would restore.",
    )
    keep_messages: Duration | None = Field(
        default=None,
        ge=86400.0,
        description="How long it is remembered which event is which message. Edits, replies and redactions of older "
        "messages do not cross any more. null: for ever, at about 200 bytes a message.",
    )
    keep_dead: Duration | None = Field(
        default=None,
        ge=86400.0,
        description="How long dead letters can be replayed, from when they died; then they are dropped, as by "
        "`matrix-bridge journal drop`, and count as rejected. null: until an admin replays or drops them.",
    )
    max_pending: int = Field(
        default=1_000_000,
        ge=1000,
        description="Waiting messages at which new work is refused with a temporary error. About 1 KB each.",
    )
    attempt_window: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Messages of one room whose attempt is recorded together, just before they are handed to a "
        "network. Fewer leave fewer in doubt after a crash, more are cheaper.",
    )
    prepared_batch: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Prepared messages written in one commit. Larger is cheaper per message, later for the first.",
    )
    unknown: UnknownOutcome = Field(
        default=UnknownOutcome.REPORT,
        description="For a message whose fate is unknown after a crash on a network without idempotency (IRC). "
        "report: the sender is told. resend: it may arrive twice. A network can have its own choice.",
    )
