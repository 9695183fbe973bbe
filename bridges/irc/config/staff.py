"""Who of the network's staff may command the bridge from IRC."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from bridges.irc.config.section import Section, one_line


class StaffSettings(Section):
    """The network's staff, who write to the bot in private (`help` says what). Everything they do is told to admins."""

    accounts: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=[],
        description="Accounts of staff, on networks whose server names them (account-tag).",
    )
    masks: list[Annotated[str, Field(min_length=5, max_length=200)]] = Field(
        default=[],
        description="Masks `nick!user@host` of staff, with * and ?, for networks without accounts: the host must be "
        "one that the network gives to nobody else.",
        examples=["*!*@staff.example.org"],
    )

    @field_validator("masks")
    @classmethod
    def _narrow(cls, value: list[str]) -> list[str]:
        for mask in value:
            one_line(mask)
            nick, bang, rest = mask.partition("!")
            user, at, host = rest.rpartition("@")
            if not (nick and bang and user and at) or not host.strip("*?."):
                raise ValueError(f"{mask!r} would make anybody staff: write nick!user@host with a host")
        return value
