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
        description="Whether people who are away are shown so on Matrix. `presence` of the network must be on as well.",
    )
