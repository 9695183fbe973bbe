"""What the rooms of mailboxes are called: chat ids, made and taken apart.

support@example.org                 the mailbox itself
support@example.org/t/TOKEN         one conversation
support@example.org/c/bob@x.net     all mail with one person
support@example.org/l/list.x.net    one mailing list
~/c/bob@x.net                       the same of the login's own mailbox
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bridge_core.api.ids import ChatId
from bridges.email.codec.addresses import parse_address

OWN: Final = "~"
"""Stands for the mailbox of the login that the chat belongs to."""


class ChatKind(StrEnum):
    """What a room is for."""

    MAILBOX = ""
    THREAD = "t"
    CORRESPONDENT = "c"
    LIST = "l"


@dataclass(frozen=True, slots=True)
class Chat:
    """One room of a mailbox. `name` says which of its kind; empty for the mailbox itself."""

    mailbox: str
    kind: ChatKind = ChatKind.MAILBOX
    name: str = ""

    @property
    def id(self) -> ChatId:
        """As the core knows it."""
        return ChatId(self.mailbox if self.kind is ChatKind.MAILBOX else f"{self.mailbox}/{self.kind}/{self.name}")


def parse_chat(text: str) -> Chat:
    """Takes an id apart. Raises ValueError in words.

    The first divider behind an `@` counts: a local part may hold one, and a name anything.
    """
    found = []
    begin = 0 if text.startswith(f"{OWN}/") else text.find("@")
    for kind in (ChatKind.THREAD, ChatKind.CORRESPONDENT, ChatKind.LIST):
        at = text.find(f"/{kind}/", begin)
        if at > 0 and begin >= 0:
            found.append((at, kind))
    if not found:
        return Chat(_mailbox(text))
    at, kind = min(found)
    name = text[at + len(f"/{kind}/") :]
    if not name:
        raise ValueError("the name of the chat is missing")
    return Chat(_mailbox(text[:at]), kind, name)


def _mailbox(text: str) -> str:
    return text if text == OWN else parse_address(text).key
