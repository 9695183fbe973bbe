"""A conversation: its mails, who takes part, and where each of them wants answers. As a value, and as a row."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from bridge_core.api.ids import MessageId
from bridges.email.codec.addresses import Address

_REFERENCES: Final = 20
"""Ids that an answer names at most: the root, and the newest."""
_PEOPLE: Final = 200
"""People of one conversation that are remembered; who comes later is not answered by itself."""
_AT_ONCE: Final = 10_000
"""Milliseconds in which no person has read a mail and written an answer."""
_REPLY_TO: Final = 5
"""Addresses that one person may want answers at."""


@dataclass(frozen=True, slots=True)
class Thread:
    """One conversation of one mailbox, in the chat `chat`. Ids are without brackets.

    `root` is the message that Matrix threads hang on. `references` are the ids of its mails, the root's first; the last
    is what an answer answers. `people` are all who wrote it or got it openly, the mailbox itself left out; `hidden` the
    keys of those who got a blind copy: nobody is told of them, and no answer to all goes to them.
    """

    token: str
    mailbox: str
    chat: str
    root: MessageId
    subject: str
    people: tuple[Address, ...] = ()
    references: tuple[str, ...] = ()
    list_post: str = ""
    """Where answers go instead of to its people, where its first mail came by a list that says so."""
    reading: tuple[str, ...] = ()
    """The keys of those whose mail programs show mails that are reactions."""
    messengers: tuple[str, ...] = ()
    """The keys of those whose mail programs are messengers (Chat-Version): they know corrections and withdrawals."""
    hidden: tuple[str, ...] = ()
    reply_to: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    """By the key of a person: where they want answers instead."""
    bulk: str = ""
    """The name under which `Lists` knows how to unsubscribe from its first mail's sender."""
    proofs: tuple[str, ...] = ()
    """What the room was told of who wrote its mails, in short (`proofs.told`)."""
    crossed: int = 0
    """Over how many bridges the newest mail of others came, at `came_at` (milliseconds since 1970)."""
    came_at: int = 0

    def over_bridges(self, crossed: int, at: int) -> "Thread":
        """Its newest mail came over so many bridges, at that time."""
        return replace(self, crossed=crossed, came_at=at)

    def hops(self, at: int) -> int:
        """Over how many bridges an answer comes that is written at a time: what is as quick as a program may be one."""
        return self.crossed if at - self.came_at < _AT_ONCE else 0

    @property
    def reads_reactions(self) -> bool:
        """Whether anybody sees reactions."""
        return bool(self.reading)

    @property
    def key(self) -> str:
        """Its row."""
        return f"t/{self.token}"

    def knows(self, person: Address) -> bool:
        """Whether somebody takes part, openly or not, or is where somebody wants answers."""
        there = (one for group in (self.people, *self.reply_to.values()) for one in group)
        return person.key in self.hidden or any(one.key == person.key for one in there)

    def with_people(self, people: Iterable[Address]) -> "Thread":
        """They take part from now on, but for hidden ones; names are learnt where there was none."""
        known = {one.key: one for one in self.people}
        for person in people:
            if person.key in self.hidden:
                continue
            before = known.get(person.key)
            if (before is None and len(known) < _PEOPLE) or (before is not None and person.name and not before.name):
                known[person.key] = person
        return replace(self, people=tuple(known.values()))

    def revealed(self, people: Iterable[Address]) -> "Thread":
        """They take part, and everybody may know: somebody has named them openly."""
        named = tuple(people)
        keys = {one.key for one in named}
        return replace(self, hidden=tuple(one for one in self.hidden if one not in keys)).with_people(named)

    def with_hidden(self, people: Iterable[Address]) -> "Thread":
        """They got a blind copy. Who takes part openly, or is one too many, is not noted."""
        new = [one.key for one in people if not self.knows(one)]
        return replace(self, hidden=(*self.hidden, *dict.fromkeys(new))[:_PEOPLE])

    def wanting(self, person: Address, reply_to: Iterable[Address]) -> "Thread":
        """From now on they want answers at these addresses; at their own where there are none."""
        wanted = {key: there for key, there in self.reply_to.items() if key != person.key}
        there = tuple(reply_to)[:_REPLY_TO]
        if there and [one.key for one in there] != [person.key] and len(wanted) < _PEOPLE:
            wanted[person.key] = there
        return replace(self, reply_to=wanted)

    def proved(self, proofs: tuple[str, ...]) -> "Thread":
        """The room was told so much of who wrote. Of too many the oldest are forgotten, and said again."""
        return replace(self, proofs=proofs[-_PEOPLE:])

    def where(self, person: Address) -> tuple[Address, ...]:
        """Where somebody wants answers."""
        return self.reply_to.get(person.key, (person,))

    def with_program(self, person: Address, *, messenger: bool) -> "Thread":
        """Somebody's mail program shows reactions; with `messenger` it knows more."""
        reading = (*(one for one in self.reading if one != person.key), person.key)[-_PEOPLE:]
        messengers = tuple(one for one in self.messengers if one != person.key)
        return replace(
            self, reading=reading, messengers=(*messengers, *((person.key,) if messenger else ()))[-_PEOPLE:]
        )

    def after(self, message_id: str) -> "Thread":
        """A mail was added. The middle of what is remembered goes first."""
        ids = (*(one for one in self.references if one != message_id), message_id)
        if len(ids) > _REFERENCES:
            ids = (ids[0], *ids[-(_REFERENCES - 1) :])
        return replace(self, references=ids)

    def without(self, message_id: str) -> "Thread":
        """A mail was taken back before anybody got it: no answer names it."""
        return replace(self, references=tuple(one for one in self.references if one != message_id))


def packed(thread: Thread) -> bytes:
    """As it is stored."""
    return orjson.dumps(
        {
            "mailbox": thread.mailbox,
            "chat": thread.chat,
            "root": thread.root,
            "subject": thread.subject,
            "people": _plain(thread.people),
            "references": thread.references,
            "list_post": thread.list_post,
            "reading": thread.reading,
            "messengers": thread.messengers,
            "hidden": thread.hidden,
            "reply_to": {key: _plain(there) for key, there in thread.reply_to.items()},
            "bulk": thread.bulk,
            "proofs": thread.proofs,
            "crossed": [thread.crossed, thread.came_at],
        }
    )


def opened(token: str, row: bytes) -> Thread | None:
    """What was stored; None where it cannot be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        data = orjson.loads(row)
        return Thread(
            token,
            data["mailbox"],
            data["chat"],
            MessageId(data["root"]),
            data["subject"],
            _people(data["people"]),
            tuple(data["references"]),
            data["list_post"],
            tuple(data["reading"]),
            tuple(data["messengers"]),
            tuple(data.get("hidden", ())),
            {key: _people(there) for key, there in data.get("reply_to", {}).items()},
            data.get("bulk", ""),
            tuple(data.get("proofs", ())),
            *data.get("crossed", ()),
        )
    return None


def _plain(people: Iterable[Address]) -> list[list[str]]:
    return [[one.local, one.domain, one.name] for one in people]


def _people(data: Iterable[Iterable[str]]) -> tuple[Address, ...]:
    return tuple(Address(*one) for one in data)
