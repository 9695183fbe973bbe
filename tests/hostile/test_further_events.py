"""Every further event of networks and of Matrix made to hurt: polls, votes, places, receipts, consent, moves, state."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.content import Content, Location, Mention, Plain, Poll, PollAnswer, Profile
from bridge_core.api.events import (
    Fate,
    Presence,
    RemoteChatGone,
    RemoteChatMoved,
    RemoteConsent,
    RemoteEvent,
    RemoteGap,
    RemoteInfo,
    RemoteJoinRequest,
    RemoteMembers,
    RemoteMessage,
    RemotePollEnd,
    RemotePresence,
    RemoteReceipt,
    RemoteSender,
    RemoteStatus,
    RemoteTyping,
    RemoteVote,
)
from bridge_core.api.ids import ChatId, LoginId, MessageId, RemoteUserId
from tests.harness import Harness
from tests.invariants.scenes import balances, event, put_transaction, receive, said, say
from tests.scripted import Script

_text = st.text(max_size=12) | st.sampled_from(["", "\0", "\ud800", "\u202e", "a\r\nQUIT", "<b>&amp;", "x" * 70_000])
_maybe_text = st.none() | _text
_ids = st.sampled_from(["1", "2", "\x1f", "\0", "x" * 500, "ü", "~1"]) | st.text(min_size=1, max_size=3)
_logins = st.none() | st.sampled_from([LoginId("@nobody:hs.test"), LoginId("@alice:hs.test"), LoginId("\0")])
_people = st.builds(RemoteSender, _ids.map(RemoteUserId), _maybe_text, _logins, st.none() | st.just("blob:../x"))
# Rooms that are ended, moved or refused are others than the one that has to go on.
_chats = st.sampled_from([ChatId("lobby"), ChatId("garden"), ChatId("nowhere")])
_doomed = st.sampled_from([ChatId("garden"), ChatId("nowhere"), ChatId("\0")])
_times = st.none() | st.sampled_from([0, -1, 1, 2**53, 2**62, -(2**62)])
_messages = _ids.map(MessageId)
_maybe = st.none() | _messages
_numbers = st.floats(allow_nan=True) | st.sampled_from([0.0, 1e308, -1e-308, 91.0])
_polls = st.builds(
    Poll,
    _text,
    st.lists(st.builds(PollAnswer, _text, _text), max_size=30).map(tuple),
    st.sampled_from([-1, 0, 1, 2**62]),
    st.booleans(),
)
_content = st.builds(
    Content,
    st.lists(st.builds(Plain, _text), max_size=2).map(tuple),
    poll=st.none() | _polls,
    location=st.none() | st.builds(Location, _numbers, _numbers, st.none() | _numbers, _text),
    mentions=st.lists(st.builds(Mention, _text, st.none() | _ids.map(RemoteUserId)), max_size=60).map(tuple),
    mentions_all=st.booleans(),
)
_profiles = st.none() | st.builds(Profile, _text, _maybe_text, _maybe_text)
_spans = st.none() | st.sampled_from([-1, 0, 1, 2**62])
_remote: st.SearchStrategy[Any] = st.one_of(
    st.builds(RemoteMessage, _chats, _people, _content, _maybe, _times, profile=_profiles, expiry=_spans),
    st.builds(RemoteVote, _chats, _people, _messages, st.lists(_text, max_size=30).map(tuple), _maybe, _times),
    st.builds(RemotePollEnd, _chats, _people, _messages, _text, _maybe, _times),
    st.builds(RemoteReceipt, _chats, _people, _messages, st.booleans(), _times),
    st.builds(RemoteTyping, _chats, _people, _numbers),
    st.builds(RemotePresence, _people, st.sampled_from(list(Presence)), _maybe_text),
    st.builds(
        RemoteInfo,
        _chats,
        st.none() | _people,
        _maybe_text,
        _maybe_text,
        _maybe_text,
        _times,
        expiry=_spans,
        join_rule=_maybe_text | st.sampled_from(["public", "knock"]),
    ),
    st.builds(RemoteChatMoved, _doomed, _doomed, st.none() | _people),
    st.builds(RemoteChatGone, _doomed, _text),
    st.builds(RemoteStatus, _chats, _messages, st.sampled_from(list(Fate)), st.none() | _ids, _maybe_text),
    st.builds(RemoteConsent, _doomed, _people, st.booleans(), _maybe_text),
    st.builds(RemoteJoinRequest, _chats, _people, _maybe_text),
    st.builds(RemoteGap, _chats, _times.map(lambda at: at or 0), _times.map(lambda at: at or 0), _text),
)

_MANY = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


async def test_no_further_remote_event_can_stop_a_chat(bridge: Harness, script: Script) -> None:
    """Polls, votes, places, profiles, receipts, presence, descriptions, moves, ends, fates, consents and requests to
    join, with anything in their fields: all of it ends, none of it as an internal error, and the chat goes on."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.portal_room("net", "garden")
    examples: list[list[RemoteEvent]] = []

    @settings(max_examples=60, **_MANY)  # type: ignore[arg-type]
    @given(st.lists(_remote, min_size=1, max_size=6))
    def collect(events: list[RemoteEvent]) -> None:
        examples.append(events)

    collect()
    assert script.inbox is not None
    for events in examples:
        await script.inbox.receive(events)
    await receive(bridge, script, say("still here"))
    await balances(bridge)
    assert "still here" in said(bridge, room, "bob")
    assert await _internal(bridge) == []


async def _internal(bridge: Harness) -> list[Any]:
    """Entries that died of a mistake of ours."""
    return await bridge.running.database.reader.run(
        lambda connection: connection.exec_driver_sql(
            "SELECT id, last_error FROM journal_entry WHERE state = 2 AND last_error LIKE 'internal%'"
        ).fetchall()
    )


_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "\0", "a\r\nQUIT", "@alice:hs.test", "@_net_bob:hs.test", "$pushed1", "x" * 999, "geo:1,2"])
)
_any = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _shaped(**fields: Any) -> Any:
    """Content with some of these fields, each well formed or anything at all."""
    return st.fixed_dictionaries({}, optional={name: field | _any for name, field in fields.items()})


_words = st.sampled_from(["", "a", "b\r\nQUIT", "\u202e", "x" * 5000])
_extensible = st.lists(st.fixed_dictionaries({"body": _words}) | _any, max_size=3)
_answers = st.lists(
    st.fixed_dictionaries({"id": _words, "m.id": _words, "m.text": _extensible, "org.matrix.msc1767.text": _words})
    | _any,
    max_size=40,
)
_question = st.fixed_dictionaries({"m.text": _extensible, "body": _words, "org.matrix.msc1767.text": _words})
_start = _shaped(question=_question, answers=_answers, max_selections=_leaf, kind=_words)
_target = st.fixed_dictionaries({"rel_type": st.just("m.reference"), "event_id": st.just("$pushed1") | _any})
_chosen = st.lists(_words, max_size=40)
_mxids = st.lists(st.sampled_from(["@alice:hs.test", "@_net_bob:hs.test", "@", "x" * 300]) | _leaf, max_size=60)
_mentions = st.fixed_dictionaries({"user_ids": _mxids | _any, "room": _leaf})
_levels = st.dictionaries(st.sampled_from(["@alice:hs.test", "@_net_bob:hs.test", "@bridgebot:hs.test"]), _leaf)
_KINDS: dict[str, Any] = {
    "m.poll.start": _shaped(**{"m.poll": _start, "m.text": _extensible}),
    "org.matrix.msc3381.poll.start": _shaped(**{"org.matrix.msc3381.poll.start": _start, "body": _words}),
    "m.poll.response": _shaped(**{"m.relates_to": _target, "m.selections": _chosen}),
    "org.matrix.msc3381.poll.response": _shaped(
        **{
            "m.relates_to": _target,
            "org.matrix.msc3381.poll.response": st.fixed_dictionaries({"answers": _chosen | _any}),
        }
    ),
    "m.poll.end": _shaped(**{"m.relates_to": _target, "m.text": _extensible}),
    "m.room.message": _shaped(
        msgtype=st.sampled_from(["m.location", "m.audio", "m.image", "m.text", "m.emote"]),
        body=_words,
        geo_uri=st.sampled_from(["geo:1,2", "geo:nan,inf", "geo:" + "9" * 5000, "geo:1,2;u=-1", "geo:1e400,0"]),
        **{
            "m.location": st.fixed_dictionaries({"uri": _words, "description": _words | _any}),
            "m.mentions": _mentions,
            "com.beeper.per_message_profile": st.fixed_dictionaries({"id": _words, "displayname": _words | _any}),
            "info": st.fixed_dictionaries({"size": _leaf, "w": _leaf, "h": _leaf, "duration": _leaf}),
            "org.matrix.msc1767.audio": st.fixed_dictionaries({"duration": _leaf, "waveform": st.lists(_leaf) | _any}),
            "m.new_content": _any,
            "m.relates_to": _any | _target,
        },
    ),
    "m.sticker": _shaped(body=_words, url=_words | st.just("mxc://hs.test/x"), info=_any),
    "m.reaction": _shaped(**{"m.relates_to": _shaped(rel_type=st.just("m.annotation"), event_id=_words, key=_words)}),
    "m.room.name": _shaped(name=_words),
    "m.room.topic": _shaped(topic=_words, **{"m.topic": _any}),
    "m.room.avatar": _shaped(url=_words, info=_any),
    "m.room.member": _shaped(membership=st.sampled_from(["join", "ban", "knock", "invite"]), displayname=_words),
    "m.room.power_levels": _shaped(users=_levels, events=_any, ban=_leaf, state_default=_leaf, users_default=_leaf),
    "m.room.create": _any,
    "m.room.join_rules": _shaped(join_rule=_words, allow=_any),
    "m.room.tombstone": _shaped(replacement_room=_words, body=_words),
    "m.policy.rule.user": _shaped(entity=_words, recommendation=st.just("m.ban")),
    "m.policy.rule.server": _shaped(entity=_words | st.just("*"), recommendation=st.just("m.ban")),
    "m.space.child": _shaped(via=_any),
    "m.bridge": _shaped(bridgebot=_words, protocol=_any, channel=_any),
    "com.beeper.room_features": _any,
    "com.beeper.disappearing_timer": _shaped(type=_words, timer=_leaf),
}
_pushed = st.sampled_from(sorted(_KINDS)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "content": _KINDS[kind].map(lambda content: content if isinstance(content, dict) else {}),
        },
        optional={
            "state_key": st.sampled_from(
                ["", "@alice:hs.test", "@_net_bob:hs.test", "@bridgebot:hs.test", "!x:hs.test"]
            ),
            "sender": st.sampled_from(["@alice:hs.test", "@eve:else.where"]),
            "unsigned": st.fixed_dictionaries({"prev_content": _any | _levels}),
        },
    )
)


@pytest.mark.parametrize("moderates", [False, True])
async def test_no_further_event_of_matrix_can_crash_the_bridge(
    bridge: Harness, script: Script, moderates: bool
) -> None:
    """Polls, places, mentions, profiles, powers, policies and state of every known type, in shape and out of it: all of
    it ends counted, nothing dies of it, and the bridge works on."""
    script.moderates = moderates
    room = await bridge.portal_room("net", "lobby")
    batches: list[list[dict[str, Any]]] = []

    @settings(max_examples=80, **_MANY)  # type: ignore[arg-type]
    @given(st.lists(_pushed, min_size=1, max_size=10))
    def collect(pushed: list[dict[str, Any]]) -> None:
        batches.append(pushed)

    collect()
    for number, batch in enumerate(batches):
        events = [{**event(room, number * 100 + place), **odd} for place, odd in enumerate(batch)]
        status, _ = await put_transaction(bridge, f"f{number}", json.dumps({"events": events}).encode())
        assert status == 200
    await balances(bridge)
    assert await _internal(bridge) == []
    bridge.alice.send(room, "still here")
    await bridge.until(lambda: "still here" in script.texts())


async def test_a_hundred_thousand_members_stop_nothing(bridge: Harness, script: Script) -> None:
    """A list of 100,000 members, half of them the same one, is taken in bounded pieces: what is said after it comes."""
    room = await bridge.portal_room("net", "lobby")
    crowd = tuple(RemoteSender(RemoteUserId(f"u{number // 2}"), f"U{number}") for number in range(100_000))
    assert script.inbox is not None
    await script.inbox.receive([RemoteMembers(ChatId("lobby"), crowd), say("after the crowd")])
    async with asyncio.timeout(60):
        await bridge.until(lambda: said(bridge, room, "bob") == ["after the crowd"], 20)
    await balances(bridge)
    assert await _internal(bridge) == []
    # Lazily nobody comes who says nothing.
    assert len(bridge.homeserver.room(room).members()) == 3
