"""Sections `status` and `api`: what users and programs are told, and how programs command the bridge."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from bridge_core.config.section import Section
from bridge_core.config.types import Duration, HttpUrl, Secret, ServerName


class StatusSuccess(StrEnum):
    """How senders learn that a message was delivered."""

    NONE = "none"
    EVENT = "event"
    REACTION = "reaction"


class StatusFailure(StrEnum):
    """How senders learn that a message was not delivered."""

    NOTICE = "notice"
    EVENT = "event"
    BOTH = "both"


class Status(Section):
    """What senders are told of their messages, and users of their connections."""

    success: StatusSuccess = Field(
        default=StatusSuccess.NONE,
        description="What follows a delivery: none, a com.beeper.message_send_status event (clients that know it "
        "show it), or a reaction by the bot. The last two cost an event per message.",
    )
    failure: StatusFailure = Field(
        default=StatusFailure.NOTICE,
        description="What follows a failure: a notice of the bot, a com.beeper.message_send_status event, or both. "
        "A success that comes later corrects it.",
    )
    notice_after: Duration = Field(
        default=60.0,
        ge=0,
        description="How long a login must be in trouble, or well again, before its user is told in the management "
        "room: a connection that flaps is told of once.",
    )
    checkpoint_url: HttpUrl | None = Field(
        default=None,
        description="Where the fate of each message is posted, in the form of mautrix bridges' message checkpoints.",
    )
    bridge_state_url: HttpUrl | None = Field(
        default=None,
        description="Where the state of each login is posted, in the form of mautrix bridges' bridge states.",
    )
    token: Secret | None = Field(
        default=None,
        description="Sent to both addresses as a bearer token. Receivers made for mautrix bridges expect the as_token.",
        examples=["REPLACE-ME-with-what-the-receiver-expects"],
    )


class Api(Section):
    """The bot's commands as an HTTP API, on appservice.listen under /_matrix_bridge/v1/."""

    enabled: bool = Field(default=False, description="Whether it is served.")
    secret: Secret | None = Field(
        default=None,
        description="Who has it may act as any user (`Authorization: Bearer SECRET`, `?user_id=`); null: nobody may.",
        examples=["REPLACE-ME-openssl-rand-hex-32"],
    )
    openid: bool = Field(
        default=True,
        description="Whether users may act for themselves with an OpenID token of their homeserver "
        "(`Authorization: Bearer openid:TOKEN`).",
    )
    openid_servers: dict[ServerName, HttpUrl] = Field(
        default={},
        description="Homeservers besides the bridge's own whose users may do so, and the address of each one's "
        "federation API. For the own homeserver, homeserver.address is asked unless it is given here.",
    )
    requests_per_minute: int = Field(
        default=60,
        ge=1,
        le=10_000,
        description="How many requests a user may make; programs with the secret ten times.",
    )
