"""What goes wrong with keys, one drill each: a whole bridge on the fake homeserver, and clients of its users."""

import asyncio
from pathlib import Path

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId, UserId
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.testing.homeserver.user import FakeUser
from tests.encrypted import EncryptedClient
from tests.harness import Harness
from tests.reader import Reader
from tests.unit.app.test_encryption import GHOST, HALL, bridged, event_of, received, said

BERTA = RemoteSender(RemoteUserId("berta"), "Berta")
ENCRYPTED = {"encryption": "default", "portals": ["hall", "garden"]}


def encrypted_events(harness: Harness, room: str, sender: str) -> list[dict[str, object]]:
    """What somebody has said encrypted, in order."""
    timeline = harness.homeserver.room(room).timeline
    return [one for one in timeline if one["type"] == "m.room.encrypted" and one["sender"] == sender]


def counted(harness: Harness, name: str, label: str) -> float:
    """A counter of encryption."""
    return harness.running.metrics.snapshot()[f"crypto_{name}"].get((label,), 0)


async def test_a_wiped_client_reads_and_writes_on(tmp_path: Path) -> None:
    """A user whose client lost everything logs in anew: the new device reads what is said from then on, and is read."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as before:
            await said(script, "one")
            first = (await before.sees(room, "one")).event["event_id"]
            harness.alice.wipe()
            async with EncryptedClient(harness.homeserver, harness.alice) as after:
                await harness.homeserver.wait_pushed()
                await said(script, "two", 2)
                second = (await after.sees(room, "two")).event["event_id"]
                with pytest.raises(MissingKeyError):
                    await after.read(event_of(harness, room, first))
                # Who has the lost device reads no further.
                old, new = (event_of(harness, room, one)["content"]["session_id"] for one in (first, second))
                assert old != new
                await after.says(room, "from the new device")
                await harness.until(lambda: script.sent)
        assert harness.homeserver.messages(room) == []


async def test_a_device_that_appears_during_a_send_reads_it(tmp_path: Path) -> None:
    """The device list changes while the key of a message is on its way: the message goes out readable by both."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        bob = harness.homeserver.user("bob")
        bob.join(room)
        await harness.homeserver.wait_pushed()
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            held = harness.homeserver.faults.hits
            gate = harness.homeserver.faults.hold(match="sendToDevice/m.room.encrypted")
            await said(script, "one")
            await harness.until(lambda: harness.homeserver.faults.hits > held)
            async with EncryptedClient(harness.homeserver, bob) as late:
                await harness.homeserver.wait_pushed()
                gate.set()
                await alice.sees(room, "one")
                await late.sees(room, "one")
            await harness.settled()
            assert len(encrypted_events(harness, room, GHOST)) == 1


async def test_too_many_requests_for_keys_hold_one_room_only(tmp_path: Path) -> None:
    """While a claim is refused with 429 its message waits as long as it was told; others' rooms go on meanwhile."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room, other = await harness.portal_room("net", "hall"), await harness.portal_room("net", "garden")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            harness.homeserver.faults.limit(3_600_000, match="keys/claim")
            await said(script, "one")
            await harness.until(lambda: harness.homeserver.faults.hits)
            for number in range(3):
                text = f"garden {number}"
                await received(
                    script, RemoteMessage(ChatId("garden"), BERTA, Content((Plain(text),)), MessageId(f"g{number}"))
                )
                await alice.sees(other, text)
            assert encrypted_events(harness, room, GHOST) == []
            claims = [line for line in harness.homeserver.requests if "keys/claim" in line]
            assert len(claims) == 2  # the refused one, and that of the other room's ghost
        assert harness.homeserver.messages(room) == []


async def test_a_refused_claim_is_made_again(tmp_path: Path) -> None:
    """After the delay that the homeserver asked for the message goes out, once and readable."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            harness.homeserver.faults.limit(50, times=2, match="keys/claim")
            await said(script, "one")
            await said(script, "two", 2)
            await alice.sees(room, "two")
            assert [text async for text in alice.all(room)] == ["one", "two"]
            await harness.settled()
            assert harness.homeserver.faults.hits == 2


@pytest.mark.parametrize("endpoint", ["keys/upload", "device_signing", "keys/query", "keys/claim", "sendToDevice"])
@pytest.mark.parametrize("failure", ["limit", "answer", "lose_answer"])
async def test_whatever_key_endpoint_fails_the_message_goes_out_once(
    tmp_path: Path, endpoint: str, failure: str
) -> None:
    """429, 500, an answer that is lost: two times each, and the message is read, once."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        await harness.settled()
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            faults = harness.homeserver.faults
            order = {
                "limit": lambda: faults.limit(50, times=2, match=endpoint),
                "answer": lambda: faults.answer(500, times=2, match=endpoint),
                "lose_answer": lambda: faults.lose_answer(times=2, match=endpoint),
            }
            order[failure]()
            await said(script, "one")
            await harness.until(lambda: encrypted_events(harness, room, GHOST))
            assert faults.hits == 2
            await said(script, "two", 2)
            found = await alice.sees(room, "two")
            assert [text async for text in alice.all(room)] == ["one", "two"]
            assert found.trust.name == "PINNED"
            await harness.settled()
        assert harness.homeserver.messages(room) == []


async def test_a_large_room_of_whom_some_have_no_keys(tmp_path: Path) -> None:
    """500 users, 60 of them unsigned and 40 without one-time keys: 400 read at once, the rest is named once."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        users = [harness.homeserver.user(f"user{number:03}") for number in range(500)]
        readers = [
            Reader(harness.homeserver, user, signed=number >= 60, one_time=not 60 <= number < 100)
            for number, user in enumerate(users)
        ]
        for number, user in enumerate(users):
            user.join(room)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await harness.homeserver.wait_pushed()
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            for number in range(3):
                await said(script, f"text {number}", number)
            await alice.sees(room, "text 2")
            await harness.settled()
            sent = encrypted_events(harness, room, GHOST)
            assert len(sent) == 3
            for number, event in enumerate(sent):
                texts = [one.read(event) for one in readers]
                assert texts[:100] == [None] * 100
                assert texts[100:] == [f"text {number}"] * 400
            assert counted(harness, "shares", "given") >= 401
            assert counted(harness, "shares", "unverified") >= 60
            assert counted(harness, "shares", "no_olm") >= 40
            heard = [one.messages for one in readers]
            claims = [line for line in harness.homeserver.requests if "keys/claim" in line]
            # Named once: more messages, of another ghost too, tell nobody and ask for nothing again.
            await said(script, "text 3", 3)
            await alice.sees(room, "text 3")
            await harness.settled()
            (*_, last) = encrypted_events(harness, room, GHOST)
            assert [one.read(last) for one in readers[98:102]] == [None, None, "text 3", "text 3"]
            assert [one.messages for one in readers] == heard
            assert [line for line in harness.homeserver.requests if "keys/claim" in line] == claims
            await received(script, RemoteMessage(HALL, BERTA, Content((Plain("hi"),)), MessageId("m9")))
            await alice.sees(room, "hi")
            await harness.settled()
            told = [text async for text in alice.all(room) if "cannot read" in text]
            assert len(told) == 2 and all(len(text) < 1000 for text in told)
            unsigned = next(text for text in told if "have not verified them" in text)
            keyless = next(text for text in told if "no keys left" in text)
            assert f"{users[0].id} ({users[0].device})" in unsigned and unsigned.endswith("and 50 more")
            assert f"{users[60].id} ({users[60].device})" in keyless and keyless.endswith("and 30 more")


async def test_a_silent_server_holds_nobody_up(tmp_path: Path) -> None:
    """Where another server does not answer for its users' keys the message goes to all others; later they read too."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        far: FakeUser = harness.homeserver.user("far", "far.test")
        far.join(room)
        async with (
            EncryptedClient(harness.homeserver, harness.alice) as alice,
            EncryptedClient(harness.homeserver, far) as remote,
        ):
            await harness.homeserver.wait_pushed()
            harness.homeserver.keys.silent.add("far.test")
            harness.homeserver.bodies = bodies = []
            await said(script, "one")
            await said(script, "two", 2)
            first = (await alice.sees(room, "one")).event["event_id"]
            await alice.sees(room, "two")
            asked = [body for body in bodies if b"keys/query?" in body and b"far.test" in body]
            # A server that is silent is not asked again for each message, nor for each ghost that begins to speak.
            await said(script, "three", 3)
            await received(script, RemoteMessage(HALL, BERTA, Content((Plain("hi"),)), MessageId("b1")))
            await alice.sees(room, "hi")
            await alice.sees(room, "three")
            assert asked and asked == [body for body in bodies if b"keys/query?" in body and b"far.test" in body]
            harness.homeserver.keys.silent.clear()
            harness.homeserver._world.device_list(far.id)
            await harness.homeserver.wait_pushed()
            await said(script, "four", 4)
            await remote.sees(room, "four")
            with pytest.raises(MissingKeyError):
                await remote.read(event_of(harness, room, first))


async def test_new_identities_by_command(tmp_path: Path) -> None:
    """`rotate` makes other identities for all, `restore` brings back who did not change; ghosts stay trusted."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        desk = admin.create_room(invite=[bot])
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")
        encryption = harness.running.encryption
        assert encryption is not None

        def masters(*users: str) -> list[object]:
            keys = harness.homeserver.keys.query(bot, [*(users or (bot, GHOST))])["master_keys"]
            return [keys[user]["keys"] for user in users or (bot, GHOST)]

        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            await alice.sees(room, "one")
            written, before = await encryption.keeper.recovery_key(), masters()
            await received(script, RemoteMessage(HALL, BERTA, Content((Plain("hi"),)), MessageId("b1")))
            await alice.sees(room, "hi")
            quiet = masters("@_net_berta:hs.test")
            admin.send(desk, "encryption rotate confirm")
            await harness.homeserver.wait_event(desk, lambda e: "new recovery key" in str(e["content"].get("body")))
            assert await encryption.keeper.recovery_key() != written
            await said(script, "two", 2)
            found = await alice.sees(room, "two")
            assert found.trust.name == "CROSS_SIGNED"
            rotated = masters()
            assert all(old != new for old, new in zip(before, rotated, strict=True))
            command = admin.send(desk, f"encryption restore {written} confirm")
            await harness.homeserver.wait_event(desk, lambda e: "key is taken" in str(e["content"].get("body")))
            await said(script, "three", 3)
            found = await alice.sees(room, "three")
            assert found.trust.name == "CROSS_SIGNED"
            # As Synapse the homeserver does not take back who was replaced: they are others, of the written key.
            assert not set(map(str, masters())) & set(map(str, [*before, *rotated]))
            await received(script, RemoteMessage(HALL, BERTA, Content((Plain("again"),)), MessageId("b2")))
            assert (await alice.sees(room, "again")).trust.name == "PINNED"
            assert masters("@_net_berta:hs.test") == quiet
            kept = masters()
            admin.send(desk, "encryption restore Es7o wrong")
            await harness.homeserver.wait_event(desk, lambda e: "not a recovery key" in str(e["content"].get("body")))
            assert masters() == kept and await encryption.keeper.recovery_key() == written
        await harness.settled()
        log = harness.homeserver.room(desk).timeline
        assert written not in str([one for one in log if one["event_id"] != command])


async def test_an_admin_confirms_an_identity(tmp_path: Path) -> None:
    """With `trust.send: verified` who has been confirmed by their key reads, and nobody else; it can be taken back."""
    async with bridged(tmp_path, network=ENCRYPTED, encryption={"trust": {"send": "verified"}}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        admin, bot, alice = harness.homeserver.user("admin"), harness.homeserver.bot, harness.alice.id
        desk = admin.create_room(invite=[bot])
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")

        async def asks(words: str, answer: str) -> None:
            admin.send(desk, words)
            await harness.homeserver.wait_event(desk, lambda e: answer in str(e["content"].get("body")))

        async with EncryptedClient(harness.homeserver, harness.alice) as client:
            (key,) = harness.homeserver.keys.query(bot, [alice])["master_keys"][alice]["keys"].values()
            await asks(f"encryption confirm {alice}", f"has the identity {key}")
            await asks(f"encryption confirm {alice} {key[:-1]}x", "is another")
            await said(script, "one")
            await harness.settled()
            (unread,) = encrypted_events(harness, room, GHOST)
            with pytest.raises(MissingKeyError):
                await client.read(unread)
            await asks(f"encryption confirm {alice} {key}", "is confirmed")
            await said(script, "two", 2)
            await client.sees(room, "two")
            await asks(f"encryption confirm {alice} none", "not confirmed any more")
            await said(script, "three", 3)
            await harness.settled()
            (*_, last) = encrypted_events(harness, room, GHOST)
            with pytest.raises(MissingKeyError):
                await client.read(last)
        await asks("encryption confirm @nobody:hs.test", "has no identity")


async def test_questions_to_slow_servers_hold_no_message_up(tmp_path: Path) -> None:
    """While other servers take their time to answer for many devices, there are connections left to say things by."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            await alice.sees(room, "one")
            await harness.settled()
            assert harness.running.encryption is not None
            devices = harness.running.encryption.machine.devices
            harness.homeserver.faults.hold(times=1_000, match="keys/query")
            asked = [
                asyncio.create_task(devices.current([UserId(f"@user{number}:far{number}.test")]))
                for number in range(100)
            ]
            await harness.until(lambda: harness.homeserver.faults.hits)
            await said(script, "two", 2)
            await harness.until(lambda: len(encrypted_events(harness, room, GHOST)) == 2)
            assert not any(task.done() for task in asked)
            harness.homeserver.faults.clear()
            await asyncio.gather(*asked)
            await alice.sees(room, "two")


async def test_strangers_make_the_bridge_ask_nobody(tmp_path: Path) -> None:
    """What made-up people send to devices of the bridge, to be read by nobody, makes it ask none of their servers."""
    async with bridged(tmp_path, network=ENCRYPTED) as (harness, script):
        room = await harness.portal_room("net", "hall")
        bot = harness.running.matrix.bot_device
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            await alice.sees(room, "one")
            harness.homeserver.bodies = bodies = []
            assert harness.running.encryption is not None
            curve = harness.homeserver.keys.devices[bot.user][bot.device]["keys"][f"curve25519:{bot.device}"]
            for number in range(60):
                content = {
                    "algorithm": "m.olm.v1.curve25519-aes-sha2",
                    "sender_key": f"{number:043d}",
                    "ciphertext": {curve: {"type": 1, "body": "AwEK"}},
                }
                sender = f"@stranger{number}:far{number}.test"
                harness.homeserver._world.to_device(sender, "m.room.encrypted", bot.user, bot.device, content)
            await harness.homeserver.wait_pushed()
            await harness.running.encryption.machine.handled()
            await said(script, "two", 2)
            await alice.sees(room, "two")
            await harness.settled()
            assert counted(harness, "to_device", "unknown_session") == 60
            assert not [body for body in bodies if b"stranger" in body]
