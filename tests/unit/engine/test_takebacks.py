"""Contents of several lines without one of them."""

from typing import Any

import pytest

from bridge_core.engine.takebacks import without

TEXT = {"msgtype": "m.text", "body": "a\nb\nc"}


def test_one_line_goes_and_nobody_is_told_again() -> None:
    """What else the content says stays, but whom it mentions; an answer goes with the first line."""
    answer = {"m.in_reply_to": {"event_id": "$"}}
    content = {**TEXT, "m.mentions": {"user_ids": ["@a:b"]}, "x": 1, "m.relates_to": answer}
    assert without(content, 0, 3) == {"msgtype": "m.text", "body": "b\nc", "m.mentions": {}, "x": 1}
    last = without(content, 2, 3)
    assert last is not None and last["body"] == "a\nb" and last["m.relates_to"] == answer
    styled = without({**TEXT, "format": "org.matrix.custom.html", "formatted_body": "<b>a</b><br>b<br>c"}, 1, 3)
    assert styled is not None and styled["formatted_body"] == "<b>a</b><br>c"


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"msgtype": "m.image", "body": "a\nb\nc"},
        {"msgtype": "m.text", "body": 1},
        {**TEXT, "body": "a\nb"},
        {**TEXT, "body": "a\nb\nc\nd"},
        {**TEXT, "formatted_body": "<b>a<br>b</b><br>c"},
        {**TEXT, "formatted_body": "a<br>b"},
        {**TEXT, "m.relates_to": {"rel_type": "m.replace", "event_id": "$"}},
        {**TEXT, "com.beeper.disappearing_timer": {"timer": 1}},
        {**TEXT, "com.beeper.per_message_profile": {"has_fallback": True}},
    ],
)
def test_what_cannot_be_told_apart_is_not(content: Any) -> None:
    """Other numbers of lines, styles over line ends, edits, what disappears, what speaks for somebody."""
    assert without(content, 1, 3) is None
