"""The proxy that connections go through."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from bridges.irc.config.section import Section

_BYTES_AT_MOST = 255  # RFC 1929


class Proxy(Section):
    """A SOCKS5 proxy (RFC 1928), such as Tor's. The names of servers are looked up behind it, never here."""

    host: str | None = Field(default=None, min_length=1, max_length=255, description="Its name or address.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=1080, description="Its port.")
    unix: str | None = Field(default=None, min_length=1, max_length=107, description="Path of its socket instead.")
    user: str | None = Field(default=None, min_length=1, description="User name for it (RFC 1929).")
    password: SecretStr | None = Field(default=None, description="Password for it.")
    isolate: bool = Field(
        default=False,
        description="Give each Matrix user credentials of their own: Tor then takes a circuit for each.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Proxy:
        if (self.host is None) == (self.unix is None):
            raise ValueError("needs either host or unix")
        if self.host is not None and re.search(r"[\s\x00/@,]", self.host):
            raise ValueError("host is not a name or address")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if self.isolate and self.user is not None:
            raise ValueError("isolate makes up user and password by itself")
        secret = self.password.get_secret_value() if self.password is not None else "x"
        if not secret or max(len(secret.encode()), len((self.user or "").encode())) > _BYTES_AT_MOST:
            raise ValueError(f"user and password have 1 to {_BYTES_AT_MOST} bytes")
        return self
