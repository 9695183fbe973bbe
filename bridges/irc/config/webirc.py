"""What is told to servers that take our word for users' addresses."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from bridges.irc.config.section import Section

_MIDDLE = re.compile(r"[^\x00-\x20\x7f:][^\x00-\x20\x7f]*")


class WebIrc(Section):
    """WEBIRC (IRCv3 webirc): the server takes each user's address from us. Needs `addresses`."""

    password: SecretStr = Field(description="The gateway's password, agreed with the network.")
    gateway: str = Field(
        default="matrix",
        min_length=1,
        max_length=32,
        description="The gateway's name. Some servers take it for the user name (ngIRCd): for them `$USERNAME`.",
    )
    secure: bool = Field(
        default=True,
        description="Whether users count as connected with TLS, where our own connection is: they reach their "
        "homeserver over HTTPS.",
    )

    @field_validator("gateway")
    @classmethod
    def _word(cls, value: str) -> str:
        if not _MIDDLE.fullmatch(value):
            raise ValueError("is not one word")
        return value

    @field_validator("password")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        if not _MIDDLE.fullmatch(value.get_secret_value()):
            raise ValueError("is not one word")
        return value
