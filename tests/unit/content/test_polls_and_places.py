"""Polls, places and profiles: nothing that a stranger writes in them is trusted."""

import math

import pytest

from bridge_core.api.content import Location, Plain, Poll, PollAnswer, Profile
from bridge_core.api.ids import EventId
from bridge_core.content.limits import LIMITS
from bridge_core.content.places import location_content, read_location
from bridge_core.content.polls import poll_content, poll_of, read_poll, read_vote, vote_content
from bridge_core.content.profiles import add_profile, read_profile


def _answer(name: object, text: object = "a") -> dict[str, object]:
    return {"id": name, "org.matrix.msc1767.text": text}


def _poll(**poll: object) -> dict[str, object]:
    return {"org.matrix.msc3381.poll.start": {"question": {"body": "q"}, "answers": [_answer("1")], **poll}}


@pytest.mark.parametrize(
    "poll",
    [
        {"question": 3},
        {"answers": "1"},
        {"answers": []},
        {"answers": [3, None, _answer(4), _answer(""), _answer("x" * 300), _answer("1", "")]},
    ],
)
def test_what_nobody_can_vote_in_is_no_poll(poll: dict[str, object]) -> None:
    """Without a question or an answer with a name there is none."""
    assert read_poll(_poll(**poll), LIMITS) is None


def test_polls_are_bounded() -> None:
    """Twenty answers count, each name once; how many may be chosen is between one and all."""
    answers = [_answer(str(number // 2)) for number in range(100)]
    poll = read_poll(_poll(answers=answers, max_selections=99), LIMITS)
    assert poll is not None and (len(poll.answers), poll.most) == (10, 10)
    for most in (0, -3, True, "2", None, 1.5):
        assert read_poll(_poll(max_selections=most), LIMITS) == Poll("q", (PollAnswer("1", "a"),), 1, False)


def test_a_poll_comes_back_as_it_was() -> None:
    """What is written is read as the same poll, from each of its two forms."""
    poll = Poll("q?", (PollAnswer("x", "one"), PollAnswer("y", "two")), 2, True)
    content = poll_content(poll, ())
    assert read_poll(content, LIMITS) == poll
    del content["m.poll"]
    assert read_poll(content, LIMITS) == poll


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        ({"m.selections": ["a", "b", "a", 3, "", "x" * 300]}, ("a", "b")),
        ({"org.matrix.msc3381.poll.response": {"answers": ["a"]}}, ("a",)),
        ({"org.matrix.msc3381.poll.response": []}, ()),
        ({"m.selections": "ab"}, ()),
        ({"m.selections": [str(number) for number in range(1000)]}, tuple(str(number) for number in range(20))),
    ],
)
def test_votes_are_bounded(content: dict[str, object], chosen: tuple[str, ...]) -> None:
    """A vote is names of answers, each once, at most twenty."""
    assert read_vote(content) == chosen


def test_a_vote_is_about_what_it_references() -> None:
    """Other relations, and what is no event, are no vote for anything."""
    assert poll_of(vote_content(EventId("$p"), ["a"])) == "$p"
    for relates in (None, 3, {"rel_type": "m.thread", "event_id": "$p"}, {"rel_type": "m.reference", "event_id": 3}):
        assert poll_of({"m.relates_to": relates}) is None


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("geo:1.5,-2", Location(1.5, -2.0)),
        ("geo:1,2,300;u=35", Location(1.0, 2.0, 35.0)),
        ("geo:1,2;crs=wgs84;u=3.5", Location(1.0, 2.0, 3.5)),
        ("geo:1,2;crs=moon", None),
        ("geo:91,0", None),
        ("geo:0,181", None),
        ("geo:nan,0", None),
        ("geo:1e3,0", None),
        ("geo:1,2\n", None),
        ("https://example.org", None),
        ("geo:" + "1" * 300, None),
        (3, None),
    ],
)
def test_only_places_on_earth_are_places(address: object, place: Location | None) -> None:
    """What is no point in degrees of this earth stays text."""
    assert read_location({"geo_uri": address}) == place


@pytest.mark.parametrize("number", [math.nan, math.inf, 91.0])
def test_what_is_no_place_is_not_written(number: float) -> None:
    """Numbers that networks make up make no address."""
    assert location_content(Location(number, 0.0), ()) is None
    content = location_content(Location(1e-7, 0.0, math.nan), (Plain("here"),))
    assert content is not None and (content["geo_uri"], content["body"]) == ("geo:0,0", "here")


def test_a_profile_shows_one_visible_line() -> None:
    """Line ends, hidden characters and what turns text around are no part of a shown name; an empty one is none."""
    content = {"msgtype": "m.text", "body": "hi"}
    add_profile(content, Profile("x", "\u202e\u200b \n"), "https://example.org/a.png")
    assert content == {"msgtype": "m.text", "body": "hi", "com.beeper.per_message_profile": {"id": "x"}}
    claimed = {"displayname": "Eve\u202e\n", "id": 3, "avatar_url": "https://x"}
    assert read_profile({"com.beeper.per_message_profile": claimed}) == Profile("", "Eve", None)
    for nobody in (None, 3, {}, {"displayname": ""}, {"displayname": 3}):
        assert read_profile({"com.beeper.per_message_profile": nobody}) is None
