"""Sections `homeserver` and `appservice`: the Matrix side."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from bridge_core.config.section import Section
from bridge_core.config.types import Duration, HttpUrl, Listen, ListenOn, Secret, ServerName, Size, Words
from registration.namespaces import Template, TemplateError


class Profile(StrEnum):
    """What the bridge may rely on in the homeserver."""

    AUTO = "auto"
    FULL = "full"
    BASIC = "basic"


class Homeserver(Section):
    """The homeserver and how to talk to it."""

    address: HttpUrl = Field(
        description="Where the bridge reaches the homeserver: its client API, best directly and not through "
        "a public proxy.",
        examples=["http://127.0.0.1:8008"],
    )
    domain: ServerName = Field(
        description="The homeserver's own name: what stands behind the colon in its user ids.",
        examples=["example.org"],
    )
    profile: Profile = Field(
        default=Profile.AUTO,
        description="What the homeserver can do. auto: asked at start. full: ghosts send from devices of "
        "their own, so that a repeated request is recognised for a day (Synapse). basic: no device "
        "masquerading; the bridge looks for a message before it sends it again.",
    )
    request_timeout: Duration = Field(
        default=60.0,
        gt=0,
        le=600,
        description="When one request is given up and repeated. A busy Synapse can take half a minute to "
        "join a large room, so a lower limit costs work without saving time.",
    )
    max_connections: int = Field(
        default=32,
        ge=1,
        le=1000,
        description="Requests in flight at once. One Synapse process does about 100 sends a second, and "
        "more connections do not make it faster.",
    )


def _localpart_template(value: str) -> str:
    try:
        Template(value)
    except TemplateError as error:
        raise ValueError(str(error)) from error
    return value


Localpart = Annotated[str, Field(pattern=r"^[a-z0-9._=/+-]{1,200}$"), Words("a-z, 0-9 and . _ = - / +")]


class Appservice(Section):
    """The bridge as an application service of the homeserver."""

    id: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default="matrix-bridge", description="Must equal `id` in the registration file. Never change it."
    )
    listen: ListenOn = Field(
        default=Listen("127.0.0.1", 29310),
        description="Where the homeserver's requests arrive. Keep it off public networks.",
    )
    url: HttpUrl | None = Field(
        default=None,
        description="The same place as the homeserver sees it, when that differs from `listen` (containers, "
        "proxies). Written into the registration.",
    )
    registration: str = Field(
        default="registration.yaml",
        min_length=1,
        description="The registration file, seen from this file's folder. The two tokens are read from it.",
    )
    as_token: Secret | None = Field(
        default=None,
        description="Token towards the homeserver, only where the registration file is not at hand, "
        "such as from the environment.",
    )
    hs_token: Secret | None = Field(
        default=None, description="Token of the homeserver towards the bridge; as for as_token."
    )
    bot: Localpart = Field(default="bridgebot", description="Localpart of the bridge's bot.")
    sender: Localpart | None = Field(
        default=None,
        description="Localpart of the registration's sender, where it is not the bot. Synapse's /sync serves no "
        "sender, so a bot that asks for keys there (section `encryption`) needs another name here, such as "
        "bridgebot-sender. After a change: `matrix-bridge init --only-registration`, and restart the homeserver.",
    )
    bot_displayname: str | None = Field(default="Bridge", description="Name of the bot; null leaves it as is.")
    bot_avatar: Annotated[str, Field(pattern=r"^mxc://[^/\s]+/[^/\s]+$")] | None = Field(
        default=None, description="Picture of the bot, an mxc:// address; null leaves it as is."
    )
    user_template: str = Field(
        default="_{network}_{id}",
        description="Localparts of ghosts. {network} is the key under `networks`, {id} the remote user. "
        "Changing it later makes new ghosts of everybody.",
    )
    alias_template: str = Field(default="_{network}_{id}", description="Localparts of room aliases, in the same way.")
    legacy_routes: bool = Field(
        default=True,
        description="Whether paths without /_matrix/app/v1 are answered too (homeservers before v1.0 of the "
        "Application Service API).",
    )
    max_body: Size = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Largest transaction accepted. 100 events, 100 ephemeral events and 100 to-device messages of "
        "64 KiB each are 20 MiB; a refused transaction would stop the homeserver's queue.",
    )
    ephemeral: bool = Field(
        default=True,
        description="Whether typing and receipts (and to-device messages) are asked for in the registration.",
    )

    @field_validator("user_template", "alias_template")
    @classmethod
    def _unambiguous(cls, value: str) -> str:
        return _localpart_template(value)
