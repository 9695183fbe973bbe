"""Which nicks Matrix users get."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from bridges.irc.config.section import Seconds, Section, one_line

_Template = Annotated[str, Field(min_length=1, max_length=100)]


class Nicks(Section):
    """What is done about a nick that cannot be had. `nick_template` says which one is wanted."""

    fallback: tuple[_Template, ...] = Field(
        default=("$LOCALPART",),
        max_length=10,
        description="Tried in this order when a nick is taken, as `nick_template`; after these it is numbered.",
    )
    regain: bool = Field(
        default=True,
        description="Whether the wanted nick is taken back once it is free: at once where the server "
        "says so (MONITOR), else it is tried again and again.",
    )
    regain_min: Seconds = Field(default=15, description="Wait before the first new try; it doubles each time.")
    regain_max: Seconds = Field(default=600, description="The longest wait before a new try.")
    choice: bool = Field(default=True, description="Whether users may choose their nicks themselves.")

    @field_validator("fallback")
    @classmethod
    def _printable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one_line(one) for one in value)
