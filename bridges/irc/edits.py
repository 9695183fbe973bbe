"""Edits as people on IRC write them: a small change as `s/before/after/`, anything else as the new text."""

from collections import OrderedDict
from difflib import SequenceMatcher
from typing import Final

from bridge_core.api.ids import EventId

_SHORTEST: Final = 20
"""Characters of a text that is worth an abbreviation."""
_WORDS_AT_MOST: Final = 300
_CHANGES_AT_MOST: Final = 3
_CONTEXT: Final = 2
"""Words around an addition that say where it belongs."""
_TEXTS_AT_MOST: Final = 1000
_LONGEST: Final = 2000


class Recent:
    """What was said last, by event, so that an edit can tell the difference. In memory only, and bounded."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: OrderedDict[EventId, str] = OrderedDict()

    def put(self, event: EventId, text: str) -> None:
        """An event says this now."""
        self._texts.pop(event, None)
        if len(text) <= _LONGEST:
            self._texts[event] = text
            if len(self._texts) > _TEXTS_AT_MOST:
                self._texts.popitem(last=False)

    def get(self, event: EventId) -> str | None:
        """What an event said last, as far as it is remembered."""
        return self._texts.get(event)

    def drop(self, event: EventId) -> None:
        """An event was taken back."""
        self._texts.pop(event, None)


def short_edit(before: str, after: str) -> str | None:
    """The change as `s/before/after/` (at most three of them), or as the words around what was added.

    None where the new text says it better: of several lines, short, changed too much, or not shorter this way. Each
    `before` stands in the old text once, so that nobody has to guess.
    """
    if "\n" in before or "\n" in after or "/" in before + after or min(len(before), len(after)) < _SHORTEST:
        return None
    old, new = before.split(" "), after.split(" ")
    if len(old) > _WORDS_AT_MOST or len(new) > _WORDS_AT_MOST:
        return None
    changes = [code for code in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if code[0] != "equal"]
    if not 1 <= len(changes) <= _CHANGES_AT_MOST:
        return None
    if len(changes) == 1 and changes[0][0] == "insert":
        _, place, _, start, end = changes[0]
        words = [*old[max(0, place - _CONTEXT) : place], *new[start:end], *old[place : place + _CONTEXT]]
        text = f"{'… ' if place > _CONTEXT else ''}{' '.join(words)}{' …' if place + _CONTEXT < len(old) else ''}"
    else:
        parts = [_substitution(before, old, new, change) for change in changes]
        if None in parts:
            return None
        text = ", ".join(part for part in parts if part is not None)
    return text if len(text) < len(after) else None


def _substitution(before: str, old: list[str], new: list[str], change: tuple[str, int, int, int, int]) -> str | None:
    """One change, with as many words in front of it as it needs to be found and to say something."""
    _, start, end, begin, stop = change
    for more in range(_CONTEXT + 1):
        context = old[max(0, start - more) : start]
        removed, added = " ".join([*context, *old[start:end]]), " ".join([*context, *new[begin:stop]])
        # Places that overlap are several: "bb bb" stands in "bb bb bb" twice.
        if removed and sum(before.startswith(removed, place) for place in range(len(before))) == 1:
            return f"s/{removed}/{added}/"
    return None
