"""How fast all connections together speak."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bridges.irc.config.section import Section


class Lines(Section):
    """How fast all connections together speak, beside `rate` and `burst` of each; where `rate` is 0, as they like."""

    address_rate: Annotated[float, Field(ge=0)] = Field(
        default=0,
        description="Lines per second from one address of ours, after `address_burst`, of all its connections "
        "together; 0: no limit. For networks that count by address.",
    )
    address_burst: Annotated[float, Field(ge=1)] = Field(default=20, description="Lines at once from one address.")
    network_rate: Annotated[float, Field(ge=0)] = Field(
        default=50,
        description="Lines per second to the network, after `network_burst`, of all connections together; 0: no "
        "limit. After an outage everybody's messages wait at once: what each connection may say is too much of all.",
    )
    network_burst: Annotated[float, Field(ge=1)] = Field(default=100, description="Lines at once to the network.")
