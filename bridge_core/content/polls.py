"""Polls, votes and their end, both ways, in the unstable form that clients use and in the stable one beside it.

Sources: MSC3381 and its stable form, MSC1767 (text).
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from bridge_core.api.content import ListBlock, Paragraph, Plain, Poll, PollAnswer, RichText
from bridge_core.api.ids import EventId
from bridge_core.content.addresses import is_event
from bridge_core.content.limits import Limits
from bridge_core.content.plain import clean, to_plain

POLL_STARTS: Final = ("m.poll.start", "org.matrix.msc3381.poll.start")
"""Types of events that begin a poll. The last of each of these is what is sent: clients know it."""
POLL_VOTES: Final = ("m.poll.response", "org.matrix.msc3381.poll.response")
"""Types of events that are a vote."""
POLL_ENDS: Final = ("m.poll.end", "org.matrix.msc3381.poll.end")
"""Types of events that end a poll."""

_POLLS = ("m.poll", "m.poll.start", "org.matrix.msc3381.poll.start", "org.matrix.msc3381.v2.poll")
_TEXTS = ("m.text", "org.matrix.msc1767.text", "body")
_MOST_ANSWERS = 20  # MSC3381: more are cut off
_LONGEST_ID = 255
_DISCLOSED = ("m.disclosed", "org.matrix.msc3381.poll.disclosed", "org.matrix.msc3381.disclosed")


def read_poll(content: Mapping[str, object], limits: Limits) -> Poll | None:
    """The poll that an event begins; None when it is none that somebody could vote in."""
    poll = _block(content)
    if poll is None:
        return None
    question = _text(poll.get("question"), limits)
    given = poll.get("answers")
    answers: dict[str, PollAnswer] = {}
    for answer in islice(given, _MOST_ANSWERS) if isinstance(given, list | tuple) else ():
        name = answer.get("m.id", answer.get("id")) if isinstance(answer, Mapping) else None
        text = _text(answer, limits)
        if isinstance(name, str) and 0 < len(name) <= _LONGEST_ID and text:
            answers.setdefault(name, PollAnswer(clean(name), text))
    if not question or not answers:
        return None
    most = poll.get("max_selections")
    many = isinstance(most, int) and not isinstance(most, bool) and most > 0
    return Poll(
        question,
        tuple(answers.values()),
        min(int(str(most)), len(answers)) if many else 1,
        poll.get("kind") in _DISCLOSED,
    )


def parse_poll(content: Mapping[str, object], limits: Limits) -> RichText:
    """The poll's question and answers, or what its text fallback says; empty when there is no poll."""
    poll = _block(content)
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
        return poll_text(question, items)
    said = question or _text(content, limits)
    return (Plain(said),) if said else ()


def poll_text(question: str, answers: Sequence[str]) -> RichText:
    """A poll in words: the question and its numbered answers."""
    return (Paragraph((Plain(question),)), ListBlock(tuple((Plain(answer),) for answer in answers), 1))


def poll_content(poll: Poll, text: RichText) -> dict[str, object]:
    """The content of the event that begins a poll; `text` says it for clients without polls."""
    said = to_plain(text or poll_text(poll.question, [answer.text for answer in poll.answers]))
    answers = poll.answers[:_MOST_ANSWERS]
    question = clean(poll.question)
    kind = "disclosed" if poll.disclosed else "undisclosed"
    most = max(1, min(poll.most, len(answers)))
    return {
        "org.matrix.msc3381.poll.start": {
            "kind": f"org.matrix.msc3381.poll.{kind}",
            "max_selections": most,
            "question": {"org.matrix.msc1767.text": question, "msgtype": "m.text", "body": question},
            "answers": [{"id": one.id, "org.matrix.msc1767.text": clean(one.text)} for one in answers],
        },
        "m.poll": {
            "kind": f"m.{kind}",
            "max_selections": most,
            "question": {"m.text": [{"body": question}]},
            "answers": [{"m.id": one.id, "m.text": [{"body": clean(one.text)}]} for one in answers],
        },
        "org.matrix.msc1767.text": said,
        "m.text": [{"body": said}],
        "m.mentions": {},
    }


def poll_of(content: Mapping[str, object]) -> EventId | None:
    """The poll that a vote or an end is about."""
    relates = content.get("m.relates_to")
    if not isinstance(relates, Mapping) or relates.get("rel_type") != "m.reference":
        return None
    target = relates.get("event_id")
    return EventId(target) if isinstance(target, str) and is_event(target) else None


def read_vote(content: Mapping[str, object]) -> tuple[str, ...]:
    """The ids of the answers chosen, each once and at most as many as a poll has; none: an earlier vote is void."""
    chosen = content.get("m.selections")
    if chosen is None:
        block = content.get("org.matrix.msc3381.poll.response", content.get("m.poll.response"))
        chosen = block.get("answers") if isinstance(block, Mapping) else None
    if not isinstance(chosen, list):
        return ()
    ids = (clean(one) for one in chosen[:_MOST_ANSWERS] if isinstance(one, str) and 0 < len(one) <= _LONGEST_ID)
    return tuple(dict.fromkeys(ids))


def vote_content(poll: EventId, answers: Sequence[str]) -> dict[str, object]:
    """The content of a vote."""
    chosen = [clean(answer) for answer in answers[:_MOST_ANSWERS]]
    return {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll},
        "org.matrix.msc3381.poll.response": {"answers": chosen},
        "m.selections": chosen,
    }


def read_end(content: Mapping[str, object], limits: Limits) -> str:
    """How a poll ended, in words; empty when nothing is said."""
    return _text(content, limits)


def end_content(poll: EventId, text: str) -> dict[str, object]:
    """The content of a poll's end."""
    said = clean(text) or "The poll has ended."
    return {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll},
        "org.matrix.msc3381.poll.end": {},
        "m.poll.end": {},
        "org.matrix.msc1767.text": said,
        "m.text": [{"body": said}],
        "body": said,
    }


def _block(content: Mapping[str, object]) -> Mapping[str, object] | None:
    return next((found for key in _POLLS if isinstance(found := content.get(key), Mapping)), None)


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
