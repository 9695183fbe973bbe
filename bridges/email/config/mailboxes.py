"""Mailboxes: whose they are, and what rooms their mail makes."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from bridges.email.codec.addresses import parse_address
from bridges.email.config.section import Section

UserName = Annotated[str, Field(pattern=r"^@[^:\s]+:[^\s]+$", max_length=255)]


class Mode(StrEnum):
    """Which rooms the mail of a mailbox is shown in."""

    MAILBOX = "mailbox"
    """One room, each conversation a thread of it."""
    THREAD = "thread"
    """A room for each conversation, with its people as members."""
    CORRESPONDENT = "correspondent"
    """A room for each person, each conversation with them a thread of it."""


class Strangers(StrEnum):
    """What happens to the first mail of somebody unknown."""

    SHOW = "show"
    ASK = "ask"
    """Who it is from and its subject are shown; the mail itself when somebody of the mailbox accepts."""
    REFUSE = "refuse"
    """Nothing but answers is taken: the mail is refused while it is handed over."""


class Rooms(Section):
    """What a mailbox's mail becomes, for configured and for provided ones alike."""

    mode: Mode = Field(
        default=Mode.MAILBOX,
        description="Which rooms the mail is shown in. mailbox: one room, each conversation a thread of it. thread: a "
        "room for each conversation, its people as members. correspondent: a room for each person, each conversation "
        "with them a thread.",
    )
    lists: bool = Field(default=True, description="Whether each mailing list (List-Id) has a room of its own.")
    strangers: Strangers = Field(
        default=Strangers.SHOW,
        description="What becomes of the first mail of somebody the mailbox had nothing from and sent nothing to. "
        "show: it is shown. ask: sender and subject are, the mail itself after `accept`. refuse: it is not taken.",
    )
    headers: bool = Field(
        default=True, description="Whether a conversation's first mail says its subject, and whom it went to."
    )
    whole: bool = Field(
        default=True,
        description="Whether the whole text is added as a file where quotes or a signature were left out.",
    )
    signature: str = Field(
        default="", max_length=2000, description="What stands below each mail that is written there, as plain text."
    )


class Mailbox(Rooms):
    """A mailbox that several people share."""

    name: str = Field(default="", max_length=200, description="What it is called in From; empty for the address.")
    members: list[UserName] = Field(
        default=[], max_length=500, description="Matrix users who are invited to its rooms, and may write as it."
    )
    aliases: list[str] = Field(default=[], max_length=100, description="Further addresses of it.")

    @field_validator("aliases")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        return [parse_address(one).key for one in value]


class Provide(Rooms):
    """Addresses for Matrix users, without asking. Who gets one is said by `provided_logins` beside it."""

    mode: Mode = Field(default=Mode.CORRESPONDENT, description="As of a mailbox.")
    address: str | None = Field(
        default=None,
        max_length=200,
        description="What the address is made of: `{localpart}` of the Matrix id, `{server}`; null for no addresses. "
        "Only users of the own homeserver whose name is just an address have it so; in the address of others, and of "
        "users of other servers, is a mark (`dan_x~4f7kq...`), so that nobody gets mail that is meant for another.",
        examples=["{localpart}@example.org"],
    )

    ahead: bool = Field(
        default=False,
        description="Whether mail is taken for users of the own homeserver who never used their address: the "
        "homeserver is asked whether there is such a user, and the first mail invites them to their mailbox's room. "
        "Whoever hands mail over learns which users there are.",
    )

    @field_validator("address")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            if "{localpart}" not in value:
                raise ValueError("needs {localpart}, or all users had one address")
            parse_address(value.format(localpart="x", server="y"))
        return value
