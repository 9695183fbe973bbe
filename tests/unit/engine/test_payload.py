"""Payloads in the journal: every event survives, old ones stay readable, damaged ones are refused in words."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api import content, events
from bridge_core.engine import payload
from bridge_core.engine.payload import (
    VERSION,
    BotCorrection,
    BotEvent,
    BotNotice,
    BotWords,
    PayloadError,
    decode,
    encode,
)

_texts = st.text(max_size=20)
_leaves: st.SearchStrategy[Any] = st.one_of(
    st.builds(content.Plain, _texts),
    st.builds(content.Mention, _texts, st.none() | _texts, st.none() | _texts),
    st.builds(content.CodeBlock, _texts, st.none() | _texts),
    st.just(content.Rule()),
)
_nodes = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(content.Span, st.sampled_from(content.Style), st.lists(inner, max_size=3).map(tuple)),
        st.builds(content.Link, _texts, st.lists(inner, max_size=3).map(tuple)),
        st.builds(content.ListBlock, st.lists(st.lists(inner, max_size=2).map(tuple), max_size=2).map(tuple)),
    ),
    max_leaves=8,
)
_contents = st.builds(
    content.Content,
    st.lists(_nodes, max_size=3).map(tuple),
    st.sampled_from(content.Kind),
    st.lists(
        st.builds(content.Attachment, st.sampled_from(content.MediaKind), _texts, _texts, st.none() | _texts),
        max_size=2,
    ).map(tuple),
)


@given(_contents, st.none() | _texts, st.none() | st.integers(0, 2**53))
def test_every_message_survives(said: content.Content, identity: Any, timestamp: int | None) -> None:
    """A message comes back as it was put in, however it is nested."""
    sender = events.RemoteSender("id", "name")  # type: ignore[arg-type]
    event = events.RemoteMessage("chat", sender, said, identity, timestamp)  # type: ignore[arg-type]
    assert decode(encode(event), VERSION) == event


def _examples() -> Iterator[Any]:
    chat: Any = "chat"
    target: Any = "target"
    sender = events.RemoteSender("id", "name")  # type: ignore[arg-type]
    yield events.RemoteEdit(chat, sender, target, content.Content((content.Plain("x"),)))
    yield events.RemoteRedaction(chat, sender, target, "why")
    yield events.RemoteReaction(chat, sender, target, "+", removed=True)
    yield events.RemoteReceipt(chat, sender, target)
    yield events.RemoteTyping(chat, sender, 3.5)
    yield events.RemoteMember(chat, sender, events.Membership.KICK, by=sender)
    yield events.RemoteVote(chat, sender, target, ("1", "2"))
    yield events.RemotePollEnd(chat, sender, target, "two of three")
    yield events.RemotePresence(sender, events.Presence.AWAY, "out")
    yield events.RemoteMembers(chat, (sender, replace(sender, avatar="blob:1")))
    yield events.RemotePower(chat, (events.MemberPower(sender, 50),), complete=True)
    yield events.RemoteChatMoved(chat, target)
    yield events.RemoteChatGone(chat, "dissolved")
    poll = content.Poll("q", (content.PollAnswer("1", "one"),), 1, disclosed=False)
    said = content.Content((content.Plain("x"),), poll=poll, location=content.Location(1.5, -2.0))
    yield events.RemoteMessage(chat, sender, said)
    plain = content.Content((content.Plain("x"),))
    yield events.RemoteMessage(chat, sender, plain, profile=content.Profile("p", "Name"), expiry=60_000)
    yield events.RemoteMessage(chat, replace(sender, avatar="mxc://a/b"), plain)
    yield events.RemoteRename(target, sender)
    yield events.RemoteInfo(chat, topic="")
    yield events.RemoteStatus(chat, target, events.Fate.FAILED, reason="full")
    yield events.RemoteConsent(chat, sender, granted=False)
    yield events.RemoteJoinRequest(chat, sender)
    yield events.RemoteGap(chat, 1, 2, "away")
    yield events.RemoteMessage(chat, sender, content.Content((content.Plain("x"),)))
    yield BotNotice(chat, "text", None)
    yield BotEvent(chat, "m.reaction", "{}", "key")
    yield BotCorrection(chat, "text", target, "key")
    yield payload.RoomCopy(chat, chat, 3, "{}")


@pytest.mark.parametrize("event", list(_examples()), ids=lambda event: type(event).__name__)
def test_every_kind_of_event_survives(event: Any) -> None:
    """Each event of the contract can be stored and read."""
    assert decode(encode(event), VERSION) == event


def test_every_event_of_the_contract_is_among_the_examples() -> None:
    """No event of the contract is left out of the test above."""
    assert {type(event) for event in _examples()} - set(get_args(BotWords)) == set(get_args(events.RemoteEvent))


def test_a_payload_of_version_1_is_still_read() -> None:
    """What the first version wrote is read for ever: this text must not be changed."""
    stored = b'["msg","#c",["who","nick","Nick",null],["c",[0,["p","hello"]],"text",[0]],null,123,null,null,null]'
    event = decode(stored, 1)
    assert isinstance(event, events.RemoteMessage)
    assert event.content.text == (content.Plain("hello"),)
    assert event.timestamp == 123


def test_missing_last_fields_take_their_defaults() -> None:
    """A class may gain fields at its end: what was written before is read."""
    assert decode(b'["gap","#c",1,2,"why"]', 1) == events.RemoteGap("#c", 1, 2, "why")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[]", b"{}", b'["nothing"]', b'["msg"]', b'["gap",1,2,3,4,5,6,7]', b"[" * 5000, b'["msg",["who"]]', b"\xff"],
)
def test_damaged_payloads_are_refused_in_words(damaged: bytes) -> None:
    """Whatever is in the database, reading it raises the one narrow error."""
    with pytest.raises(PayloadError):
        decode(damaged, VERSION)


def test_a_newer_version_is_refused() -> None:
    """A payload of a later program is not guessed at."""
    with pytest.raises(PayloadError, match="version 2"):
        decode(b"[]", 2)


def test_tags_are_unique() -> None:
    """Each class has one tag, and each of its fields is stored."""
    assert len(set(payload._TAGS.values())) == len(payload._TAGS)
    for cls in payload._TAGS.values():
        assert payload._FIELDS[cls] == tuple(field.name for field in fields(cls))
