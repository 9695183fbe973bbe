"""How mails are written."""

from enum import StrEnum

from pydantic import Field

from bridges.email.config.section import Section


class Html(StrEnum):
    """When a mail says the same as HTML."""

    ALWAYS = "always"
    NEVER = "never"


class Composing(Section):
    """How what is said on Matrix is written as a mail."""

    html: Html = Field(
        default=Html.ALWAYS,
        description="Whether a mail says its text as HTML too, beside plain text: always or never. Many mail programs "
        "break lines of plain text in odd places.",
    )
    map_links: bool = Field(
        default=True, description="Whether a place is a link to openstreetmap.org too, beside its `geo:` address."
    )
    max_size: int = Field(
        default=20 * 1024 * 1024,
        ge=64 * 1024,
        le=1024**3,
        description="Bytes of the largest mail that is sent, files and their encoding included. Larger files are "
        "linked, where links are on.",
    )
    corrections: bool = Field(
        default=True,
        description="Whether an edit of a mail that is on its way sends a correction after it, to the same people.",
    )
    withdrawals: bool = Field(
        default=False,
        description="Whether the redaction of a mail that is on its way asks those to delete it whose mail programs "
        "know that (Chat-Delete). Nobody has to, and all others keep it.",
    )
    max_hops: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Over how many bridges a message may have come and still be sent as a mail.",
    )
