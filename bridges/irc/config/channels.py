"""How channels are treated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from bridges.irc.config.section import Section, one_line


class Channels(Section):
    """How channels are treated: their modes, lists and members."""

    invite_only: Literal["invite", "knock", "ignore"] = Field(
        default="invite",
        description="Join rule of rooms the bridge made whose channel has a key, or takes invited or registered "
        "people only; ignore: the rooms keep theirs.",
    )
    moderated: bool = Field(
        default=True,
        description="Whether rooms the bridge made let only people with voice speak while their channel is moderated.",
    )
    staff_messages: Literal["drop", "show"] = Field(
        default="drop",
        description="Messages to a channel's operators or voices only (STATUSMSG): show them where everybody in the "
        "room has that power, or drop them.",
    )
    op_moderated: Annotated[str, Field(pattern="^[A-Za-z]?$")] | None = Field(
        default=None,
        description="The mode by which messages that a channel refuses are shown to its operators: they are treated as "
        "`staff_messages`. By default z on solanum and its relatives; empty for none.",
    )
    forwards: Literal["refuse", "follow"] = Field(
        default="refuse",
        description="A channel that forwards to another one (numeric 470): stay out, or move the rooms there. Where "
        "`consent.required` holds, operators of the other one are asked first; else follow only where the network's "
        "staff agreed.",
    )
    invitations: bool = Field(
        default=True,
        description="Whether a Matrix user whom somebody on IRC invites to a bridged channel is invited to its room.",
    )
    keys: dict[str, SecretStr] = Field(
        default={}, description="Keys of channels, by channel. Better: the command `key`, which keeps them sealed."
    )
    recheck: Annotated[float, Field(ge=0, le=604800)] = Field(
        default=3600, description="Seconds after which members, modes and lists of a channel are read again; 0: never."
    )
    lookups: Annotated[float, Field(gt=0, le=100)] = Field(
        default=0.5, description="Questions about channels per second, at most; they come out of `rate`."
    )

    @field_validator("keys")
    @classmethod
    def _key(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for key in value.values():
            one_line(key.get_secret_value())
        return value


class Netsplit(Section):
    """What is done when servers of the network part: people who quit together come back together."""

    hold: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=1800, description="Seconds for which people of a split stay in the rooms; 0: they leave at once."
    )
    crowd: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=20, description="This many people who quit within `window` are held too, whatever their reason."
    )
    window: Annotated[float, Field(gt=0, le=10)] = Field(
        default=1, description="Seconds that a quit waits, to see whether it is one of many."
    )
