"""How people of the network are known and shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bridges.irc.config.section import Section


class People(Section):
    """Who somebody of the network is, and what is shown of them."""

    accounts: bool = Field(
        default=True,
        description="Whether people are known by the account they are logged in to, where the server tells it, and by "
        "their nick otherwise. Such a person stays the same on Matrix under every nick.",
    )
    who_rate: Annotated[float, Field(gt=0, le=100)] = Field(
        default=0.5, description="Channels per second whose people the bot asks for (WHO) after joining."
    )
    away: bool = Field(
        default=False,
        description="Whether it is shown who is away, both ways. `presence` of the network must be on as well.",
    )
    metadata: bool = Field(
        default=True,
        description="Whether pictures and names that people give themselves (IRCv3 metadata) are shown on Matrix.",
    )
    share: bool = Field(
        default=True,
        description="Whether names and pictures of Matrix users are told there (IRCv3 metadata); pictures as links, "
        "where media links are on.",
    )
    bot_mark: Annotated[str, Field(max_length=16)] = Field(
        default=" (bot)", description="What stands behind the names of people whom the network marks as bots."
    )
