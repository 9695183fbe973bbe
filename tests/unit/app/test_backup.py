"""The backup of keys, of a whole bridge on the fake homeserver."""

from pathlib import Path

import pytest

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.crosssigning import recovery_text
from bridge_core.engine.decrypting import MissingKeyError
from bridge_core.testing.homeserver import FakeHomeserver
from bridge_core.testing.homeserver.backups import Backup
from tests.unit.app.test_encryption import event_of
from tests.unit.engine.test_decrypting import Talk, talking

ADMIN = UserId("@admin:hs.test")


async def commanded(talk: Talk, name: str, **arguments: str) -> str:
    """What a command of the admin's program answers."""
    answer = await talk.bridge.running.engine.commands.call(ADMIN, name, arguments)
    return answer.text


def kept(homeserver: FakeHomeserver) -> dict[str, Backup]:
    """The bot's backups, by version."""
    return homeserver._world.backups.get(homeserver.bot, {})


async def saved(talk: Talk) -> None:
    """All that can be read is in the backup; nothing is waited for."""
    encryption = talk.bridge.running.encryption
    assert encryption is not None and encryption.machine.backup is not None
    while await encryption.machine.backup.save():
        pass


async def lost(talk: Talk) -> None:
    """The bridge starts again without its database."""
    await talk.bridge.stop_bridge()
    for path in talk.bridge.folder.glob("bridge.db*"):
        path.unlink()
    await talk.bridge.start_bridge()
    assert await talk.bridge.portal_room("net", "lobby") == talk.room  # found by its alias


async def test_after_the_loss_of_the_database(tmp_path: Path) -> None:
    """The bridge says what is lost; with the recovery key and a new name of its devices all is as it was before.

    Old messages are read, messages whose key only the backup has are delivered, and identities stay the same.
    """
    async with talking(tmp_path, backup=True) as talk:
        homeserver = talk.bridge.homeserver
        old = await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        await saved(talk)
        assert "Backup of keys: version 1." in await commanded(talk, "encryption-backup")
        assert kept(homeserver)["1"].count >= 1
        key = (await commanded(talk, "encryption-recovery-key")).partition(": ")[2].partition("\n")[0]
        before = homeserver.keys.query(homeserver.bot, [homeserver.bot])["master_keys"]

        await lost(talk)
        await talk.bridge.until(lambda: "database was lost" in _trouble(talk))
        clear = talk.bridge.running.engine.decrypting.clear
        event = {**event_of(talk.bridge, talk.room, old), "room_id": RoomId(talk.room)}
        with pytest.raises(MissingKeyError):
            await clear(event)
        await saved(talk)
        text = await commanded(talk, "encryption-backup", action="status")
        assert "does not work" in text and "not made with my recovery key" in text
        await talk.alice.says(talk.room, "two")
        await talk.bridge.until(lambda: talk.bridge.running.engine.to_network.busy())
        assert "Say `encryption restore KEY`" in await commanded(talk, "encryption-status")
        wrong = await commanded(talk, "encryption-restore", key=recovery_text(bytes(32)))
        assert "it is NOT the one" in wrong and "the recovery key is the right one" not in wrong
        assert "did not make the identities there" in await commanded(talk, "encryption-status")
        told = await commanded(talk, "encryption-restore", key=key)
        # What is said right after it does not contradict it.
        for text in (told, await commanded(talk, "encryption-status")):
            assert "the recovery key is the right one; now set encryption.device to a new name, such as " in text
            assert "encryption restore" not in text and "NOT" not in text
        text = await commanded(talk, "encryption-backup")
        assert "Backup of keys: version 1." in text and "Sessions in it: 0" not in text
        assert "does not work" not in text
        assert (await clear(event))["content"]["body"] == "one"
        await talk.bridge.until(lambda: talk.texts() == ["one", "two"])
        assert "does not work" not in await commanded(talk, "encryption-backup")

        await talk.bridge.stop_bridge()
        talk.bridge.sections["encryption"] = {**talk.bridge.sections["encryption"], "device": "SECOND"}
        await talk.bridge.start_bridge()
        await talk.bridge.until(lambda: "SECOND" in homeserver.keys.devices[homeserver.bot])
        assert homeserver.keys.query(homeserver.bot, [homeserver.bot])["master_keys"] == before
        assert _trouble(talk) == ""
        await talk.alice.says(talk.room, "three")
        await talk.bridge.until(lambda: talk.texts() == ["one", "two", "three"])


def _trouble(talk: Talk) -> str:
    encryption = talk.bridge.running.encryption
    assert encryption is not None
    return encryption.rooms.trouble


async def test_a_rotation_and_a_reset_make_new_backups(tmp_path: Path) -> None:
    """Each has all keys that can be read; older ones stay at the homeserver."""
    async with talking(tmp_path, backup=True) as talk:
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        await saved(talk)
        assert (await commanded(talk, "encryption-backup", action="reset")).startswith("There is a new backup")
        await saved(talk)
        await commanded(talk, "encryption-rotate")
        await saved(talk)
        counts = {version: backup.count for version, backup in kept(talk.bridge.homeserver).items()}
        assert set(counts) == {"1", "2", "3"} and len(set(counts.values())) == 1
        public = {backup.auth_data["public_key"] for backup in kept(talk.bridge.homeserver).values()}
        assert len(public) == 2
        assert "say encryption backup status" in await _refused(talk, action="delete")


async def test_off_is_off(tmp_path: Path) -> None:
    """By default there is no backup, which the command says."""
    async with talking(tmp_path) as talk:
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert "encryption.backup" in await commanded(talk, "encryption-backup")
        assert "encryption.backup" in await _refused(talk, action="reset")
        assert not kept(talk.bridge.homeserver)
        assert not any("room_keys" in one for one in talk.bridge.homeserver.requests)


async def test_it_is_filled_by_itself(tmp_path: Path) -> None:
    """Nobody has to ask for it: what can be read when the bridge starts is saved at once."""
    async with talking(tmp_path) as talk:
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        await talk.bridge.stop_bridge()
        talk.bridge.sections["encryption"] = {**talk.bridge.sections["encryption"], "backup": True}
        await talk.bridge.start_bridge()
        await talk.bridge.until(lambda: any(one.count for one in kept(talk.bridge.homeserver).values()))


async def _refused(talk: Talk, **arguments: str) -> str:
    with pytest.raises(Exception) as caught:
        await commanded(talk, "encryption-backup", **arguments)
    return str(caught.value)
