"""What people of a room are told of its encryption, in words and in its state."""

from pathlib import Path
from typing import Any

from bridge_core.api.ids import NetworkId, RoomId
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.unit.app.test_encryption import HALL, bridged, said

LETS: dict[str, Any] = {"power_level_content_override": {"state_default": 0}, "preset": "public_chat"}
"""A room where the bot may say in the state what it is bridged to."""
SAID = "Messages are encrypted up to the bridge"


async def plumbed(harness: Harness, *, encrypted: bool = False) -> str:
    """A room of alice's that is bridged to the hall."""
    state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}] if encrypted else []
    room = harness.alice.create_room(**LETS, initial_state=state)
    portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
    await harness.running.engine.rooms.adopt(portal, RoomId(room))
    return room


async def told(alice: EncryptedClient, room: str) -> list[str]:
    """The announcements that alice can read."""
    return [text async for text in alice.all(room) if "This room is encrypted" in text]


def statement(harness: Harness, room: str) -> Any:
    """What the room's state says of encryption."""
    return (
        harness.homeserver.room(room)
        .content("m.bridge", "dev.matrix_bridge://net/hall")
        .get("dev.matrix_bridge.encryption")
    )


async def test_a_room_that_becomes_encrypted_is_told_once(tmp_path: Path) -> None:
    """Where plaintext exists and who runs it is said once, encrypted, and in the state; a restart repeats nothing."""
    permissions = {"@alice:hs.test": "admin", "*": "user"}
    async with bridged(tmp_path, permissions=permissions) as (harness, script):
        room = await plumbed(harness)
        await said(script, "before")
        await harness.homeserver.wait_message(room, "before")
        assert statement(harness, room) is None
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
            await harness.until(lambda: statement(harness, room) == "to-bridge")
            await harness.settled()
            (words,) = await told(alice, room)
            assert SAID in words and "hs.test" in words and "@alice:hs.test" in words
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM, "rotation_period_msgs": 50})
            await harness.settled()
            await harness.stop_bridge()
            await harness.start_bridge()
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM, "rotation_period_msgs": 60})
            await said(script, "after", 2)
            await alice.sees(room, "after")
            await harness.settled()
            assert len(await told(alice, room)) == 1
        assert [body for _, body in harness.homeserver.messages(room)] == ["before"]


async def test_rooms_that_begin_encrypted_say_so_in_their_state(tmp_path: Path) -> None:
    """A room that the bridge makes encrypted has the statement from the start; nothing is said there, ever."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        assert statement(harness, room) == "to-bridge"
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "hello")
            await alice.sees(room, "hello")
            levels = harness.homeserver.room(room).content("m.room.power_levels")
            matrix = harness.running.matrix
            powers = {**levels, "users": {**levels["users"], harness.alice.id: 100}}
            await matrix.set_state(RoomId(room), "m.room.power_levels", "", powers, matrix.bot)
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM, "rotation_period_msgs": 50})
            await harness.settled()
            assert not await told(alice, room)


async def test_who_bridges_is_told_that_encryption_is_required(tmp_path: Path) -> None:
    """`bridge` in a plain room of a network that requires encryption says that nothing crosses, and how it does."""
    async with bridged(tmp_path, network={"encryption": "require"}) as (harness, script):
        bot, homeserver = harness.homeserver.bot, harness.homeserver
        bob = homeserver.user("bob")
        room = harness.alice.create_room(**LETS, invite=[bot, bob.id])
        bob.join(room)
        await homeserver.wait_for(lambda: homeserver.room(room).membership(bot) == "join")
        harness.alice.send(room, "!bridge bridge net hall")
        answer = await homeserver.wait_event(room, lambda e: "now bridged" in str(e["content"].get("body")))
        assert "Nothing crosses until encryption is turned on in this room" in answer["content"]["body"]
        async with EncryptedClient(homeserver, harness.alice) as alice:
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
            found = await alice.sees_part(room, "This room is encrypted")
            assert "requires that: messages cross from now on" in found
            await alice.says(room, "it does")
            await harness.until(lambda: script.texts() == ["it does"])


async def test_who_bridges_an_encrypted_room_is_told_where_plaintext_is(tmp_path: Path) -> None:
    """The answer to `bridge` in an encrypted room says it, and it is not said once more."""
    async with bridged(tmp_path) as (harness, script):
        bot, homeserver = harness.homeserver.bot, harness.homeserver
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}]
        bob = homeserver.user("bob")
        room = harness.alice.create_room(**LETS, invite=[bot, bob.id], initial_state=state)
        bob.join(room)
        await homeserver.wait_for(lambda: homeserver.room(room).membership(bot) == "join")
        await harness.until(lambda: homeserver.keys.devices.get(bot))
        async with EncryptedClient(homeserver, harness.alice) as alice:
            await alice.says(room, "!bridge bridge net hall")
            assert SAID in await alice.sees_part(room, "This room is now bridged")
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM, "rotation_period_msgs": 50})
            await said(script, "hello")
            await alice.sees(room, "hello")
            await harness.settled()
            assert len(await told(alice, room)) == 1
        assert statement(harness, room) == "to-bridge"


async def test_a_room_that_the_bridge_makes_encrypted_is_told(tmp_path: Path) -> None:
    """A room that was there before its network required encryption is told when the bridge turns it on."""
    async with bridged(tmp_path) as (harness, _):
        room = await harness.portal_room("net", "hall")
        await harness.stop_bridge()
        harness.networks = {"net": {**harness.networks["net"], "encryption": "require"}}
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await harness.start_bridge()
            assert SAID in await alice.sees_part(room, "This room is encrypted")
            await harness.until(lambda: statement(harness, room) == "to-bridge")


async def test_the_rooms_admin_is_told_of_devices_that_cannot_read(tmp_path: Path) -> None:
    """Devices that are left out are named to who looks after the room, and in the management rooms of admins."""
    async with bridged(tmp_path) as (harness, script):
        homeserver = harness.homeserver
        admin, bob = homeserver.user("admin"), homeserver.user("bob")
        desk = admin.create_room(preset="private_chat", invite=[homeserver.bot])
        await homeserver.wait_message(desk, "Hello! This is your management room. Say help for what I can do.")
        room = await plumbed(harness, encrypted=True)
        bob.join(room)
        await homeserver.wait_pushed()
        async with (
            EncryptedClient(homeserver, harness.alice) as alice,
            EncryptedClient(homeserver, bob, cross_signing=False),
        ):
            await said(script, "hello")
            words = await alice.sees_part(room, "These devices cannot read what the bridge says here")
            assert bob.id in words
            content = (await alice.sees(room, words)).event["content"]
            assert content["m.mentions"] == {"user_ids": [harness.alice.id]}
        told = await homeserver.wait_event(desk, lambda e: "These devices cannot" in str(e["content"].get("body")))
        assert f"says in {room}" in told["content"]["body"]
