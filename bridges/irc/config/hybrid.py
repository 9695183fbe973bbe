"""For whom the relay speaks, and who has a connection of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridges.irc.config.section import Section


class Hybrid(Section):
    """For whom the relay speaks, and who has a connection of their own, among those with a provided login."""

    puppet: Literal["always", "active", "never"] = Field(
        default="active",
        description="Whether Matrix users get a connection with their first message (always), once they are active "
        "(active: the relay speaks until then, and again when their connection was closed for being `idle`), or never. "
        "Networks count connections: with `active` who only reads, or says one thing, costs none. Who has logged in to "
        "an account has one at once.",
    )
    messages: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="With `active`: messages within `within` seconds that make somebody active."
    )
    within: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        default=86400, description="With `active`: seconds in which messages are counted."
    )
    choice: bool = Field(
        default=True, description="With `active`: whether users may choose by the command `connection`."
    )
