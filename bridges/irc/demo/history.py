"""What the server remembers of each conversation: for CHATHISTORY and REDACT."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bridges.irc.demo.message import Message
from bridges.irc.demo.speech import Speech

#: Commands that count as messages; all else is an event, shown with draft/event-playback only.
SPOKEN: frozenset[str] = frozenset({"NOTICE", "PRIVMSG"})


@dataclass(eq=False, slots=True)
class Entry:
    """One remembered line, or the lines of one multiline message.

    ``author`` and ``peer`` are identities (account, else nick, case-folded); ``shown`` are the names of the two ends
    of a private conversation, by identity.
    """

    key: str
    content: Message | Speech
    command: str
    author: str
    peer: str = ""
    shown: tuple[tuple[str, str], ...] = ()

    @property
    def time(self) -> str:
        """When it was said, as server-time writes it: sorts as text."""
        return self.content.time

    @property
    def msgid(self) -> str:
        """Its message id; empty when it has none."""
        return self.content.msgid


class History:
    """The last ``limit`` entries of each conversation, oldest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, deque[Entry]] = {}
        self._by_id: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Remember an entry; the oldest of its conversation goes when there are too many."""
        if not self._limit:
            return
        kept = self._entries.setdefault(entry.key, deque())
        kept.append(entry)
        if entry.msgid:
            self._by_id[entry.msgid] = entry
        if len(kept) > self._limit:
            self._by_id.pop(kept.popleft().msgid, None)

    def find(self, msgid: str) -> Entry | None:
        """Look an entry up by its message id."""
        return self._by_id.get(msgid)

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        self._entries[entry.key].remove(entry)
        self._by_id.pop(entry.msgid, None)

    def of(self, key: str) -> list[Entry]:
        """Give a conversation's entries, oldest first."""
        return list(self._entries.get(key, ()))

    def rename(self, old: str, new: str) -> None:
        """Let a conversation go on under another key."""
        kept = self._entries.pop(old, None)
        if kept is not None:
            for entry in kept:
                entry.key = new
            self._entries[new] = kept

    def private(self, identity: str) -> Iterator[list[Entry]]:
        """Give each private conversation of somebody."""
        for key, kept in self._entries.items():
            if "\0" in key and identity in key.split("\0"):
                yield list(kept)


def private_key(one: str, other: str) -> str:
    """Give the key of the private conversation of two identities."""
    return "\0".join(sorted((one, other)))
