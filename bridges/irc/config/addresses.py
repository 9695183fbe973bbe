"""Addresses of our own, one for each Matrix user."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field, model_validator

from bridges.irc.config.section import Section


class Addresses(Section):
    """One address for each Matrix user, so that a network can tell users and homeservers apart and ban each."""

    prefix: IPv6Network | IPv4Network = Field(
        description="The addresses to take from, such as 2001:db8:1::/48; routed to this machine."
    )
    block: int | None = Field(
        default=None,
        ge=1,
        le=127,
        description="Prefix length of the block of one homeserver; half of what is left, if not given. Many networks "
        "count connections by /64: 64 is best where the prefix leaves room.",
    )
    freebind: bool = Field(
        default=True, description="Use addresses that no interface has (IP_FREEBIND). They must be routed here."
    )

    @property
    def block_length(self) -> int:
        """Prefix length of one homeserver's block."""
        prefix = self.prefix
        return self.block if self.block is not None else (prefix.prefixlen + prefix.max_prefixlen) // 2

    @model_validator(mode="after")
    def _room(self) -> Addresses:
        if not self.prefix.prefixlen < self.block_length < self.prefix.max_prefixlen:
            raise ValueError("the block of a homeserver must be smaller than the prefix and larger than one address")
        return self
