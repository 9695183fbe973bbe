"""The ident server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bridges.irc.config.section import Section


class Ident(Section):
    """An ident server (RFC 1413), which tells IRC servers the user name of each connection."""

    host: str = Field(default="", max_length=255, description="Address to listen on; empty: all.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=113, description="IRC servers ask port 113. Another one needs a redirection in front of it."
    )
