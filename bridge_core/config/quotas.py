"""Section `quotas`: how much one user may do."""

from __future__ import annotations

from pydantic import Field

from bridge_core.config.section import Section
from bridge_core.config.types import Size


class Quotas(Section):
    """How much one Matrix user may do; what is over it is rejected in words. null: no limit. Admins have none.

    An admin can give single users other ones: `quota @user:server NAME VALUE`.
    """

    portals: int | None = Field(default=None, ge=0, le=1_000_000, description="Portals made by commands of a user.")
    logins: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Logins of a user on all networks, provided ones not counted.",
    )
    messages_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="What a user may send within a minute: messages, edits, reactions, everything but taking back. "
        "Counted by when the homeserver sent it, so an outage makes nobody a spammer.",
    )
    server_messages_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="What all users of one homeserver together may send within a minute, our own homeserver excepted: "
        "many accounts on one server are one spammer.",
    )
    media_per_day: Size | None = Field(
        default=None,
        ge=0,
        description="Bytes of files from a user within a day (UTC). A file whose size is not told counts as "
        "`media.max_size`.",
    )
