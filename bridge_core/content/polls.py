"""Polls as text: the question and its numbered answers. Sources: MSC3381 and its stable form, MSC1767 (text)."""

from collections.abc import Mapping
from itertools import islice

from bridge_core.api.content import ListBlock, Paragraph, Plain, RichText
from bridge_core.content.limits import Limits
from bridge_core.content.plain import clean

_POLLS = ("m.poll", "m.poll.start", "org.matrix.msc3381.poll.start", "org.matrix.msc3381.v2.poll")
_TEXTS = ("m.text", "org.matrix.msc1767.text", "body")
_MOST_ANSWERS = 20  # MSC3381: more are cut off


def parse_poll(content: Mapping[str, object], limits: Limits) -> RichText:
    """The poll's question and answers, or what its text fallback says; empty when there is no poll."""
    poll = next((found for key in _POLLS if isinstance(found := content.get(key), Mapping)), None)
    if poll is None:
        return ()
    question = _text(poll.get("question"), limits)
    answers = poll.get("answers")
    items = (
        [text for answer in islice(answers, _MOST_ANSWERS) if (text := _text(answer, limits))]
        if isinstance(answers, list | tuple)
        else []
    )
    if question and items:
        return (Paragraph((Plain(question),)), ListBlock(tuple((Plain(item),) for item in items), 1))
    said = question or _text(content, limits)
    return (Plain(said),) if said else ()


def _text(value: object, limits: Limits) -> str:
    """The plain text of an extensible-event block: a string, `{"body": ...}` or a list of representations."""
    if isinstance(value, str):
        return clean(value[: limits.chars]).strip()
    if not isinstance(value, Mapping):
        return ""
    for key in (*_TEXTS, "m.answer"):
        said = value.get(key)
        if isinstance(said, list | tuple):
            plain = (
                one for one in said if isinstance(one, Mapping) and one.get("mimetype", "text/plain") == "text/plain"
            )
            said = next((one.get("body") for one in plain), None)
        if isinstance(said, str) and said:
            return clean(said[: limits.chars]).strip()
    return ""
