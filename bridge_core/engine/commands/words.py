"""A line of text as words: at spaces, and what stands in double quotes is one word. Pure."""

from typing import Final

_QUOTES: Final = {'"': '"', "\u201c": "\u201d"}  # keyboards of telephones make the second kind


def words_of(text: str) -> list[str]:
    """The words of a command. A quote that is never closed is an ordinary character."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        end = _closing(text, position)
        if end:
            words.append(" ".join(text[position + 1 : end].split()))
            position = end + 1
            continue
        start = position
        while position < len(text) and not text[position].isspace():
            position += 1
        words.append(text[start:position])
    return words


def _closing(text: str, start: int) -> int:
    """Where the quote that begins at `start` ends; 0 when none does."""
    quote = _QUOTES.get(text[start])
    end = text.find(quote, start + 1) if quote is not None else -1
    while end > 0 and end + 1 < len(text) and not text[end + 1].isspace():
        end = text.find(quote, end + 1) if quote is not None else -1
    return max(end, 0)
