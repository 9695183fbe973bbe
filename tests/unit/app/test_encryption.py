"""Encryption towards Matrix: a whole bridge on the fake homeserver, and a client with keys of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from bridge_core.api.content import Attachment, Content, MediaKind, Plain, Poll, PollAnswer
from bridge_core.api.events import RemoteEdit, RemoteEvent, RemoteMessage, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.policy import Trust
from bridge_core.engine.encrypted_files import decrypted
from bridge_core.engine.matrix_ports import Reading, SendRequest
from bridge_core.engine.readers import Readers
from bridge_core.engine.requests import Prepared
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.scripted import Script
from tests.unit.crypto.world import HandClock

HALL = ChatId("hall")
GHOST = "@_net_anna:hs.test"
ANNA = RemoteSender(RemoteUserId("anna"), "Anna")
PUPPET_TOKEN = "J7xq2LmVt9Rk4WzB1nYc8HsD5fPg3QaF"
SECRET = "a word that nobody but alice reads"


@asynccontextmanager
async def bridged(
    folder: Path, profile: FakeProfile | None = None, script: Script | None = None, **more: Any
) -> AsyncIterator[tuple[Harness, Script]]:
    """A bridge with encryption and the scripted network `net`, whose section is `network`."""
    script = script or Script()
    network = {"type": "scripted", "portals": ["hall"], **more.pop("network", {})}
    sections = {"encryption": {"mode": "auto", **more.pop("encryption", {})}, **more}
    harness = Harness(folder, {"net": network}, {"scripted": script}, **sections)
    harness.appservice.encryption = True
    if profile is not None:
        harness.homeserver = FakeHomeserver(profile=profile, appservice=harness.appservice)
    async with harness:
        if harness.running.encryption is not None and profile is None:  # else the first words are for nobody of ours
            await harness.until(lambda: harness.homeserver.keys.devices.get(harness.homeserver.bot))
        yield harness, script


async def said(script: Script, text: str, number: int = 1) -> None:
    """Anna says it on the network."""
    await received(script, RemoteMessage(HALL, ANNA, Content((Plain(text),)), id=MessageId(f"m{number}")))


async def received(script: Script, event: RemoteEvent) -> None:
    """It happens on the network."""
    assert script.inbox is not None
    await script.inbox.receive([event])


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def event_of(harness: Harness, room: str, event: str) -> dict[str, Any]:
    """An event as the homeserver has it."""
    return next(one for one in harness.homeserver.room(room).timeline if one["event_id"] == event)


async def test_a_ghost_speaks_by_its_own_signed_device(tmp_path: Path) -> None:
    """What a ghost says in an encrypted room is read by a client, from a device that the ghost's identity signs."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        assert harness.homeserver.room(room).content("m.room.encryption") == {"algorithm": MEGOLM}
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, SECRET)
            found = await alice.sees(room, SECRET)
            assert found.event["sender"] == GHOST
            assert found.trust >= Trust.CROSS_SIGNED
            assert found.device == "MATRIXBRIDGE"


async def test_nothing_of_an_encrypted_room_is_ever_in_clear(tmp_path: Path) -> None:
    """No request that the bridge makes holds a word, a file or a file's name of what is said there."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        harness.homeserver.bodies = bodies = []
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, f"{SECRET} 1")
            await alice.sees(room, f"{SECRET} 1")
            await said(script, f"{SECRET} 2 {'long ' * 20_000}", 2)
            assert script.host is not None
            blob = await script.host.blobs.put(_chunks(SECRET.encode() * 100), 10_000)
            file = Attachment(MediaKind.FILE, f"{SECRET}.txt", blob, "text/plain", len(SECRET) * 100)
            await received(script, RemoteMessage(HALL, ANNA, Content(attachments=(file,)), id=MessageId("m3")))
            edit = RemoteEdit(HALL, ANNA, MessageId("m1"), Content((Plain(f"{SECRET} 3"),)), id=MessageId("e1"))
            await received(script, edit)
            poll = Poll(f"{SECRET}?", (PollAnswer("y", SECRET), PollAnswer("n", "No")))
            await received(script, RemoteMessage(HALL, ANNA, Content(poll=poll), id=MessageId("m4")))
            await harness.running.engine.status.say(RoomId(room), f"{SECRET} 5")
            await received(script, RemoteRedaction(HALL, ANNA, MessageId("m2"), reason=None))
            await alice.sees(room, f"{SECRET} 5")
            await harness.settled()
            found = [one for one in harness.homeserver.room(room).timeline if one["type"] == "m.room.encrypted"]
            assert len(found) >= 6
            assert all(one["sender"] in {GHOST, harness.homeserver.bot} for one in found)
            shown = await alice.sees(room, f"{SECRET}.txt")
        assert not [body for body in bodies if SECRET.encode() in body or b"a%20word" in body or b"long long" in body]
        there = shown.event["content"]["file"]
        sealed = harness.homeserver.file(there["url"])
        assert sealed is not None
        data = b"".join([chunk async for chunk in decrypted(_chunks(sealed), orjson.dumps(there).decode())])
        assert data == SECRET.encode() * 100


async def test_a_room_that_becomes_encrypted_is_encrypted_for(tmp_path: Path) -> None:
    """What is said after the room's admins turned encryption on is encrypted, and stays so when it is turned off."""
    async with bridged(tmp_path) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "before")
            await harness.homeserver.wait_message(room, "before")
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
            await harness.settled()
            await said(script, SECRET, 2)
            await alice.sees(room, SECRET)
            harness.alice.set_state(room, "m.room.encryption", {})
            await harness.settled()
            await said(script, f"{SECRET} 2", 3)
            await alice.sees(room, f"{SECRET} 2")
        assert [body for _, body in harness.homeserver.messages(room)] == ["before"]


async def test_a_room_whose_state_is_not_shown_gets_nothing_in_clear(tmp_path: Path) -> None:
    """While it cannot be read whether a room is encrypted, what is said waits; then it goes as it must."""
    async with bridged(tmp_path) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        harness.homeserver.faults.answer(500, times=10_000, match="m.room.encryption")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, SECRET)
            await harness.until(lambda: len(asked(harness)) > 2 or harness.homeserver.messages(room))
            harness.homeserver.faults.clear()
            await alice.sees(room, SECRET)
        assert harness.homeserver.messages(room) == []


def asked(harness: Harness) -> list[str]:
    """The questions for how a room is encrypted."""
    return [line for line in harness.homeserver.requests if line.endswith("/state/m.room.encryption")]


async def test_required_encryption_lets_nothing_through_without_it(tmp_path: Path) -> None:
    """In a room that is not encrypted nothing crosses in either direction, and who speaks is told why."""
    async with bridged(tmp_path, network={"encryption": "require"}) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        harness.alice.send(room, "to the network")
        await harness.homeserver.wait_event(room, lambda e: "requires encrypted" in str(e["content"].get("body")))
        await said(script, SECRET)
        await harness.settled()
        assert script.sent == []
        assert not [body for sender, body in harness.homeserver.messages(room) if SECRET in body]


async def test_what_is_said_in_the_clear_is_not_for_a_network_that_requires_encryption(tmp_path: Path) -> None:
    """In an encrypted room too: its sender is told, and what they encrypt crosses."""
    async with bridged(tmp_path, network={"encryption": "require"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "hello")
            await alice.sees(room, "hello")
            harness.alice.send(room, "in the clear")
            await harness.settled()
            await alice.says(room, "encrypted")
            await harness.until(lambda: script.texts() == ["encrypted"])
            assert [text async for text in alice.all(room) if "was sent in the clear" in text]


async def test_required_encryption_comes_to_rooms_that_were_there(tmp_path: Path) -> None:
    """A room that the bridge made before its network required encryption becomes encrypted by itself."""
    async with bridged(tmp_path) as (harness, script):
        room = await harness.portal_room("net", "hall")
        await harness.stop_bridge()
        harness.networks = {"net": {**harness.networks["net"], "encryption": "require"}}
        await harness.start_bridge()
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).content("m.room.encryption"))
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, SECRET)
            await alice.sees(room, SECRET)


async def test_who_comes_later_reads_what_is_said_later(tmp_path: Path) -> None:
    """A member who joins reads on from there; one who has left reads no further, whoever speaks."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        bob = harness.homeserver.user("bob")
        async with (
            EncryptedClient(harness.homeserver, harness.alice) as alice,
            EncryptedClient(harness.homeserver, bob) as late,
        ):
            await said(script, "one")
            first = (await alice.sees(room, "one")).event["event_id"]
            bob.join(room)
            await harness.homeserver.wait_pushed()
            await said(script, "two", 2)
            await late.sees(room, "two")
            with pytest.raises(MissingKeyError):
                await late.read(event_of(harness, room, first))
            bob.leave(room)
            await harness.homeserver.wait_pushed()
            await said(script, "three", 3)
            third = (await alice.sees(room, "three")).event["event_id"]
            with pytest.raises(MissingKeyError):
                await late.read(event_of(harness, room, third))


async def test_who_is_invited_reads_what_the_room_shows_them(tmp_path: Path) -> None:
    """Where history is shown from the invitation on the invited read what is said, else not: whoever sets that."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        bob = harness.homeserver.user("bob")
        matrix = harness.running.matrix
        async with (
            EncryptedClient(harness.homeserver, harness.alice) as alice,
            EncryptedClient(harness.homeserver, bob) as invited,
        ):
            await said(script, "hello")
            await alice.sees(room, "hello")
            await matrix.invite(RoomId(room), UserId(bob.id))
            for number, visibility in enumerate(("joined", "shared", "joined"), 2):
                content = {"history_visibility": visibility}
                await matrix.set_state(RoomId(room), "m.room.history_visibility", "", content, matrix.bot)
                await harness.homeserver.wait_pushed()
                await said(script, f"{visibility} {number}", number)
                event = event_of(harness, room, (await alice.sees(room, f"{visibility} {number}")).event["event_id"])
                if visibility == "shared":
                    assert (await invited.read(event)).event["content"]["body"] == "shared 3"
                else:
                    with pytest.raises(MissingKeyError):
                        await invited.read(event)


@pytest.mark.parametrize("needed", [0, 100])
async def test_a_private_chat_that_a_user_begins(tmp_path: Path, needed: int) -> None:
    """Who invites a ghost into an encrypted room talks with that person, also where the bot may not be invited."""
    async with bridged(tmp_path, network={"encryption": "require"}) as (harness, script):
        script.provided = True
        await harness.portal_room("net", "hall")
        await said(script, "hello")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            private = harness.alice.create_room(
                preset="private_chat",
                invite=[GHOST],
                initial_state=[{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}],
                power_level_content_override={"invite": needed},
            )
            there = harness.homeserver.room(private)
            await harness.until(lambda: GHOST in there.members())
            await harness.settled()
            assert ("@bridgebot:hs.test" in there.members()) is (needed == 0)
            await alice.says(private, "psst")
            await harness.until(lambda: script.sent)
            assert script.texts() == ["psst"]
            chat, receiver = script.sent[0][1].chat, LoginId(alice.user.id)
            answer = RemoteMessage(chat, ANNA, Content((Plain("yes?"),)), id=MessageId("y"), receiver=receiver)
            await received(script, answer)
            assert (await alice.sees(private, "yes?")).event["sender"] == GHOST


@pytest.mark.parametrize("policy", ["allow", "off"])
async def test_a_private_chat_stays_encrypted_in_its_next_room(tmp_path: Path, policy: str) -> None:
    """Who left the encrypted room of a private chat is invited to another encrypted one, if the network may have it."""
    async with bridged(tmp_path, network={"encryption": "allow"}) as (harness, script):
        script.provided = True
        await harness.portal_room("net", "hall")
        await said(script, "hello")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
            private = harness.alice.create_room(preset="private_chat", invite=[GHOST], initial_state=state)
            await harness.until(lambda: "@bridgebot:hs.test" in harness.homeserver.room(private).members())
            await alice.says(private, "psst")
            await harness.until(lambda: script.sent)
            chat, receiver = script.sent[0][1].chat, LoginId(alice.user.id)
            key = PortalKey(NetworkId("net"), chat, receiver)
            await harness.until(lambda: harness.running.engine.portals.get(key).options.get("encrypted"))  # type: ignore[union-attr]
            await harness.stop_bridge()
            harness.networks = {"net": {**harness.networks["net"], "encryption": policy}}
            await harness.start_bridge()
            harness.alice.leave(private)
            await harness.until(lambda: (row := harness.running.engine.portals.get(key)) and not row.rooms)
            again = RemoteMessage(chat, ANNA, Content((Plain("again"),)), id=MessageId("a"), receiver=receiver)
            await received(script, again)
            row = await harness.until(lambda: (row := harness.running.engine.portals.get(key)) and row.rooms and row)
            assert row.rooms[0] != private
            content = harness.homeserver.room(row.rooms[0]).content("m.room.encryption")
            assert (content is not None) is (policy == "allow")
            if policy == "allow":
                harness.alice.join(row.rooms[0])
                assert (await alice.sees(row.rooms[0], "again")).event["sender"] == GHOST


async def test_devices_that_are_not_verified_are_named_once(tmp_path: Path) -> None:
    """A device that its owner has not signed reads nothing; the room is told of it once, whoever speaks."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        bob = harness.homeserver.user("bob")
        bob.join(room)
        await harness.homeserver.wait_pushed()
        async with (
            EncryptedClient(harness.homeserver, harness.alice) as alice,
            EncryptedClient(harness.homeserver, bob, cross_signing=False) as unsigned,
        ):
            await said(script, SECRET)
            words = (
                "These devices cannot read what the bridge says here, since their owners have not verified them: "
                f"{bob.id} ({bob.device})"
            )
            told = await alice.sees(room, words)
            assert told.event["sender"] == harness.homeserver.bot
            other = RemoteSender(RemoteUserId("carl"), "Carl")
            await received(script, RemoteMessage(HALL, other, Content((Plain("hi"),)), id=MessageId("m2")))
            found = await alice.sees(room, "hi")
            with pytest.raises(MissingKeyError):
                await unsigned.read(event_of(harness, room, found.event["event_id"]))
            await harness.settled()
            assert len([one async for one in alice.all(room) if one == words]) == 1


async def test_a_whole_machine_that_is_put_back_speaks_in_new_sessions(tmp_path: Path) -> None:
    """Database and the file beside it are those of before: the homeserver's number tells, and no ratchet is reused."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            used = [(await alice.sees(room, "one")).event]
            await harness.stop_bridge()
            snapshot = {file: file.read_bytes() for file in tmp_path.glob("bridge.db*")}
            await harness.start_bridge()
            await said(script, "two", 2)
            used.append((await alice.sees(room, "two")).event)
            await harness.stop_bridge()
            for file in tmp_path.glob("bridge.db*"):
                file.unlink()
            for file, data in snapshot.items():
                file.write_bytes(data)
            with structlog.testing.capture_logs() as lines:
                await harness.start_bridge()
                await said(script, "three", 3)
                used.append((await alice.sees(room, "three")).event)
            told = {line["event"] for line in lines if line["log_level"] == "error"}
            assert told == {"database_is_an_older_copy"}
            first, second, third = (
                event_of(harness, room, event["event_id"])["content"]["session_id"] for event in used
            )
            assert first == second != third


async def test_commands_about_encryption(tmp_path: Path) -> None:
    """An admin sees how encryption is; the recovery key is not said in the clear; a reset makes another identity."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        admin = harness.homeserver.user("admin")
        desk = admin.create_room(invite=[harness.homeserver.bot])
        await harness.homeserver.wait_for(
            lambda: harness.homeserver.room(desk).membership(harness.homeserver.bot) == "join"
        )
        admin.send(desk, "encryption status")
        await harness.homeserver.wait_event(desk, lambda e: "net: default" in str(e["content"].get("body")))
        admin.send(desk, "encryption recovery-key")
        await harness.homeserver.wait_event(desk, lambda e: "not encrypted" in str(e["content"].get("body")))
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            await alice.sees(room, "one")
            before = harness.homeserver.keys.query(GHOST, [GHOST])["master_keys"][GHOST]
            admin.send(desk, f"encryption reset {GHOST}")
            again = f"To do it, say: encryption reset {GHOST} confirm"
            await harness.homeserver.wait_event(desk, lambda e: again in str(e["content"].get("body")))
            assert harness.homeserver.keys.query(GHOST, [GHOST])["master_keys"][GHOST] == before
            admin.send(desk, f"encryption reset {GHOST} confirm")
            await harness.homeserver.wait_event(desk, lambda e: "has a new identity" in str(e["content"].get("body")))
            await said(script, "two", 2)
            found = await alice.sees(room, "two")
            after = harness.homeserver.keys.query(GHOST, [GHOST])["master_keys"][GHOST]
            assert before != after
            assert found.trust is Trust.CROSS_SIGNED


async def test_who_commands_in_an_encrypted_room_is_answered_there(tmp_path: Path) -> None:
    """A management room that its user has encrypted is one: the answer is encrypted, and holds the recovery key."""
    async with bridged(tmp_path) as (harness, _):
        admin = harness.homeserver.user("admin")
        bot = harness.homeserver.bot
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
        desk = admin.create_room(invite=[bot], initial_state=state)
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")
        async with EncryptedClient(harness.homeserver, admin) as client:
            await client.says(desk, "encryption recovery-key")
            key = await harness.running.encryption.keeper.recovery_key()  # type: ignore[union-attr]
            found = await client.sees(desk, f"The recovery key: {key}\nWhoever has it can act as all ghosts.")
            assert found.event["sender"] == bot
        assert harness.homeserver.messages(desk) == []


async def test_a_double_puppet_is_spoken_for_by_its_ghost(tmp_path: Path) -> None:
    """As a user who is not ours the bridge cannot encrypt: in an encrypted room the ghost says it, and once."""
    puppet = {"servers": {"hs.test": {"as_token": PUPPET_TOKEN}}}
    async with bridged(tmp_path, network={"encryption": "default"}, double_puppet=puppet) as (harness, _):
        harness.homeserver._world.puppet_token = PUPPET_TOKEN
        room = await harness.portal_room("net", "hall")
        engine = harness.running.engine
        harness.running.matrix.add_puppet(UserId(harness.alice.id), None)
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            body = orjson.dumps({"msgtype": "m.text", "body": SECRET})
            request = SendRequest(RoomId(room), "m.room.message", "t", UserId(harness.alice.id), None, body)
            engine.puppets.can = _can  # type: ignore[method-assign]
            item = Prepared(request, instead="anna", instead_name="Anna")
            event = await engine.incoming._as_user(item, NetworkId("net"), 0)
            found = await alice.sees(room, SECRET)
            assert (found.event["event_id"], found.event["sender"]) == (event, GHOST)


async def _can(user: UserId) -> None:
    return None


async def test_a_network_without_encryption_is_silent_in_encrypted_rooms(tmp_path: Path) -> None:
    """Where encryption is off for a network nothing of it crosses in a room that becomes encrypted; it is said why."""
    async with bridged(tmp_path, network={"encryption": "off"}) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        await said(script, "before")
        await harness.homeserver.wait_message(room, "before")
        harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        await harness.settled()
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, SECRET, 2)
            await alice.says(room, "to the network")
            await harness.settled()
            found = [text async for text in alice.all(room)]
            assert not [text for text in found if SECRET in text]
            assert [text for text in found if "encryption is off for that network" in text]
        assert script.sent == []
        assert [body for _, body in harness.homeserver.messages(room)] == ["before"]


async def test_encryption_that_cannot_be_sends_nothing(tmp_path: Path) -> None:
    """On a homeserver that knows no devices nothing is said in an encrypted room; elsewhere all goes on."""
    async with bridged(tmp_path, FakeProfile.basic()) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        engine = harness.running.engine
        portal = await engine.portals.ensure(NetworkId("net"), HALL)
        await engine.rooms.adopt(portal, RoomId(room))
        await said(script, "before")
        await harness.homeserver.wait_message(room, "before")
        harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        await harness.homeserver.wait_pushed()
        await said(script, SECRET, 2)
        await harness.until(lambda: "waits" if engine.to_matrix.busy() else "")
        assert harness.running.encryption is not None
        assert "no devices" in harness.running.encryption.rooms.trouble
        assert [body for _, body in harness.homeserver.messages(room)] == ["before"]
        assert not [one for one in harness.homeserver.room(room).timeline if one["type"] == "m.room.encrypted"]


async def test_readers_are_kept_right_by_events() -> None:
    """Who is asked once: joins, invites where the history is open, and leaves change the set, names do not."""
    matrix = _Matrix()
    clock = HandClock()
    readers = Readers(matrix, lambda user: user.startswith("@_"), clock)  # type: ignore[arg-type]
    room, bot = RoomId("!r"), UserId("@_bot:hs")
    first = await readers.of(room, bot)
    assert first == {"@a:hs", "@i:hs"}
    readers.changed(room, UserId("@a:hs"), {"membership": "join", "displayname": "A"})
    assert await readers.of(room, bot) is first is readers.still(room, first)
    readers.changed(room, UserId("@b:hs"), {"membership": "invite"})
    readers.changed(room, UserId("@a:hs"), {"membership": "leave"})
    assert readers.still(room, first) == {"@i:hs"} and readers.still(RoomId("!not asked of"), first) is first
    assert await readers.of(room, bot) == {"@b:hs", "@i:hs"}
    readers.changed(room, UserId("@i:hs"), {"membership": "ban"})
    readers.changed(room, UserId("@b:hs"), {"membership": "join"})
    assert await readers.of(room, bot) == {"@b:hs"}
    assert matrix.asked == 1
    matrix.visibility = "joined"
    readers.forget(room)
    assert await readers.of(room, bot) == {"@a:hs"}
    assert matrix.asked == 2
    # No event tells of what homeservers have undone where they disagreed.
    readers.changed(room, UserId("@c:hs"), {"membership": "join"})
    assert await readers.of(room, bot) == {"@a:hs", "@c:hs"}
    clock.ms += 3_600_000
    assert await readers.of(room, bot) == {"@a:hs"}


async def test_who_is_met_in_a_room_may_have_other_devices() -> None:
    """Members of a room that is new, and whoever comes, are told of once each: nobody else tells of their devices."""
    met: list[list[str]] = []
    matrix = _Matrix()
    readers = Readers(matrix, lambda user: user.startswith("@_"), HandClock(), lambda who: met.append(sorted(who)))  # type: ignore[arg-type]
    room, bot = RoomId("!r"), UserId("@_bot:hs")
    for _ in range(2):
        await readers.of(room, bot)
        readers.forget(room)
    assert met == [["@a:hs", "@i:hs"]]
    await readers.of(room, bot)
    for _ in range(2):
        readers.changed(room, UserId("@b:hs"), {"membership": "join"})
    assert met[1:] == [["@b:hs"]]
    readers.forget(room)
    readers.changed(room, UserId("@a:hs"), {"membership": "join"})
    await readers.of(room, bot)
    assert met[2:] == [["@a:hs", "@i:hs"]]
    # Whoever comes while members are asked for is not in the answer, and met with the next one.
    readers.forget(room)
    asking = asyncio.create_task(readers.of(room, bot))
    readers.changed(room, UserId("@c:hs"), {"membership": "join"})
    matrix.before = lambda: readers.changed(room, UserId("@c:hs"), {"membership": "join"})
    await asking
    matrix.before = lambda: None
    await readers.of(room, bot)
    assert met[3:] == [["@a:hs", "@i:hs"], ["@a:hs", "@i:hs"]]


class _Matrix:
    """A homeserver with one room."""

    visibility = "shared"
    asked = 0
    before: Callable[[], None] = staticmethod(lambda: None)

    async def reading(self, room: RoomId, viewer: UserId) -> Reading:
        self.asked += 1
        self.before()
        return Reading((UserId("@a:hs"), UserId("@_g:hs")), (UserId("@i:hs"),), viewer)

    async def state(self, room: RoomId, kind: str, key: str = "", viewer: UserId | None = None) -> dict[str, Any]:
        return {"history_visibility": self.visibility}


async def test_what_fails_is_shown_until_it_works_again(tmp_path: Path) -> None:
    """A bug in what keeps encryption going is named by the health check and to admins, and heals without a restart."""
    async with bridged(tmp_path) as (harness, _):
        admin = harness.homeserver.user("admin")
        desk = admin.create_room(invite=[harness.homeserver.bot])
        await harness.homeserver.wait_for(
            lambda: harness.homeserver.room(desk).membership(harness.homeserver.bot) == "join"
        )
        encryption, told = harness.running.encryption, asyncio.Event()
        assert encryption is not None
        inbox = encryption.machine._inbox
        drain = inbox.drain

        async def drained() -> None:
            if not told.is_set():
                raise ZeroDivisionError
            await drain()

        inbox.drain = drained  # type: ignore[method-assign]
        inbox.wake()
        await harness.until(lambda: "crypto-inbox: it fails (ZeroDivisionError)" in str(harness.running.health.ready()))
        admin.send(desk, "encryption status")
        await harness.homeserver.wait_event(desk, lambda e: "does not: crypto-inbox" in str(e["content"].get("body")))
        told.set()
        await harness.until(lambda: not harness.running.health.ready())
