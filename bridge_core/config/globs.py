"""Patterns with `*` and `?` over names, in time that no pattern can make long."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST = 255
_STARS = 8
"""Stars that one pattern may have: real ones have one or two."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in which `*` stands for any text and `?` for one character. Upper and lower case are the same.

    Matching takes at most the product of both lengths: a piece that was found is never looked for again.
    """

    text: str
    pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Glob:
        """Compile a pattern. Raises ValueError in words when it is longer or more intricate than is read."""
        if not 0 < len(text) <= _LONGEST:
            raise ValueError(f"a pattern has at most {_LONGEST} characters, and at least one")
        pieces = re.sub(r"\*+", "*", text.lower()).split("*")
        if len(pieces) - 1 > _STARS:
            raise ValueError(f"a pattern has at most {_STARS} stars")
        first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in pieces)
        if not rest:
            return cls(text, re.compile(first, re.DOTALL))
        *middle, last = rest
        # Atomic groups: the leftmost place of a piece is as good as any later one, so none is tried twice.
        inner = "".join(f"(?>.*?{piece})" for piece in middle if piece)
        return cls(text, re.compile(f"{first}{inner}.*{last}", re.DOTALL))

    def matches(self, value: str) -> bool:
        """Whether the pattern is the whole of `value`."""
        return self.pattern.fullmatch(value.lower()) is not None

    @property
    def literals(self) -> int:
        """How many characters it names: of two patterns, the one with more says more."""
        return sum(char not in "*?" for char in self.text)


def is_glob(text: str) -> bool:
    """Whether a text is a pattern, and not one name."""
    return "*" in text or "?" in text


def is_everything(text: str) -> bool:
    """Whether a pattern names nobody in particular: it has no letter and no digit, only `*`, `?` and separators."""
    return is_glob(text) and not any(char.isalnum() for char in text)
