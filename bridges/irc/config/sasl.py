"""How the bot logs in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from bridges.irc.config.section import Section


class Sasl(Section):
    """How the bot logs in (IRCv3 SASL)."""

    mechanism: Literal["plain", "external", "scram-sha-256", "scram-sha-512"] = Field(
        default="plain", description="How: with a password (plain, scram-…) or by the TLS certificate (external)."
    )
    user: str = Field(default="", max_length=255, description="The account. Empty for external.")
    password: SecretStr | None = Field(default=None, description="Its password. Not for external.")

    required: bool = Field(
        default=True,
        description="Whether the bot stays away while the server offers no SASL. Otherwise it connects without its "
        "account, and logs in when that is offered again.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Sasl:
        if self.mechanism != "external" and (not self.user or self.password is None):
            raise ValueError(f"{self.mechanism} needs user and password")
        return self
