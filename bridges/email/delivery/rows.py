"""The rows of the queue: one recipient of one mail each, waiting or done with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from bridge_core.api.ids import ChatId, LoginId, MessageId, UserId
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.ports import About, Outcome, OutgoingMail, Reply

QUEUE: Final = "outgoing"
WAITING: Final = "w:"
DONE: Final = "r:"
BROKEN: Final = "x:"
"""Where rows stand in the queue: what is done with is kept for reports that come late, before all that waits;
what cannot be read is set aside behind it."""
_TEXT: Final = 400
"""Characters of a server's words that are kept."""


class State(StrEnum):
    """Where a row is."""

    WAITING = "waiting"
    TRYING = "trying"
    """A try was recorded, and its end is not yet."""
    DROPPING = "dropping"
    """An admin wants it out: its sender is told, and then it has failed."""
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Row:
    """One recipient of one mail. Times in milliseconds since 1970.

    `doubts` counts tries of which nobody knows whether they arrived: the answer to the last dot, or the bridge, was
    lost. `told` counts the notices of delay. `reply` is the last server's.
    """

    id: str
    mail: OutgoingMail
    recipient: Address
    about: About
    queued_at: int
    state: State = State.WAITING
    attempts: int = 0
    tried_at: int = 0
    doubts: int = 0
    told: int = 0
    reply: Reply | None = None
    server: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing more is to be done with it."""
        return self.state not in {State.WAITING, State.TRYING, State.DROPPING}

    def ended(self, state: State, outcome: Outcome | None = None) -> "Row":
        """The row done with."""
        return replace(self.answered(outcome) if outcome is not None else self, state=state)

    def answered(self, outcome: Outcome) -> "Row":
        """With what a server said last."""
        reply = replace(outcome.reply, text=outcome.reply.text[:_TEXT])
        return replace(self, reply=reply, server=outcome.server[:255], doubts=self.doubts + outcome.unknown)


def new_row(tokens: Tokens, mail: OutgoingMail, recipient: Address, about: About, now: int) -> Row:
    """A row that waits."""
    return Row(tokens.row(mail.id, recipient.key), mail, recipient, about, now)


def item_of(row: Row, due: int) -> QueueItem:
    """The row in the queue: done with it is a memory that ends when it is due, else it is tried then."""
    key = (DONE if row.done else WAITING) + row.id
    mail, about, reply = row.mail, row.about, row.reply
    body = orjson.dumps(
        {
            "mail": [mail.id, mail.message_id, _address(mail.sender), mail.blob, mail.size, mail.utf8, mail.eight_bit],
            "revision": mail.revision,
            "head": mail.head.decode(),
            "to": _address(row.recipient),
            "about": [about.chat, about.message, about.user, _address(about.mailbox), about.thread, about.receiver],
            "at": [row.queued_at, row.tried_at],
            "state": row.state,
            "counts": [row.doubts, row.told],
            "reply": [reply.code, reply.status, reply.text, row.server] if reply is not None else None,
        }
    )
    return QueueItem(key, body, due, str(about.message), row.attempts)


def row_of(item: QueueItem) -> Row:
    """The row of an item. Raises ValueError where it is none."""
    try:
        data: Mapping[str, Any] = orjson.loads(item.body)
        name, message_id, sender, blob, size, utf8, eight_bit = data["mail"]
        chat, message, user, mailbox, thread, receiver = data["about"]
        reply = data["reply"]
        return Row(
            item.key[len(WAITING) :],
            OutgoingMail(
                name,
                message_id,
                Address(*sender) if sender else None,
                blob,
                size,
                utf8,
                eight_bit,
                data["head"].encode(),
                data.get("revision", ""),
            ),
            Address(*data["to"]),
            About(
                ChatId(chat),
                MessageId(message),
                UserId(user),
                Address(*mailbox),
                thread,
                LoginId(receiver) if receiver is not None else None,
            ),
            data["at"][0],
            State(data["state"]),
            item.attempts,
            data["at"][1],
            data["counts"][0],
            data["counts"][1],
            Reply(*reply[:3]) if reply else None,
            reply[3] if reply else "",
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{item.key} is no row of outgoing mail") from error


def _address(address: Address | None) -> list[str] | None:
    return [address.local, address.domain] if address is not None else None
