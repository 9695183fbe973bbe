"""Text too long for one event, cut into texts that each fit."""

import json
from collections.abc import Iterator

from bridge_core.api.content import Plain, RichText, Rule
from bridge_core.content.limits import LIMITS
from bridge_core.content.plain import clean, to_plain
from bridge_core.content.to_html import MentionResolver, to_html

_WORST = 6  # bytes of JSON that one character can become: \\u001f, or &quot; in HTML


def fit_event(
    text: RichText, budget: int = LIMITS.event_bytes, resolver: MentionResolver | None = None
) -> tuple[RichText, ...]:
    """The text in as many parts as it takes for each to need at most `budget` bytes of JSON, in order.

    Counts `body` and `formatted_body`; an edit says both twice, so half the budget is its. Cuts between top-level
    nodes; a node that is too long alone is cut as plain text, at line ends or spaces where there are some. A budget
    below 64 bytes raises ValueError.
    """
    if budget < 64:
        raise ValueError("the budget is too small for any text")
    if len(text) == 1 and type(only := text[0]) is Plain:
        if len(only.text) * _WORST + 2 <= budget:
            return (text,)
        return tuple((Plain(piece),) for piece in split_text(clean(only.text), budget)) or (text,)
    if cost(text, resolver) <= budget:
        return (text,)
    return tuple(_parts(text, budget, resolver))


def cost(text: RichText, resolver: MentionResolver | None = None) -> int:
    """The bytes of JSON that the text's `body` and `formatted_body` need."""
    rendered = to_html(text, resolver)
    return _bytes(rendered.body) + (_bytes(rendered.html) if rendered.html is not None else 0)


def split_text(text: str, budget: int) -> Iterator[str]:
    """The text in pieces of at most `budget` bytes of JSON: cut after a line end, else after a space, else anywhere."""
    at = 0
    while at < len(text):
        end = _reach(text, at, budget)
        if end < len(text):
            # A cut in the first half would waste more than it keeps together.
            middle = at + (end - at) // 2
            cut = text.rfind("\n", middle, end)
            if cut < 0:
                cut = text.rfind(" ", middle, end)
            if cut >= 0:
                yield text[at:cut]
                at = cut + 1
                continue
        yield text[at:end]
        at = end


def _parts(text: RichText, budget: int, resolver: MentionResolver | None) -> Iterator[RichText]:
    run: list[RichText] = []
    used = 0
    for node in text:
        whole = (node,)
        needed = cost((node, Rule()), resolver)  # a rich neighbour makes it count twice, as text and as HTML
        if run and used + needed > budget:
            yield tuple(one for part in run for one in part)
            run, used = [], 0
        if needed > budget:
            for piece in split_text(to_plain(whole), budget):
                yield (Plain(piece),)
            continue
        run.append(whole)
        used += needed
    if run:
        yield tuple(one for part in run for one in part)


def _reach(text: str, at: int, budget: int) -> int:
    """How far a piece from `at` may go: found by halving, as bytes per character differ."""
    low, high = at + 1, min(len(text), at + budget)
    while low < high:
        middle = (low + high + 1) // 2
        if _bytes(text[at:middle]) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())
