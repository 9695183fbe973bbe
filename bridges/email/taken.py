"""A mail that was taken over, on its way into the rooms, and what it becomes there."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bridge_core.api.events import RemoteEvent
from bridges.email.codec.addresses import Address
from bridges.email.contents import Stored
from bridges.email.mail import Envelope, Mail, Verdict
from bridges.email.people import Author
from bridges.email.tally import Became
from bridges.email.threads import Rows

Hold = Callable[[str, Author, Sequence[Address]], Awaitable[str | None]]
"""Keeps the mail until a mailbox (its key) wants something of the person, for these recipients, which are all its own.

Names the person's request. None: no room.
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that was taken over. `digest` is of what its author wrote; `stored` and `hold` are done when wanted."""

    envelope: Envelope
    verdict: Verdict
    digest: str
    mail: Mail
    author: Author
    stored: Stored
    hold: Hold


@dataclass(slots=True)
class Happened:
    """What one mail becomes in a mailbox: events, and rows that are committed with them. `why` it is quarantined."""

    events: list[RemoteEvent] = field(default_factory=list)
    rows: Rows = field(default_factory=dict)
    became: Became = Became.SHOWN
    why: str = ""


@dataclass(slots=True)
class Shown:
    """What a mail became. `aside`: for these recipients it became nothing, for that reason; the admin is to get it."""

    became: set[Became] = field(default_factory=set)
    aside: list[tuple[tuple[Address, ...], str]] = field(default_factory=list)
