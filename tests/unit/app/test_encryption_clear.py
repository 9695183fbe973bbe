"""What of an encrypted room homeservers can read: every request that the bridge makes is searched for it."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import Membership, RemoteEdit, RemoteMember, RemoteMessage, RemoteRedaction, RemoteSender
from bridge_core.api.ids import MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.network import LoginStatus
from bridge_core.crypto.policy import Trust
from bridge_core.crypto.shares import Skipped
from bridge_core.engine.encrypted_files import decrypted
from bridge_core.testing.homeserver import FakeProfile
from bridge_core.testing.homeserver.room import FakeRoom
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.scripted import Script
from tests.unit.app.test_encryption import ANNA, GHOST, HALL, SECRET, _chunks, bridged, event_of, received, said
from tests.unit.engine.test_backfill import Keeper
from tests.unit.engine.test_backfill import said as past

CARL = RemoteSender(RemoteUserId("carl"), "Carl")
GONE = "@_net_carl:hs.test"


@pytest.mark.parametrize("encryption", ["default", "allow"])
async def test_reasons_are_not_given_in_encrypted_rooms(tmp_path: Path, encryption: str) -> None:
    """Why people left, were removed or took back a message stands in rooms that are not encrypted, in no other."""
    async with bridged(tmp_path, network={"encryption": encryption, "leave_grace": "0s"}) as (harness, script):
        harness.homeserver.bodies = bodies = []
        room = await harness.portal_room("net", "hall")
        await said(script, "hello")
        await received(script, RemoteRedaction(HALL, ANNA, MessageId("m1"), reason=f"{SECRET} redaction"))
        await received(script, RemoteMember(HALL, ANNA, Membership.LEAVE, None, f"{SECRET} leave"))
        await received(script, RemoteMember(HALL, CARL, Membership.KNOCK, None, f"{SECRET} knock"))
        await received(script, RemoteMember(HALL, CARL, Membership.INVITE, ANNA, f"{SECRET} invite"))
        await received(script, RemoteMember(HALL, CARL, Membership.KICK, ANNA, f"{SECRET} kick"))
        await received(script, RemoteMember(HALL, CARL, Membership.BAN, ANNA, f"{SECRET} ban"))
        there = harness.homeserver.room(room)
        await harness.until(lambda: there.membership(GONE) == "ban" and there.membership(GHOST) == "leave")
        await harness.until(lambda: any(one["type"] == "m.room.redaction" for one in there.timeline))
        said_openly = b"".join(bodies)
        if encryption == "default":
            assert SECRET.encode() not in said_openly
        else:
            assert all(f"{SECRET} {kind}".encode() in said_openly for kind in ("redaction", "leave", "ban"))


async def test_a_key_that_was_heard_is_to_be_replaced(tmp_path: Path) -> None:
    """Who gives the recovery key in a room that is not encrypted is told that it is known now; the key is taken."""
    async with bridged(tmp_path) as (harness, _):
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        desk = admin.create_room(invite=[bot])
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")
        assert harness.running.encryption is not None
        admin.send(desk, f"encryption restore {await harness.running.encryption.keeper.recovery_key()}")
        told = await harness.homeserver.wait_event(desk, lambda e: "key is taken" in str(e["content"].get("body")))
        assert "say encryption rotate" in told["content"]["body"]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("power", [50, 0])
async def test_the_message_that_held_the_recovery_key_is_taken_back(tmp_path: Path, right: bool, power: int) -> None:
    """The bot redacts it where it may, whether the key was right or not; else its sender is told to do so."""
    async with bridged(tmp_path) as (harness, _):
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
        powers = {"users": {bot: power}}
        desk = admin.create_room(invite=[bot], initial_state=state, power_level_content_override=powers)
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")
        assert harness.running.encryption is not None
        key = await harness.running.encryption.keeper.recovery_key() if right else "EsT1 1111"
        async with EncryptedClient(harness.homeserver, admin) as client:
            event = await client.says(desk, f"encryption restore {key}")
            words = "The recovery key is taken." if right else "That did not work:"
            told = await answered(harness, client, desk, words)
            assert ("I may not delete messages here: please delete yours" in told) is not bool(power)
        await harness.settled()
        assert bool(event_of(harness, desk, event)["content"]) is not bool(power)
        assert not [body for body in harness.homeserver.messages(desk) if key in body[1]]


async def answered(harness: Harness, client: EncryptedClient, room: str, words: str) -> str:
    """The first encrypted answer that has these words."""
    async with asyncio.timeout(30):
        while True:
            async for text in client.all(room):
                if words in text:
                    return text
            await asyncio.sleep(0.02)


async def test_who_is_skipped_while_the_bridge_stops_costs_no_message(tmp_path: Path) -> None:
    """A lane that still encrypts when nothing new may begin is not stopped by a notice that cannot be given."""
    async with bridged(tmp_path) as (harness, _):
        encryption = harness.running.encryption
    assert encryption is not None
    encryption._skipped(RoomId("!r:hs"), [Skipped(UserId("@a:hs"), "DEVICE", Trust.UNSIGNED, False)])


async def test_what_is_said_once_a_room_is_encrypted_is_not_in_clear(tmp_path: Path) -> None:
    """From the moment a room is encrypted nothing that is said, sent or changed there is in any request."""
    async with bridged(tmp_path) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        await said(script, "before")
        await harness.homeserver.wait_message(room, "before")
        harness.homeserver.bodies = bodies = []
        harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        await harness.homeserver.wait_pushed()
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            edit = RemoteEdit(HALL, ANNA, MessageId("m1"), Content((Plain(f"{SECRET} edit"),)), id=MessageId("e1"))
            await received(script, edit)
            assert script.host is not None
            blob = await script.host.blobs.put(_chunks(SECRET.encode() * 100), 10_000)
            file = Attachment(MediaKind.FILE, f"{SECRET}.txt", blob, "text/plain", len(SECRET) * 100)
            await received(script, RemoteMessage(HALL, ANNA, Content(attachments=(file,)), id=MessageId("m2")))
            await said(script, f"{SECRET} text", 3)
            await alice.sees(room, f"{SECRET}.txt")
            await alice.sees(room, f"{SECRET} text")
            await harness.settled()
            assert len([one async for one in alice.all(room) if SECRET in one]) == 3
        assert bodies and not [one for one in bodies if SECRET.encode() in one or b"a%20word" in one]


@pytest.mark.parametrize(("size", "deletes"), [(100, True), (300_000, True), (300_000, False)])
async def test_a_file_whose_room_becomes_encrypted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, deletes: bool
) -> None:
    """Nobody is ever told of what was uploaded in the clear until then; it is deleted where the homeserver lets us."""
    async with bridged(tmp_path, FakeProfile(deletes_media=deletes)) as (harness, script):
        room = harness.alice.create_room(preset="public_chat")
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        await said(script, "before")
        await harness.homeserver.wait_message(room, "before")
        matrix = harness.running.matrix
        upload, uploaded = matrix.upload, []

        async def meanwhile(*args: Any, **more: Any) -> str:
            uploaded.append(await upload(*args, **more))
            if len(uploaded) == 1:
                harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
                await harness.homeserver.wait_pushed()
            return uploaded[-1]

        monkeypatch.setattr(matrix, "upload", meanwhile)
        data = (SECRET.encode() * size)[:size]
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            assert script.host is not None
            blob = await script.host.blobs.put(_chunks(data), size)
            file = Attachment(MediaKind.FILE, "secret.txt", blob, "text/plain", size)
            await received(script, RemoteMessage(HALL, ANNA, Content(attachments=(file,)), id=MessageId("m2")))
            shown = (await alice.sees(room, "secret.txt")).event["content"]
        clear, sealed = uploaded
        assert "url" not in shown and shown["file"]["url"] == sealed
        found = harness.homeserver.file(sealed)
        assert found is not None and found != data
        opened = [one async for one in decrypted(_chunks(found), orjson.dumps(shown["file"]).decode())]
        assert b"".join(opened) == data
        assert (clear in harness.homeserver.files()) is not deletes
        assert clear not in str(harness.homeserver.room(room).timeline)


@pytest.mark.parametrize("first", [0, 1])
async def test_a_room_that_stays_plain_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """A chat in two rooms, one of which becomes encrypted during its upload: the other one's file is there."""
    async with bridged(tmp_path, FakeProfile(deletes_media=True)) as (harness, script):
        engine = harness.running.engine
        for _ in range(2):
            room = harness.alice.create_room(preset="public_chat")
            await engine.rooms.adopt(await engine.portals.ensure(NetworkId("net"), HALL), RoomId(room))
        await said(script, "before")
        rooms = (await engine.portals.ensure(NetworkId("net"), HALL)).rooms
        for one in rooms:
            await harness.homeserver.wait_message(one, "before")
        sealed, plain = rooms[first], rooms[1 - first]
        matrix = harness.running.matrix
        upload, uploaded = matrix.upload, []

        async def meanwhile(*args: Any, **more: Any) -> str:
            uploaded.append(await upload(*args, **more))
            if len(uploaded) == 1 + first:
                harness.alice.set_state(sealed, "m.room.encryption", {"algorithm": MEGOLM})
                await harness.homeserver.wait_pushed()
            return uploaded[-1]

        monkeypatch.setattr(matrix, "upload", meanwhile)
        data = b"x" * 1000
        assert script.host is not None
        blob = await script.host.blobs.put(_chunks(data), len(data))
        file = Attachment(MediaKind.FILE, "plan.txt", blob, "text/plain", len(data))
        await received(script, RemoteMessage(HALL, ANNA, Content(attachments=(file,)), id=MessageId("m2")))
        shown = await harness.homeserver.wait_event(plain, lambda event: "url" in event["content"])
        await harness.homeserver.wait_event(sealed, lambda event: event["type"] == "m.room.encrypted")
        await harness.settled()
        assert harness.homeserver.file(shown["content"]["url"]) == data


async def test_copies_in_encrypted_rooms_are_not_in_clear(tmp_path: Path) -> None:
    """What is said in one encrypted room of a chat is shown in its other one encrypted, and in no request in clear."""
    async with bridged(tmp_path) as (harness, _):
        harness.homeserver.bodies = bodies = []
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
        rooms = [harness.alice.create_room(preset="public_chat", initial_state=state) for _ in range(2)]
        engine = harness.running.engine
        for room in rooms:
            await engine.rooms.adopt(await engine.portals.ensure(NetworkId("net"), HALL), RoomId(room))
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await alice.says(rooms[0], SECRET)
            await harness.until(
                lambda: any(one["type"] == "m.room.encrypted" for one in harness.homeserver.room(rooms[1]).timeline)
            )
            await harness.settled()
            assert any([SECRET in one async for one in alice.all(rooms[1])])
        assert bodies and SECRET.encode() not in b"".join(bodies)


async def test_the_past_is_not_in_clear(tmp_path: Path) -> None:
    """What an encrypted room is shown of the time before it, and of an outage, is encrypted as what is said now."""
    keeper = Keeper(*(past(f"{SECRET} {number}", ago=60 - number, chat=HALL) for number in range(3)))
    script = Script()
    script.tell = keeper
    network = {"encryption": "default", "backfill": {"initial": 3, "rate": 1000}}
    async with bridged(tmp_path, script=script, network=network) as (harness, _):
        harness.homeserver.bodies = bodies = []
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            room = await harness.portal_room("net", "hall")
            await alice.sees(room, f"{SECRET} 2")
            await harness.settled()
            script.status(LoginStatus.DISCONNECTED)
            keeper.events.append(past(f"{SECRET} meanwhile", chat=HALL))
            script.status(LoginStatus.CONNECTED)
            await alice.sees(room, f"{SECRET} meanwhile")
            assert [one async for one in alice.all(room)] == [f"{SECRET} {what}" for what in (0, 1, 2, "meanwhile")]
        assert bodies and SECRET.encode() not in b"".join(bodies)
        assert not harness.homeserver.messages(room)


def may_upgrade(harness: Harness, room: str) -> FakeRoom:
    """Alice has the power to replace the room."""
    there = harness.homeserver.room(room)
    levels = there.current["m.room.power_levels", ""]
    levels["content"] = {**levels["content"], "users": {**levels["content"]["users"], harness.alice.id: 100}}
    return there


async def test_an_encrypted_room_does_not_go_on_in_the_clear(tmp_path: Path) -> None:
    """Where the new room is not encrypted it is not followed, and nothing is said there before it is."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, f"{SECRET} before")
            await alice.sees(room, f"{SECRET} before")
            there = may_upgrade(harness, room)
            state = there.current.pop(("m.room.encryption", ""))
            new = harness.homeserver._world.upgrade(there, harness.alice.id, "11")
            there.current["m.room.encryption", ""] = state
            await alice.sees_part(room, "it is not encrypted, as this one is")
            await said(script, f"{SECRET} meanwhile", 2)
            await harness.settled()
            engine = harness.running.engine
            assert not engine.portals.in_room(RoomId(new))
            harness.alice.set_state(new, "m.room.encryption", {"algorithm": MEGOLM})
            await harness.until(lambda: engine.portals.in_room(RoomId(new)))
            await said(script, f"{SECRET} after", 3)
            await alice.sees(new, f"{SECRET} after")
        assert not [body for one in (room, new) for _, body in harness.homeserver.messages(one) if SECRET in body]


async def test_what_is_said_while_a_room_is_upgraded_is_not_in_clear(tmp_path: Path) -> None:
    """What is said before, while and after an encrypted room goes on as another one is encrypted in either."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        harness.homeserver.bodies = bodies = []
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, f"{SECRET} before")
            await alice.sees(room, f"{SECRET} before")
            there = may_upgrade(harness, room)
            new = harness.homeserver._world.upgrade(there, harness.alice.id, "11")
            for number in range(2, 5):
                await said(script, f"{SECRET} meanwhile {number}", number)
            engine = harness.running.engine
            await harness.until(lambda: engine.portals.in_room(RoomId(new)))
            await said(script, f"{SECRET} after", 5)
            await alice.sees(new, f"{SECRET} after")
            await harness.settled()
            words = [one async for one in alice.all(room)] + [one async for one in alice.all(new)]
            assert words == [f"{SECRET} {one}" for one in ("before", *(f"meanwhile {n}" for n in (2, 3, 4)), "after")]
        assert bodies and SECRET.encode() not in b"".join(bodies)
        assert not [body for one in (room, new) for _, body in harness.homeserver.messages(one) if SECRET in body]
