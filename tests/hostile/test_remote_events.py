"""Events from networks made to hurt: whatever an adapter hands in ends counted, and the chat goes on."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.content import (
    Attachment,
    CodeBlock,
    Colored,
    Content,
    Kind,
    Link,
    ListBlock,
    MediaKind,
    Mention,
    Paragraph,
    Plain,
    Quote,
    Span,
    Spoiler,
    Style,
)
from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteGap,
    RemoteMessage,
    RemoteReaction,
    RemoteRedaction,
    RemoteRename,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId, UserId
from bridge_core.engine import requests
from tests.harness import Harness
from tests.invariants.scenes import balances, receive, said, say
from tests.scripted import Script

_text = st.text(max_size=12) | st.sampled_from(["", "\0", "\ud800", "\u202e", "<b>&amp;", "javascript:x", "x" * 3000])
_ids = st.sampled_from(["1", "2", "\x1f", "\0", "x" * 500, "ü", "~1"]) | st.text(min_size=1, max_size=3)
_people = st.builds(RemoteSender, _ids.map(RemoteUserId), st.none() | _text)
_chats = st.sampled_from([ChatId("lobby"), ChatId("lobby"), ChatId("garden"), ChatId("nowhere")])
_times = st.sampled_from([0, -1, 1, 1_700_000_000_000, 2**53, 2**62]) | st.integers(-(2**40), 2**45)
_users = st.none() | st.sampled_from([UserId("@alice:hs.test"), UserId("@"), UserId("not an id\0")])
_plain = st.builds(Plain, _text)


def _inner(nodes: Any) -> Any:
    many = st.lists(nodes, max_size=3).map(tuple)
    return (
        st.builds(Span, st.sampled_from(list(Style)), many)
        | st.builds(Colored, st.none() | _text, st.none() | _text, many)
        | st.builds(Spoiler, st.none() | _text, many)
        | st.builds(Link, _text, many)
        | st.builds(Quote, many)
        | st.builds(Paragraph, many)
        | st.builds(ListBlock, st.lists(many, max_size=3).map(tuple), st.none() | st.integers(-3, 10**9))
        | st.builds(CodeBlock, _text, st.none() | _text)
        | st.builds(Mention, _text, st.none() | _ids.map(RemoteUserId), _users)
    )


_nodes = st.recursive(_plain, _inner, max_leaves=6)
_files = st.builds(
    Attachment,
    st.sampled_from(list(MediaKind)),
    _text,
    st.sampled_from(["blob:" + "0" * 32, "blob:../../etc/passwd", "mxc://a/b", "", "file:///etc/passwd"]),
    st.none() | _text,
    st.none() | st.integers(-1, 2**40),
)
_content = st.builds(
    Content,
    st.lists(_nodes, max_size=4).map(tuple),
    st.sampled_from(list(Kind)),
    st.lists(_files, max_size=1).map(tuple),
)
_messages = _ids.map(MessageId)
_maybe = st.none() | _messages
_events = st.one_of(
    st.builds(RemoteMessage, _chats, _people, _content, _maybe, st.none() | _times, _maybe, _maybe),
    st.builds(RemoteEdit, _chats, _people, _messages, _content, _maybe, st.none() | _times),
    st.builds(RemoteRedaction, _chats, _people, _messages, st.none() | _text, _maybe),
    st.builds(RemoteReaction, _chats, _people, _messages, _text, id=_maybe),
    st.builds(RemoteRename, _ids.map(RemoteUserId), _people),
    st.builds(RemoteGap, _chats, _times, _times, _text),
)


async def test_no_remote_event_can_stop_a_chat(bridge: Harness, script: Script) -> None:
    """Odd names, ids, times, trees, files and references: all of it ends, none of it as an internal error."""
    room = await bridge.portal_room("net", "lobby")
    examples: list[list[RemoteEvent]] = []

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(_events, min_size=1, max_size=6))
    def collect(events: list[RemoteEvent]) -> None:
        examples.append(events)

    collect()
    assert script.inbox is not None
    for events in examples:
        await script.inbox.receive(events)
    await receive(bridge, script, say("still here"))
    found = (await balances(bridge))["net", 1]
    assert said(bridge, room, "bob") == ["still here"]
    assert found.delivered > len(examples) / 4
    database = bridge.running.database
    internal = await database.reader.run(
        lambda connection: connection.exec_driver_sql(
            "SELECT id, last_error FROM journal_entry WHERE state = 2 AND last_error LIKE 'internal%'"
        ).fetchall()
    )
    assert internal == []


async def test_a_bad_event_costs_the_ones_before_it_nothing(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are planned in batches: one that cannot be planned dies alone, whatever stands in front of it."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    build = requests.build

    def breaks(*given: Any, **more: Any) -> Any:
        if given[5].get("body") == "bad":
            raise ValueError("a bug")
        return build(*given, **more)

    monkeypatch.setattr(requests, "build", breaks)
    await receive(bridge, script, *[say("bad" if number == 3 else f"m{number}") for number in range(6)])
    assert said(bridge, room, "bob") == ["before", "m0", "m1", "m2", "m4", "m5"]
    assert (await balances(bridge))["net", 1].dead == 1


async def test_files_come_from_the_spool_only(bridge: Harness, script: Script) -> None:
    """No name that an adapter passes on leads out of the spool: the message says what is missing, nothing is read."""
    room = await bridge.portal_room("net", "lobby")
    secret = bridge.folder / "secret"
    secret.write_text("not for the network")
    for source in (f"blob:{secret}", "blob:../secret", "file:../secret", str(secret), "blob:..%2fsecret"):
        file = Attachment(MediaKind.FILE, "a.txt", source, "text/plain", 19)
        person = RemoteSender(RemoteUserId("bob"), "Bob")
        await receive(bridge, script, RemoteMessage(ChatId("lobby"), person, Content(attachments=(file,))))
    found = (await balances(bridge))["net", 1]
    assert (found.delivered, found.dead) == (5, 0)
    assert {body for _, body in bridge.homeserver.messages(room)} == {"(file a.txt: 19 bytes, could not be carried)"}
    assert all(bridge.homeserver.file(mxc) is None for mxc in bridge.homeserver.files())
    assert secret.exists()
