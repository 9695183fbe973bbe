"""How connections of Matrix users are made, and what happens when the network refuses them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridges.irc.config.section import Seconds, Section


class Connects(Section):
    """How connections of Matrix users are made. The limits of `connect_rate` and `connect_burst` hold for all."""

    opening: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="Connections that are being opened at once."
    )
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Matrix users who wait for a connection; for further ones the relay speaks."
    )
    address_rate: Annotated[float, Field(ge=0)] = Field(
        default=0, description="New connections per second from one address, after `address_burst`; 0: no limit."
    )
    address_burst: Annotated[float, Field(ge=1)] = Field(
        default=5, description="New connections at once from one address."
    )
    throttle_pause: Seconds = Field(
        default=60,
        description="After `too fast` from the server nothing connects from that address for this long; it doubles. "
        "A restart of the bridge does not end it.",
    )
    full_pause: Seconds = Field(
        default=600,
        description="When the server says that an address or its class has enough connections, none is tried from "
        "there for this long, or until one of them ends. No other user's connection is closed for it.",
    )
    kill_pause: Annotated[float, Field(ge=0)] = Field(
        default=600,
        description="For this long a Matrix user whose connection staff ended, or the bot, is not connected again.",
    )
    again: Literal["active", "all", "needed"] = Field(
        default="active",
        description="Who is connected again after connections were lost: those who were active lately, then the "
        "others too (all), or each one only when they are needed next.",
    )
    active: Seconds = Field(default=3600, description="How long after their last message somebody counts as active.")
