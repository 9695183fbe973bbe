"""Whose word counts about identities: once an admin is confirmed, their verified devices and the API's secret alone."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridge_core.engine.commands import Answer, Surety
from tests.apicalls import SECRET, ApiClient
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.unit.app.test_encryption import bridged
from tests.unit.app.test_encryption_commands import Desk
from tests.unit.engine.test_decrypting import talking

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
ADMIN = UserId("@admin:hs.test")


async def call(harness: Harness, name: str, surety: Surety = Surety.SURE, **arguments: str) -> Answer:
    """A command of a program."""
    return await harness.running.engine.commands.call(ADMIN, name, arguments, surety=surety)


def master(harness: Harness) -> str:
    """The admin's identity as it is now."""
    (key,) = harness.homeserver.keys.query(ADMIN, [ADMIN])["master_keys"][ADMIN]["keys"].values()
    return str(key)


async def test_a_confirmed_admin_is_heard_by_their_verified_devices_alone(tmp_path: Path) -> None:
    """Neither the homeserver, in the clear, nor a login that has replaced the identity ends what keeps it out."""
    async with bridged(tmp_path, encryption={"trust": {"receive": "unsigned"}}) as (harness, _):
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        await harness.until(lambda: harness.homeserver.keys.devices.get(bot))
        async with EncryptedClient(harness.homeserver, admin) as client:
            room = admin.create_room(preset="private_chat", invite=[bot], initial_state=[ENCRYPTION])
            await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(bot) == "join")
            await harness.settled()
            desk, key = Desk(harness, admin), master(harness)
            assert "is confirmed" in await desk.ask(f"!bridge encryption confirm {ADMIN} {key}")
            for words in (f"confirm {ADMIN} none", "rotate", "rotate confirm", "reset", f"block {ADMIN} X", "backup"):
                assert "an admin's identity is confirmed" in await desk.ask(f"!bridge encryption {words}"), words
            with pytest.raises(RejectedError, match="an admin's identity is confirmed"):
                await call(harness, "encryption-recovery-key", Surety.SAID)
            assert "Encryption works" in await desk.ask("!bridge encryption status")
            await client.says(room, "encryption recovery-key")
            assert "The recovery key: " in await client.sees_part(room, "The recovery key: ")
            # Whoever has the password replaces the identity: what they say is taken, and is not the admin's word.
            await client.machine.identities.reset(client.owner)
            assert master(harness) != key
            harness.homeserver._world.device_list(ADMIN)
            before = len(harness.homeserver.room(room).timeline)
            await client.says(room, f"encryption confirm {ADMIN} none")
            await harness.homeserver.wait_for(lambda: len(harness.homeserver.room(room).timeline) > before + 1)
            await harness.settled()
            assert harness.running.encryption is not None
            assert await harness.running.encryption.keeper.confirmed(ADMIN) == key
            # By the API's secret it is: so nobody is shut out for good.
            answer = await call(harness, "encryption-confirm", user=ADMIN, key="none")
            assert "is not confirmed any more" in answer.text


async def test_a_token_of_the_homeserver_is_not_the_admins_word(tmp_path: Path) -> None:
    """The homeserver gives OpenID tokens in anybody's name: with one a confirmed admin is shown no key."""
    async with bridged(tmp_path, api={"enabled": True, "secret": SECRET}) as (harness, _):
        admin = harness.homeserver.user("admin")
        url = f"{harness.homeserver.url}/_matrix/client/v3/user/{ADMIN}/openid/request_token"
        headers = {"Authorization": f"Bearer {admin.token}"}
        async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=headers) as response:
            token = f"openid:{(await response.json())['access_token']}"
        async with EncryptedClient(harness.homeserver, admin):
            api, path = ApiClient(harness.port), "/commands/encryption-recovery-key"
            assert (await api.call("POST", path, token, {}))[0] == 200
            await call(harness, "encryption-confirm", user=ADMIN, key=master(harness))
            status, answer = await api.call("POST", path, token, {})
            assert status == 409 and "an admin's identity is confirmed" in answer["error"]
            status, answer = await api.call("POST", path, SECRET, {}, user_id=ADMIN)
            assert status == 200 and answer["data"]["recovery_key"]


async def test_who_is_not_confirmed_says_nothing_once_an_admin_is(tmp_path: Path) -> None:
    """Another admin, in whose name anybody may speak, changes no confirmation, and is shown no key."""
    async with bridged(tmp_path, permissions={"@ops-*:hs.test": "admin"}) as (harness, _):
        ops, alice = Desk(harness, harness.homeserver.user("ops-1")), UserId(harness.alice.id)
        async with EncryptedClient(harness.homeserver, harness.alice) as client:
            (key,) = harness.homeserver.keys.query(alice, [alice])["master_keys"][alice]["keys"].values()
            for _ in range(2):
                assert "is confirmed" in await ops.ask(f"encryption confirm {alice} {key}")
            assert "It is confirmed. To take that back" in await ops.ask(f"encryption confirm {alice}")
            await client.machine.identities.reset(client.owner)
            harness.homeserver._world.device_list(alice)
            assert "It is not the one that was confirmed" in await ops.ask(f"encryption confirm {alice}")
            async with EncryptedClient(harness.homeserver, harness.homeserver.user("admin")):
                assert (
                    "is confirmed" in (await call(harness, "encryption-confirm", user=ADMIN, key=master(harness))).text
                )
            for words in (f"confirm {alice} none", f"unblock {ADMIN} X", "rotate", f"confirm {alice} {key}"):
                assert "an admin's identity is confirmed" in await ops.ask(f"encryption {words}"), words
            assert harness.running.encryption is not None
            assert await harness.running.encryption.keeper.confirmed(alice) == key


async def test_the_recovery_key_is_for_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anybody else can read it is not said, also when they come after it was looked at."""
    async with bridged(tmp_path) as (harness, _):
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        await harness.until(lambda: harness.homeserver.keys.devices.get(bot))
        mallory = harness.homeserver.user("mallory")
        async with (
            EncryptedClient(harness.homeserver, admin) as client,
            EncryptedClient(harness.homeserver, mallory) as other,
        ):
            room = admin.create_room(preset="private_chat", invite=[bot], initial_state=[ENCRYPTION])
            await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(bot) == "join")
            await harness.settled()
            admin.invite(room, mallory.id)
            mallory.join(room)
            await harness.homeserver.wait_pushed()
            await client.says(room, "encryption recovery-key")
            await client.sees_part(room, "others can read what is said here")
            assert harness.running.encryption is not None

            async def nobody(*_: object) -> bool:
                return False

            monkeypatch.setattr(harness.running.encryption.rooms, "others", nobody)
            await client.says(room, "encryption recovery-key")
            await harness.settled()
            await client.says(room, "encryption status")
            await client.sees_part(room, "Encryption works.")
            for reader in (client, other):
                assert not [text async for text in reader.all(room) if "The recovery key: " in text]


async def test_a_late_word_is_not_done(tmp_path: Path) -> None:
    """Whoever holds a key back does not choose when a confirmed admin's command is done."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        harness, admin = talk.bridge, talk.bridge.homeserver.user("admin")
        async with EncryptedClient(harness.homeserver, admin) as client:
            bot = harness.homeserver.bot
            room = admin.create_room(preset="private_chat", invite=[bot], initial_state=[ENCRYPTION])
            await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(bot) == "join")
            await harness.settled()
            await call(harness, "encryption-confirm", user=ADMIN, key=master(harness))
            deliver, held = harness.homeserver._world.to_device, []
            monkey = harness.homeserver._world
            monkey.to_device = lambda *message: held.append(message)  # type: ignore[method-assign, assignment]
            await client.says(room, f"encryption confirm {ADMIN} none")
            await talk.waiting()
            monkey.to_device = deliver  # type: ignore[method-assign]
            for message in held:
                deliver(*message)
            await client.sees_part(room, "an admin's identity is confirmed")
            assert harness.running.encryption is not None
            assert await harness.running.encryption.keeper.confirmed(ADMIN) == master(harness)


async def test_a_blocked_device_does_not_unblock_itself(tmp_path: Path) -> None:
    """In the clear anything with the account's token can speak; blocking a device of one's own is asked about first."""
    async with bridged(tmp_path) as (harness, _):
        desk = Desk(harness)
        async with EncryptedClient(harness.homeserver, desk.admin) as client:
            assert (await call(harness, "encryption-confirm", user=ADMIN)).data["key"] == master(harness)
            device = {"user": str(ADMIN), "device": client.owner.device}
            words = f"{ADMIN} {client.owner.device}"
            assert "Nothing is done yet" in await desk.ask(f"encryption block {words}")
            assert "is blocked:" in await desk.ask(f"encryption block {words} confirm")
            assert "by another device of yours" in await desk.ask(f"encryption unblock {words}")
            changed: Any = await call(harness, "encryption-unblock", Surety.ENCRYPTED, **device)
            assert "is not blocked any more" in changed.text
