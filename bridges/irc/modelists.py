"""The kept lists of channels: bans, quiets, exceptions of both kinds of people. Whom they name, and whom not.

Read at joining and again now and then, kept right by MODE. What the server does not show is unknown, and then nothing
is judged by it for sure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bridge_core.api.ids import ChatId
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.masks import Effect, Mask, Who, read_mask

KINDS: Final = "bqeI"
"""Bans, quiets, exceptions from both, and invitations that stand: the lists that decide who may come and speak."""
ROWS: Final = {"367": "b", "728": "q", "348": "e", "346": "I"}
"""Numerics of an entry (RFC 2812 section 5.1; 728 is of solanum and its kin)."""
ENDS: Final = {"368": "b", "729": "q", "349": "e", "347": "I"}
_ROWS_AT_MOST: Final = 1000
_ALL_AT_MOST: Final = 200_000


@dataclass(frozen=True, slots=True)
class Row:
    """One entry: the mask, who set it (empty where that is not known)."""

    mask: Mask
    by: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A list is against somebody. `sure`: nothing that is not known could make an exception of them."""

    effect: Effect
    row: Row
    sure: bool

    @property
    def reason(self) -> str:
        """In words for the one it is about."""
        what = "bans" if self.effect is Effect.BAN else "silences"
        by = f", set by {self.row.by}" if self.row.by else ""
        return f"the channel {what} {self.row.mask.text}{by}"


class ModeLists:
    """The lists of all channels of a network. Bounded; a list that was cut off is not known as a whole."""

    def __init__(self) -> None:
        self._lists: dict[tuple[ChatId, str], dict[str, Row]] = {}
        self._reading: dict[tuple[ChatId, str], dict[str, Row]] = {}
        self._cut: set[tuple[ChatId, str]] = set()
        self._overflowed: set[tuple[ChatId, str]] = set()
        self._size = 0
        self._versions: dict[ChatId, int] = {}

    def __len__(self) -> int:
        return self._size

    def known(self, chat: ChatId, letter: str) -> bool:
        """Whether all entries of a list are known."""
        return (chat, letter) in self._lists and (chat, letter) not in self._cut

    def version(self, chat: ChatId) -> int:
        """Another number whenever anything that is known of a channel changed."""
        return self._versions.get(chat, 0)

    def rows(self, chat: ChatId, letter: str) -> Iterator[Row]:
        """The known entries of a list."""
        return iter(self._lists.get((chat, letter), {}).values())

    def forget(self, chat: ChatId) -> None:
        """We are not in the channel any more: nothing is known of it."""
        for letter in KINDS:
            self._replace((chat, letter), None)
            self._reading.pop((chat, letter), None)
            self._overflowed.discard((chat, letter))

    def moved(self, chat: ChatId, new: ChatId) -> None:
        """The channel has another name; its lists stay."""
        for letter in KINDS:
            rows, cut = self._lists.get((chat, letter)), (chat, letter) in self._cut
            self._replace((chat, letter), None)
            if rows is not None:
                self._replace((new, letter), rows)
                if cut:
                    self._cut.add((new, letter))
        self.forget(chat)

    def clear(self) -> None:
        """Nothing is known any more."""
        self._versions = {chat: version + 1 for chat, version in self._versions.items()}
        self._lists.clear()
        self._reading.clear()
        self._cut.clear()
        self._overflowed.clear()
        self._size = 0

    # Reading

    def told(self, chat: ChatId, letter: str, mask: str, by: str, isupport: Isupport) -> None:
        """One entry of an answer to our question."""
        rows = self._reading.setdefault((chat, letter), {})
        if len(rows) < _ROWS_AT_MOST and self._size + len(rows) < _ALL_AT_MOST:
            rows[mask] = Row(read_mask(mask, isupport), _nick(by))
        else:
            self._overflowed.add((chat, letter))

    def complete(self, chat: ChatId, letter: str) -> None:
        """The answer is complete: what was known before is forgotten."""
        key = (chat, letter)
        rows = self._reading.pop(key, {})
        cut = key in self._overflowed
        self._overflowed.discard(key)
        self._replace(key, rows)
        if cut:
            self._cut.add(key)

    def changed(self, chat: ChatId, letter: str, mask: str, by: str, isupport: Isupport, *, adding: bool) -> Row:
        """A MODE line changed a list; the entry that it is about."""
        key = (chat, letter)
        row = Row(read_mask(mask, isupport), _nick(by))
        self._versions[chat] = self.version(chat) + 1
        for rows in (self._reading.get(key), self._lists.get(key)):
            if rows is None:
                continue
            fresh = mask not in rows
            if not adding:
                rows.pop(mask, None)
            elif len(rows) < _ROWS_AT_MOST and self._size < _ALL_AT_MOST:
                rows[mask] = row
            else:
                self._cut.add(key)
                continue
            if rows is self._lists.get(key):
                self._size += (1 if fresh else 0) if adding else (0 if fresh else -1)
        return row

    def _replace(self, key: tuple[ChatId, str], rows: dict[str, Row] | None) -> None:
        self._versions[key[0]] = self.version(key[0]) + 1
        before = self._lists.pop(key, None)
        self._size -= len(before) if before is not None else 0
        self._cut.discard(key)
        if rows is not None:
            self._lists[key] = rows
            self._size += len(rows)

    # Judging

    def against(self, chat: ChatId, who: Who, isupport: Isupport, *, entering: bool = False) -> Judgement | None:
        """What the lists have against somebody without a mode of their own; None for nothing that is known.

        `entering`: only what keeps them out counts.
        """
        for letter in "bq":
            if letter not in isupport.list_modes:
                continue
            for row in self.rows(chat, letter):
                effect = Effect.MUTE if letter == "q" and row.mask.effect is Effect.BAN else row.mask.effect
                if effect is Effect.OTHER or (entering and effect is Effect.MUTE) or not row.mask.names(who):
                    continue
                excepted = self._excepted(chat, who, isupport)
                if excepted is not True:
                    return Judgement(effect, row, sure=excepted is False)
        return None

    def _excepted(self, chat: ChatId, who: Who, isupport: Isupport) -> bool | None:
        """Whether somebody is excepted from bans; None when that is not known."""
        if "e" not in isupport.list_modes:
            return False
        found: Iterable[bool | None] = [row.mask.names(who) for row in self.rows(chat, "e")]
        if any(found):
            return True
        return None if not self.known(chat, "e") or None in found else False


def _nick(by: str) -> str:
    return by.partition("!")[0]
