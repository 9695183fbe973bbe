"""Holes that other bridges had, each kept shut by name; those of the IRC wire in tests/bridges/irc."""

import asyncio
import os
import sqlite3
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.engine.names import Names
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.store_ports import PortalRow
from bridge_core.testing.homeserver import FakeProfile
from registration.namespaces import Template
from tests.harness import Harness
from tests.invariants.scenes import CAROL, Recorder, balances, notices, put_transaction, receive, say
from tests.scripted import Script, ScriptedClient
from tests.unit.matrix.doubles import GHOST, Clock, fake_with_side


async def _settle(bridge: Harness) -> None:
    await balances(bridge)


async def test_a_reply_into_another_room_quotes_nothing(bridge: Harness, script: Script) -> None:
    """CVE-2023-38700: an event id of another room is unknown here: no text, no author, no remote id crosses over."""
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    await receive(bridge, script, say("secret of the lobby", id=MessageId("s")))
    secret = next(e for e in bridge.homeserver.room(lobby).timeline if "secret" in str(e["content"].get("body")))
    script.answer = lambda message, attempt: Sent((MessageId(attempt.key),))
    own = bridge.alice.send(lobby, "mine")
    await _settle(bridge)
    for target in (secret["event_id"], own):
        bridge.alice.reply(garden, target, "look")
        bridge.alice.react(garden, target, "!")
        bridge.alice.edit(garden, target, "changed")
    bridge.homeserver._world.emit(
        bridge.homeserver.room(garden), "@alice:hs.test", "m.room.redaction", {"redacts": own}, redacts=own
    )
    await _settle(bridge)
    replies = [message for _, message in script.sent if message.chat == "garden"]
    assert all(isinstance(message, MatrixMessage) for message in replies)
    refs = [message.reply_to for message in replies if isinstance(message, MatrixMessage)]
    assert [(ref.id, ref.excerpt, ref.remote_sender, ref.matrix_sender) for ref in refs if ref] == [(None,) * 4] * 2


async def test_a_reply_never_carries_what_it_answers(bridge: Harness, script: Script) -> None:
    """CVE-2024-32000, CVE-2024-39691: who joined later replies to what they never saw: ids cross, its text does not."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("said before you came", id=MessageId("s")))
    secret = next(e for e in bridge.homeserver.room(room).timeline if "before" in str(e["content"].get("body")))
    late = bridge.homeserver.user("late")
    late.join(room)
    assert secret["event_id"] not in [event["event_id"] for event in late.sees(room)]
    recorder = Recorder(bridge)
    late.reply(room, secret["event_id"], "what was that?")
    about = {"m.in_reply_to": {"event_id": secret["event_id"]}}
    made_up = "> <@_net_bob:hs.test> made up\n\nreally?"
    late.send_event(room, "m.room.message", {"msgtype": "m.text", "body": made_up, "m.relates_to": about})
    await _settle(bridge)
    for _, message in script.sent:
        assert isinstance(message, MatrixMessage) and message.reply_to is not None
        assert (message.reply_to.id, message.reply_to.excerpt) == ("s", None)
        assert "before you came" not in repr(message) and "made up" not in repr(message)
    assert [one.url for one in recorder.seen if "/event/" in one.url or "/context/" in one.url] == []


@pytest.mark.parametrize("state_key", [None, "", "@alice:hs.test"])
async def test_a_tombstone_moves_no_portal(bridge: Harness, script: Script, state_key: str | None) -> None:
    """CVE-2021-32659: an upgrade to a room that does not name this one as its predecessor is not followed; nor is a
    tombstone that is no state event (matrix-appservice-bridge)."""
    room = await bridge.portal_room("net", "lobby")
    mallory = bridge.homeserver.user("mallory")
    evil = mallory.create_room(preset="public_chat")
    forged: dict[str, Any] = {"body": "moved", "replacement_room": evil}
    event = {"event_id": "$t", "room_id": room, "sender": mallory.id, "type": "m.room.tombstone", "content": forged}
    if state_key is not None:
        event["state_key"] = state_key
    assert (await put_transaction(bridge, "t", orjson.dumps({"events": [event]})))[0] == 200
    await _settle(bridge)
    assert bridge.running.engine.portals.in_room(RoomId(evil)) == ()
    assert bridge.homeserver.room(evil).members() == [mallory.id]
    bridge.alice.send(room, "still here")
    await bridge.until(lambda: "still here" in script.texts())


async def test_member_events_that_are_no_state_change_nothing(bridge: Harness, script: Script) -> None:
    """A membership event without state key is a message by somebody: no ghost is taken for gone, nobody for invited."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("hello"))
    forged = [
        {"membership": "leave"},
        {"membership": "ban", "state_key": "@_net_bob:hs.test"},
        {"membership": "invite", "displayname": "x" * 60_000},
    ]
    for content in forged:
        bridge.alice.send_event(room, "m.room.member", content)
    await _settle(bridge)
    assert not any(balance.dead for balance in (await balances(bridge)).values())
    assert bridge.running.engine.ghosts.in_room(RoomId(room), UserId("@_net_bob:hs.test"))
    assert script.sent == []


async def test_ghosts_of_another_server_are_people(bridge: Harness, script: Script) -> None:
    """A name like a ghost's on another server is a stranger's: not an echo, not trusted, not dropped in silence."""
    room = await bridge.portal_room("net", "lobby")
    for number, sender in enumerate(("@_net_bob:evil.test", "@bridgebot:evil.test", "@_net_bob:hs.test.evil")):
        event = {"event_id": f"${number}", "room_id": room, "sender": sender, "type": "m.room.message"}
        event_body = {**event, "content": {"msgtype": "m.text", "body": "!bridge unbridge" if number else "hi"}}
        assert (await put_transaction(bridge, str(number), orjson.dumps({"events": [event_body]})))[0] == 200
    found = await balances(bridge)
    assert found["net", 0].accepted >= 3
    assert script.sent == []  # strangers are blocked by default, and told
    assert any("not allowed" in text for text in notices(bridge, room))
    assert bridge.running.engine.portals.in_room(RoomId(room))


async def test_only_authors_edit(bridge: Harness, script: Script) -> None:
    """Somebody else's edit of a Matrix user's or a ghost's message is refused in words, and changes nothing."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("bob's", id=MessageId("b")))
    bobs = next(e for e in bridge.homeserver.room(room).timeline if e["content"].get("body") == "bob's")
    script.answer = lambda message, attempt: Sent((MessageId(attempt.key),))
    mine = bridge.alice.send(room, "alice's")
    await _settle(bridge)
    mallory = bridge.homeserver.user("mallory")
    mallory.join(room)
    for target in (mine, bobs["event_id"]):
        mallory.edit(room, target, "forged")
    found = (await balances(bridge))["net", 0]
    assert found.rejected == 2
    assert not any(isinstance(message, MatrixEdit) for _, message in script.sent)
    assert sum("only the author can edit" in text for text in notices(bridge, room)) == 2


async def test_redactions_and_reactions_are_of_who_made_them(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redaction or reaction goes out under its sender, never under the author of what it is about."""

    async def take(client: ScriptedClient, message: Any, attempt: Any) -> Sent:
        return client._take(message, attempt)

    for act in ("react", "redact"):
        monkeypatch.setattr(ScriptedClient, act, take, raising=False)
    room = await bridge.portal_room("net", "lobby")
    script.answer = lambda message, attempt: Sent((MessageId(attempt.key),))
    mine = bridge.alice.send(room, "alice's")
    await _settle(bridge)
    mallory = bridge.homeserver.user("mallory")
    mallory.join(room)
    mallory.react(room, mine, "!")
    bridge.homeserver._world.emit(
        bridge.homeserver.room(room), mallory.id, "m.room.redaction", {"redacts": mine, "reason": "a\r\nb"}
    )
    await _settle(bridge)
    made = [message for _, message in script.sent if isinstance(message, MatrixReaction | MatrixRedaction)]
    assert [message.sender.id for message in made] == [mallory.id] * 2
    assert all(message.relayed for message in made)


async def test_a_strangers_event_is_not_taken_for_ours() -> None:
    """An event that carries our id hash but another's signature does not keep ours from being sent."""
    async with fake_with_side(FakeProfile.basic()) as (fake, side):
        mallory = fake.user("mallory")
        room = RoomId(mallory.create_room(preset="public_chat"))
        await side.ensure_registered(GHOST)
        await side.join(room, GHOST)
        mallory.send(room, "forged", **{"dev.matrix_bridge.id": "txn"})
        body = orjson.dumps({"msgtype": "m.text", "body": "ours", "dev.matrix_bridge.id": "txn"})
        await side.send(SendRequest(room, "m.room.message", "txn", GHOST, None, body), Clock().now - 1)
        assert fake.messages(room) == [(mallory.id, "forged"), (GHOST, "ours")]


_ids = st.text(st.sampled_from("aA#/_-=@:.b\x1f") | st.characters(codec="utf-8"), min_size=1, max_size=6)


@given(_ids, st.none() | _ids, _ids, st.none() | _ids)
def test_no_two_chats_share_a_room(chat: str, receiver: str | None, other: str, whose: str | None) -> None:
    """CVE-2022-39203: however chats and logins are called, no chat leads to the room or alias of another."""
    template = Template("_{network}_{id}")
    names = Names("hs.test", template, template, UserId("@bot:hs.test"), frozenset({"net"}), b"secret")
    assert (names.alias(NetworkId("net"), ChatId(chat)) == names.alias(NetworkId("net"), ChatId(other))) == (
        chat == other
    )
    one, two = _alias(names, chat, receiver), _alias(names, other, whose)
    assert (one == two) == ((chat, receiver) == (other, whose))


@pytest.mark.parametrize("chat", ["bob/@alice:hs.test", "bob\x1f@alice:hs.test"])
def test_a_private_chats_alias_is_no_public_chats(chat: str) -> None:
    """CVE-2022-39203: a public chat that is called as a private one's alias is written does not get its room."""
    template = Template("_{network}_{id}")
    names = Names("hs.test", template, template, UserId("@bot:hs.test"), frozenset({"net"}), b"secret")
    assert _alias(names, chat, None) != _alias(names, "bob", "@alice:hs.test")


def _alias(names: Names, chat: str, receiver: str | None) -> str:
    async def describe(portal: PortalRow) -> Any:
        return None, None, None

    maker = RoomMaker(names, PortalIndex(None), None, describe, None, None, None, None, {})  # type: ignore[arg-type]
    return maker.alias(PortalRow(1, NetworkId("net"), ChatId(chat), LoginId(receiver) if receiver else None, ()))


HOSTILE_SQL = ["'; DROP TABLE portal; --", "x' OR '1'='1", "%", "_", "\\", "?", ":id", "%s", "{}", '"']


async def test_ids_are_never_part_of_sql(bridge: Harness, script: Script) -> None:
    """CVE-2022-3971: quotes, wildcards and placeholders in ids of rooms, events, chats and people are plain text."""
    stores = bridge.running.database
    for text in HOSTILE_SQL:
        room, chat = RoomId(f"!{text}:hs.test"), ChatId(text)
        row = await bridge.running.engine.portals.ensure(NetworkId("net"), chat)
        await bridge.running.engine.portals.add_room(row, room)
        await stores.kv.put("network:net", text, b"value")
        await stores.memberships.set(room, UserId(f"@{text}:hs.test"), True)
        assert (await stores.kv.get("network:net", text)) == b"value"
        assert await stores.memberships.joined(room) == {f"@{text}:hs.test"}
        event = {"event_id": f"${text}", "room_id": room, "sender": "@alice:hs.test", "type": "m.room.message"}
        body = {**event, "content": {"msgtype": "m.text", "body": text}}
        assert (await put_transaction(bridge, "x" + text.encode().hex(), orjson.dumps({"events": [body]})))[0] == 200
    await _settle(bridge)
    assert sorted(script.texts()) == sorted(HOSTILE_SQL)
    assert {row.chat for row in await stores.portals.all()} == {"lobby", "garden", *HOSTILE_SQL}


async def test_every_endpoint_asks_for_the_token(bridge: Harness) -> None:
    """matrix-appservice-irc #1035: no endpoint answers without the homeserver's token, whatever the method."""
    paths = [
        ("PUT", "/transactions/1"),
        ("GET", "/users/@a:b"),
        ("GET", "/rooms/%23a:b"),
        ("GET", "/_matrix/app/v1/users/@a:b"),
        ("PUT", "/_matrix/app/v1/transactions/1"),
        ("POST", "/_matrix/app/v1/ping"),
        ("GET", "/_matrix/app/v1/thirdparty/protocol/scripted"),
        ("GET", "/_matrix/app/v1/thirdparty/user?userid=@a:b"),
        ("GET", "/_matrix/app/unstable/thirdparty/location/scripted"),
    ]
    async with aiohttp.ClientSession() as session:
        for method, path in paths:
            url = f"http://127.0.0.1:{bridge.port}{path}"
            for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 403), ({"Authorization": "x"}, 401)):
                async with session.request(method, url, headers=headers, json={"events": []}) as response:
                    assert response.status == status, (method, path)


async def test_what_strangers_left_behind_does_not_stop_a_start(bridge: Harness, script: Script) -> None:
    """CVE-2025-23197: odd names, damaged entries and unreadable state are met at start, logged, and lived with."""
    odd = "\u202e\x00\x1f" + "x" * 5000
    await bridge.running.engine.portals.ensure(NetworkId("net"), ChatId("odd\x00chat"), name=odd)
    script.status(LoginStatus.DISCONNECTED)
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "will be damaged")
    bridge.alice.send(room, "stays whole")
    await bridge.homeserver.wait_pushed()
    bridge.homeserver.faults.answer(502, times=1000, match="/send/")
    assert script.inbox is not None
    await script.inbox.receive([say("will be damaged too", CAROL)])
    await bridge.stop_bridge()
    bridge.homeserver.faults.clear()
    database = sqlite3.connect(bridge.folder / "bridge.db")
    lanes = database.execute("SELECT min(id) FROM journal_entry WHERE state = 0 GROUP BY direction, lane").fetchall()
    for (entry,) in lanes:
        database.execute("UPDATE journal_entry SET payload = ? WHERE id = ?", (os.urandom(40), entry))
    database.commit()
    database.close()
    await bridge.start_bridge()
    await bridge.until(lambda: "stays whole" in script.texts())
    found = await balances(bridge)
    assert sum(balance.dead for balance in found.values()) == len(lanes) >= 2
    assert "will be damaged" not in script.texts()


async def test_names_of_any_size_and_script_cost_nothing(bridge: Harness, script: Script) -> None:
    """Huge, empty, reversed and broken names, on both sides: bounded where kept, and nobody's message stops."""
    room = await bridge.portal_room("net", "lobby")
    names = ["x" * 60_000, "", " ", "\u202e\u200b", "a\nb\r\0c", "<b>&lt;", "\U000e0001" * 300]
    for number, name in enumerate(names):
        bridge.alice.set_profile(name)
        bridge.alice.send(room, f"m{number}")
        await receive(bridge, script, say(f"r{number}", type(CAROL)(RemoteUserId("carol"), name)))
    await asyncio.wait_for(_settle(bridge), 60)
    assert script.texts() == [f"m{number}" for number in range(len(names))]
    assert all(0 < len(message.sender.name) <= 255 for _, message in script.sent)
    heard = [b for s, b in bridge.homeserver.messages(room) if s == "@_net_carol:hs.test"]
    assert heard == [f"r{number}" for number in range(len(names))]


async def test_text_that_is_no_unicode_is_mended(bridge: Harness, script: Script) -> None:
    """Half surrogate pairs from a network's decoder are replaced: stored, delivered, and the adapter gets no error."""
    room = await bridge.portal_room("net", "lobby")
    sender = type(CAROL)(RemoteUserId("carol\udc80"), "Carol \udcff")
    await receive(bridge, script, say("before \ud800 after", sender, id=MessageId("\udfff")), say("next", CAROL))
    bodies = [body for who, body in bridge.homeserver.messages(room)]
    assert bodies == ["before ? after", "next"]
    assert (await balances(bridge))["net", 1].delivered == 2
