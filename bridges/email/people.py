"""Who a mail is from, as a person in a room: a verified author's own ghost, or another one that nobody mistakes."""

from dataclasses import dataclass
from typing import Final

from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import LoginId, RemoteUserId
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.mail import Mail, Verdict
from bridges.email.mailboxes import Mailbox

UNVERIFIED: Final = "unverified:"
"""What the ghost ids of unverified authors begin with: no address does, since a colon is in none unless quoted."""
NOBODY: Final = Address("unknown", "invalid")
"""The author of mails that name none."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a mail. `address` is what it says of itself, `verified` whether that is proved."""

    address: Address
    verified: bool
    login: LoginId | None = None
    """Set where it is one of our own users, who gave a password."""
    namesake: bool = False
    """Somebody else has the name that they give themselves."""

    @property
    def id(self) -> RemoteUserId:
        """Of the ghost."""
        return RemoteUserId(self.address.key if self.verified else UNVERIFIED + self.address.key)

    def sender(self) -> RemoteSender:
        """As the core is told."""
        return RemoteSender(self.id, name_of(self.address, verified=self.verified, namesake=self.namesake), self.login)


def author_of(mail: Mail, verdict: Verdict, own: Mailbox | None) -> Author:
    """The author. `own` is the mailbox of the login that the mail was submitted by.

    Nobody is verified who shares From with others, or whose mail a filter thinks is spam.
    """
    if not mail.authors:
        return Author(mail.sender or NOBODY, False)
    address = mail.authors[0]
    if own is not None:
        return Author(own.address.named(address.name), True, own.login)
    proved = verdict.verified and not verdict.spam and len(mail.authors) == 1
    return Author(address, proved and verdict.author is not None and verdict.author.key == address.key)


def name_of(address: Address, *, verified: bool = True, namesake: bool = False) -> str:
    """What a person is called. One who calls themselves by an address is called by their own.

    A `namesake` of somebody else is called by both.
    """
    name = " ".join(address.name.split())[:100]
    if not name or "@" in name:
        name = str(address)
    elif namesake:
        name = f"{name} ({address})"
    return name if verified else f"{name} (unverified)"


def person_of(user: RemoteUserId) -> Address | None:
    """The address behind a ghost's id; None where it is none."""
    try:
        return parse_address(user.removeprefix(UNVERIFIED))
    except ValueError:
        return None


def ghosts_of(person: Address) -> tuple[RemoteUserId, RemoteUserId]:
    """The ghost of the person, and that of whoever says to be them."""
    return RemoteUserId(person.key), RemoteUserId(UNVERIFIED + person.key)


def identifiers(user: RemoteUserId) -> tuple[str, ...]:
    """Addresses by which other programs know the person."""
    return () if user.startswith(UNVERIFIED) else (f"mailto:{user}",)
