"""What a channel's operators say to being bridged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridges.irc.config.section import Section

Span = Annotated[float, Field(gt=0, le=366 * 86400)]


class ConsentSettings(Section):
    """Whether and how a channel's operators are asked. They may end the bridging at any time, asked or not."""

    required: bool = Field(
        default=True,
        description="Whether an operator of a channel has to agree before a room is bridged to it by command. Channels "
        "in `portals` are the admin's word that they did.",
    )
    ask: Literal["channel", "wait"] = Field(
        default="channel",
        description="channel: the bot joins and asks there, once. wait: it joins only when somebody there invites it "
        "or writes `allow #channel` to it in private.",
    )
    timeout: Span = Field(default=86400, description="How long an answer is waited for; then the bot leaves.")
    pause: Span = Field(
        default=7 * 86400,
        description="For this long after a refusal, or without an answer, nobody there is asked again. Operators may "
        "change their mind at any time.",
    )
    other_bridges: list[Annotated[str, Field(min_length=3, max_length=200)]] = Field(
        default=[],
        description="Masks `nick!user@host` of the bots of other Matrix bridges on the network: where one of them is, "
        "this bridge does not ask, and warns where it is already.",
        examples=["*!*@bridge.example.org"],
    )
    kick_ends: bool = Field(
        default=True,
        description="Whether a kick of the bot by a person ends the bridging of the channel, as `!bridge leave` does. "
        "When off, the bot comes back.",
    )
    topic_mark: Annotated[str, Field(min_length=3, max_length=40)] | None = Field(
        default="[nobridge]",
        description="A channel whose topic holds this is not asked, and where an operator puts it there the bridging "
        "ends, as with `!bridge leave`; null: topics say nothing.",
    )
    metadata_key: Annotated[str, Field(pattern=r"^[a-z0-9_./-]{1,60}$")] | None = Field(
        default="matrix-bridge",
        description="The same where this key of the channel (IRCv3 metadata) is `no`; null: none is looked at.",
    )
