"""In which form messages cross."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bridges.irc.config.section import Section


class Messages(Section):
    """In which form messages cross, where a network leaves a choice."""

    long_text: Literal["split", "multiline", "link"] = Field(
        default="multiline",
        description="Text that is too long for a line, or has several. multiline: as one message where the server "
        "takes that (draft/multiline), else split into lines. link: what has more than `max_lines` lines becomes "
        "its beginning and a link to the whole, if media links are on.",
    )
    merge: bool = Field(
        default=True,
        description="Whether lines of one person that wait together, a paste, become one message on Matrix.",
    )
    reactions: Literal["none", "text"] = Field(
        default="none", description="Reactions where the server knows no tags: nothing, or a line of text."
    )
    replies: Literal["name", "old", "quote"] = Field(
        default="old",
        description="How a reply is said where the server knows no tag for it (else always by the tag). name: with the "
        "nick it answers in front. quote: with the beginning of what it answers as well. old: that only when it "
        "answers something older than five minutes. Quoted is only what was said in the channel, to all of it, while "
        "the sender was in the room.",
    )
    edits: Literal["short", "whole"] = Field(
        default="short",
        description="How an edit is said. short: a small change as s/before/after/, others as * and the new text. "
        "whole: always the new text.",
    )
    hex_colors: bool = Field(
        default=False, description="Whether colours are sent as they are (code 04); else as the nearest of 99."
    )
    relaymsg: bool = Field(
        default=False,
        description="Whether relayed users appear under nicks of their own where the server lets the bot do that "
        "(draft/relaymsg).",
    )
    history: bool = Field(
        default=True,
        description="Whether what was missed is fetched where the server keeps it (draft/chathistory).",
    )
    missed: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Messages of one private chat that are fetched at most after an absence of their user's "
        "connection; a notice says where that was not all. How much of channels is fetched says `backfill`.",
    )
