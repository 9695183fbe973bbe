"""What an admin is told by the commands about encryption, and that none of them destroys by a slip of the tongue."""

from pathlib import Path
from typing import Any

from bridge_core.testing.homeserver.user import FakeUser
from tests.encrypted import EncryptedClient
from tests.harness import Harness
from tests.unit.app.test_encryption import bridged, said
from tests.unit.engine.test_decrypting import talking


class Desk:
    """An admin in their management room."""

    def __init__(self, harness: Harness, admin: FakeUser | None = None) -> None:
        self.harness = harness
        self.admin, self.bot = admin or harness.homeserver.user("admin"), harness.homeserver.bot
        self.room = self.admin.create_room(invite=[self.bot])

    async def ask(self, text: str) -> str:
        """Say it; the answer."""
        there = self.harness.homeserver.room(self.room)
        await self.harness.homeserver.wait_for(lambda: there.membership(self.bot) == "join")
        event = self.admin.send(self.room, text)

        def answers(candidate: dict[str, Any]) -> bool:
            relates = candidate["content"].get("m.relates_to") or {}
            return bool(relates.get("m.in_reply_to", {}).get("event_id") == event)

        return str((await self.harness.homeserver.wait_event(self.room, answers))["content"]["body"])

    def masters(self, *users: str) -> Any:
        """The identities that the homeserver has."""
        return self.harness.homeserver.keys.query(self.bot, list(users))["master_keys"]


async def test_nothing_is_destroyed_before_it_is_confirmed(tmp_path: Path) -> None:
    """A reset, a rotation, another recovery key and a new backup each say first what follows, and change nothing."""
    async with bridged(tmp_path, encryption={"backup": True}) as (harness, _):
        assert harness.running.encryption is not None
        desk, keeper, machine = Desk(harness), harness.running.encryption.keeper, harness.running.encryption.machine
        await harness.until(lambda: harness.homeserver.keys.devices.get(desk.bot))
        await keeper.rotate()
        other = await keeper.recovery_key()
        await keeper.rotate()
        key, before = await keeper.recovery_key(), desk.masters(desk.bot)
        assert machine.backup is not None
        version = (await machine.backup.status()).version

        async def kept() -> bool:
            assert machine.backup is not None
            same = desk.masters(desk.bot) == before and await keeper.recovery_key() == key
            return same and (await machine.backup.status()).version == version

        listed = await desk.ask("encryption")
        assert "encryption status - " in listed and "Did you mean" not in listed
        for command, words in (
            ("encryption reset", "shall have a new identity"),
            ("encryption rotate", "a new recovery key"),
            (f"encryption restore {other}", "another recovery key than the one in use"),
            ("encryption backup reset", f"The present one (version {version}) stays at the homeserver"),
        ):
            asked = await desk.ask(command)
            assert words in asked and "Nothing is done yet. To do it, say: " in asked and asked.endswith(" confirm")
            assert await kept(), command
            assert f"{command} [" not in asked and other not in asked
        assert "The recovery key is taken" in await desk.ask(f"encryption restore {key}")  # the same: nothing changes
        assert "There is a new backup" in await desk.ask("encryption backup reset confirm")
        assert not await kept()
        assert "has a new identity" in await desk.ask("encryption reset confirm")
        assert desk.masters(desk.bot) != before
        assert "is no user of this bridge" in await desk.ask("encryption reset @alice:hs.test")


async def test_which_way_keys_come_is_said(tmp_path: Path) -> None:
    """By /sync until transactions bring them, and with those afterwards."""
    async with talking(tmp_path) as talk:
        desk = Desk(talk.bridge)
        assert talk.bridge.running.encryption is not None
        sync = talk.bridge.running.encryption.sync
        sync._polls = None
        text = await desk.ask("encryption status")
        assert "Encryption works." in text
        assert "Keys come by /sync, until the homeserver's transactions bring them (encryption.mode: auto)." in text
        sync.pushed(messages=True, counts=True)
        assert "Keys come with the homeserver's transactions" in await desk.ask("encryption status")


async def test_a_block_says_all_that_it_does(tmp_path: Path) -> None:
    """Who is blocked neither reads nor is heard, which is said; a block that is none is said to be none."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        desk = Desk(harness)
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, "one")
            await alice.sees(room, "one")
            device = f"{alice.owner.user} {alice.owner.device}"
            assert "is not blocked, so nothing changes" in await desk.ask(f"encryption unblock {device}")
            text = await desk.ask(f"encryption block {device}")
            assert "cannot read what the bridge says" in text and "what it says is refused" in text
            assert "is blocked already" in await desk.ask(f"encryption block {device}")
            assert "is not blocked any more" in await desk.ask(f"encryption unblock {device}")
            assert "no device" in await desk.ask(f"encryption unblock {alice.owner.user} NOPE")
