"""The backup of keys: what is said stays readable after the database is lost, and nobody else's keys come in by it."""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

from bridge_core.api.errors import RateLimitedError, TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.backup import KeyBackup
from bridge_core.crypto.backupdata import BackupSeal
from bridge_core.crypto.errors import MissingKeyError, OlmError
from bridge_core.crypto.olm import BackupKey, decode, encode
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import InboundRow, Owner
from bridge_core.crypto.signing import verified
from tests.unit.crypto.memory import Killed
from tests.unit.crypto.world import ROOM, Bridge, KeyWorld

Event = dict[str, Any]
DAY = 24 * 3600 * 1000


class Backing(Bridge):
    """A bridge `b` with a backup."""

    def __init__(self, world: KeyWorld, policy: Policy | None = None) -> None:
        super().__init__(world, "b", policy or Policy(backup=True))

    @property
    def backup(self) -> KeyBackup:
        assert self.machine.backup is not None
        return self.machine.backup

    async def save(self) -> None:
        """Save all there is."""
        while await self.backup.save():
            pass

    async def waiting(self) -> int:
        """How many sessions are not in the backup."""
        return (await self.backup.status()).waiting

    def entries(self, version: str = "1") -> dict[str, dict[str, Any]]:
        """The sessions of the room in the homeserver's backup."""
        return self.world.backups[self.bot.user][version].rooms.get(ROOM, {})

    async def can_read(self, event: Event) -> bool:
        """Whether an event is read once its key was looked for."""
        try:
            await self.read(event)
        except MissingKeyError as missing:
            await self.machine.ask_for(missing, event)
        try:
            await self.read(event)
        except MissingKeyError:
            return False
        return True


@pytest.fixture
async def pair(world: KeyWorld) -> AsyncIterator[tuple[Bridge, Backing]]:
    a, b = Bridge(world, "a"), Backing(world)
    for bridge in (a, b):
        await bridge.start()
        await bridge.join("bot")
        await bridge.encrypted_room()
    yield a, b
    for bridge in (a, b):
        await bridge.kill()


Pair = tuple[Bridge, Backing]


async def told(a: Bridge, b: Bridge, *texts: str, new: bool = False) -> list[Event]:
    """Ghosts of `a` say it to `b`, which takes the keys; `new`: each in a session of its own."""
    events = []
    for text in texts:
        if new:
            await a.machine.discard(a.bot, ROOM)
        events.append(await a.send(a.bot, text, [b.bot]))
    await b.hear()
    return events


async def lost(b: Backing, *, key: str | None) -> Backing:
    """The database of `b` is lost; somebody has written the recovery key down, or not."""
    await b.kill()
    new = Backing(b.world, b.policy)
    new.clock.ms = b.clock.ms
    await new.start()
    if key is not None:
        await new.machine.identities.restore(new.bot, key)
    await new.encrypted_room()
    return new


def by_the_specification(secret: bytes | None, public: str, given: dict[str, str], plaintext: bytes) -> Any:
    """The algorithm, written down once more: encrypts `plaintext` for `public`, or decrypts `given` with `secret`."""
    ours = X25519PrivateKey.generate() if secret is None else X25519PrivateKey.from_private_bytes(secret)
    theirs = decode(public) if secret is None else decode(given["ephemeral"])
    shared = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    derived = HKDF(SHA256(), 80, bytes(32), b"").derive(shared)
    aes, mac_key, iv = derived[:32], derived[32:64], derived[64:]
    mac = encode(hmac.new(mac_key, b"", hashlib.sha256).digest()[:8])  # over nothing: an error that was kept
    cipher, padding = Cipher(AES256(aes), CBC(iv)), PKCS7(128)
    if secret is None:
        padder, encryptor = padding.padder(), cipher.encryptor()
        padded = padder.update(plaintext) + padder.finalize()
        data = encryptor.update(padded) + encryptor.finalize()
        return {"ciphertext": encode(data), "mac": mac, "ephemeral": encode(ours.public_key().public_bytes_raw())}
    assert mac == given["mac"]
    decryptor, unpadder = cipher.decryptor(), padding.unpadder()
    data = decryptor.update(decode(given["ciphertext"])) + decryptor.finalize()
    return unpadder.update(data) + unpadder.finalize()


def test_the_algorithm_is_the_specifications() -> None:
    """What is encrypted for a backup is what the specification makes of it, both ways, and known public keys fit."""
    # RFC 7748, 6.1.
    secret = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    key = BackupKey(secret)
    assert decode(key.public).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    for size in (0, 1, 15, 16, 17, 1000):
        plaintext = os.urandom(size)
        assert by_the_specification(secret, key.public, key.encrypt(plaintext), b"") == plaintext
        assert key.decrypt(**by_the_specification(None, key.public, {}, plaintext)) == plaintext


def test_what_does_not_decrypt_is_an_error() -> None:
    """Nothing that is put in place of a message does anything but raise our error."""
    key = BackupKey(bytes(range(32)))
    good = key.encrypt(b"x")
    for name in good:
        for bad in ("", "!", "AA", encode(bytes(32)), base64.b64encode(os.urandom(7)).decode()):
            with pytest.raises(OlmError):
                key.decrypt(**{**good, name: bad})


async def test_old_messages_are_read_after_the_database_is_lost(pair: Pair) -> None:
    """With the recovery key alone a new database gets each session when it is needed, trusted as it was before."""
    a, b = pair
    events = await told(a, b, "one", "two", "three", new=True)
    before = [await b.decrypted(event) for event in events]
    await b.save()
    assert await b.waiting() == 0 and len(b.entries()) == 3
    assert b.total("backup", "saved") == 3
    new = await lost(b, key=await b.machine.cross.recovery_key())
    for event, was in zip(events, before, strict=True):
        assert await new.can_read(event)
        found = await new.decrypted(event)
        assert found.event["content"] == was.event["content"]
        assert found.trust is was.trust is Trust.PINNED
    assert new.total("backup", "recalled") == 3
    # Nobody was asked, and what came from the backup is in it.
    assert not [one for one in new.world.sent if one[0] == "m.room_key_request"]
    assert await new.waiting() == 0
    await new.kill()


async def test_without_the_recovery_key_nothing_is_read(pair: Pair) -> None:
    """A bridge that has another recovery key neither reads the backup nor writes into it, and says so."""
    a, b = pair
    (event,) = await told(a, b, "one")
    await b.save()
    new = await lost(b, key=None)
    assert not await new.can_read(event)
    await new.send(new.ghost("ann"), "our own", [a.bot])
    before = new.world.count("put_backup")
    assert await new.backup.save() is False
    status = await new.backup.status()
    assert (status.version, status.waiting) == ("", 1) and "not made with my recovery key" in status.trouble
    assert (new.world.count("put_backup"), new.world.count("make_backup")) == (before, 1)

    # The right key: what was asked for in vain is looked for again.
    key = await b.machine.cross.recovery_key()
    await new.machine.identities.restore(new.bot, key)
    new.arrived.clear()
    await new.save()
    assert (ROOM, event["content"]["session_id"]) in new.arrived
    assert await new.read(event) == "one"
    status = await new.backup.status()
    assert (status.version, status.saved, status.waiting, status.trouble) == ("1", 2, 0, "")
    await new.kill()


async def test_a_new_recovery_key_leaves_no_word_of_the_old_backup(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a restore the backup of that key is told; while the homeserver is silent, that it is looked for."""
    a, b = pair
    await told(a, b, "one")
    await b.save()
    new = await lost(b, key=None)
    await new.save()
    assert "not made with my recovery key" in (await new.backup.status()).trouble
    await new.machine.cross.restore(await b.machine.cross.recovery_key())
    new.world.errors["backup_version"] = [TransientError("the homeserver is away")]
    status = await new.backup.status()
    assert (status.settled, status.version, status.trouble) == (False, "", "the homeserver is away")
    with monkeypatch.context() as patched:
        patched.setattr("bridge_core.crypto.backup._PATIENCE", 0.01)
        async with new.backup._lock:  # the homeserver holds a request
            status = await new.backup.status()
            assert (status.settled, status.version, status.trouble) == (False, "", "")
    status = await new.backup.status()
    assert (status.settled, status.version, status.saved, status.trouble) == (True, "1", 1, "")

    await new.machine.cross.rotate()
    status = await new.backup.status()
    assert (status.settled, status.version, status.saved) == (True, "2", 0)
    await new.kill()


async def test_an_admin_may_begin_anew(pair: Pair) -> None:
    """A reset makes another version, into which all goes; what there was stays as it is."""
    a, b = pair
    await told(a, b, "one")
    theirs = await b.world.make_backup(b.bot, "m.megolm_backup.v1.curve25519-aes-sha2", {"public_key": "theirs"})
    await b.save()
    assert b.world.backups[b.bot.user][theirs].count == 0
    version = await b.backup.renew()
    await b.save()
    assert (version != theirs, len(b.entries(version)), b.entries(theirs)) == (True, 1, {})
    assert (await b.backup.status()).trouble == ""
    again = await b.backup.renew()
    await b.save()
    assert len(b.entries(again)) == len(b.entries(version)) == 1


async def test_a_new_recovery_key_makes_a_new_backup(pair: Pair) -> None:
    """After a rotation all is saved once more, for the new key; the old one opens nothing of it."""
    a, b = pair
    events = await told(a, b, "one", "two", new=True)
    await b.save()
    old = await b.machine.cross.recovery_key()
    await b.machine.identities.rotate(b.bot)
    await b.save()
    assert len(b.entries("2")) == 2
    key = await b.machine.cross.recovery_key()
    stale = await lost(b, key=old)
    assert not await stale.can_read(events[0])
    new = await lost(stale, key=key)
    assert await new.can_read(events[0]) and await new.can_read(events[1])
    await new.kill()


async def test_whose_backup_it_is_is_signed(pair: Pair) -> None:
    """The version names the public key, signed by the bot's master key."""
    a, b = pair
    await told(a, b, "one")
    await b.save()
    auth = b.world.backups[b.bot.user]["1"].auth_data
    master = (await b.machine.cross.identity(b.bot.user)).master.public
    assert verified(auth, b.bot.user, master, master)
    secret = await b.machine.cross.backup_secret()
    assert auth["public_key"] == BackupKey(secret).public


def _no_mac(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    del entry["session_data"]["signatures"]


def _another_mac(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    (macs,) = entry["session_data"]["signatures"].values()
    for name in macs:
        macs[name] = encode(bytes(32))


def _made_by_the_homeserver(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    """All it needs is the public key."""
    plaintext = BackupKey(secret).decrypt(**_bare(entry))
    entry["session_data"] |= by_the_specification(None, BackupKey(secret).public, {}, plaintext)


def _changed(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    data = bytearray(decode(entry["session_data"]["ciphertext"]))
    data[20] ^= 1
    entry["session_data"]["ciphertext"] = encode(bytes(data))


def _of_another_room(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    """The same session, as it would have been saved for another room."""
    (row,) = [one for one in b.store.all(InboundRow) if one.room == ROOM]
    elsewhere = replace(row, room=RoomId("!other:test"))
    entry |= BackupSeal(secret, b.bot.user).sealed(b.machine._inbounds.found(elsewhere))


def _another_session(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    """Another session of the same room."""
    (row,) = [one for one in b.store.all(InboundRow) if one.room != ROOM]
    entry |= BackupSeal(secret, b.bot.user).sealed(b.machine._inbounds.found(replace(row, room=ROOM)))


def _nothing(b: Backing, entry: dict[str, Any], secret: bytes) -> None:
    entry["session_data"] = {"ciphertext": 5}


def _bare(entry: dict[str, Any]) -> dict[str, str]:
    return {name: entry["session_data"][name] for name in ("ciphertext", "mac", "ephemeral")}


_FORGED = (_no_mac, _another_mac, _made_by_the_homeserver, _changed, _of_another_room, _another_session, _nothing)


@pytest.mark.parametrize("forged", _FORGED)
async def test_nothing_is_taken_that_we_have_not_put_there(
    pair: Pair, forged: Callable[[Backing, dict[str, Any], bytes], None]
) -> None:
    """Whatever the homeserver puts in a session's place is refused and counted, and the sender is asked instead."""
    a, b = pair
    other = RoomId("!other:test")
    await a.encrypted_room(other)
    (event,) = await told(a, b, "one")
    await a.send(a.bot, "elsewhere", [b.bot], other)
    await b.hear()
    await b.save()
    forged(b, b.entries()[event["content"]["session_id"]], await b.machine.cross.backup_secret())
    new = await lost(b, key=await b.machine.cross.recovery_key())
    assert not await new.can_read(event)
    assert new.total("backup", "refused") == 1
    assert [one[0] for one in new.world.sent][-1] == "m.room_key_request"
    await new.kill()


async def test_what_others_read_of_it(pair: Pair) -> None:
    """An entry has the keys of the specification, and its first index and origin are said outside."""
    a, b = pair
    (event,) = await told(a, b, "one")
    await b.save()
    entry = b.entries()[event["content"]["session_id"]]
    assert (entry["first_message_index"], entry["forwarded_count"], entry["is_verified"]) == (0, 0, True)
    secret = await b.machine.cross.backup_secret()
    inside = orjson.loads(by_the_specification(secret, "", _bare(entry), b""))
    ours = inside.pop("dev.matrix_bridge.session")
    assert (ours["room"], ours["sender"]) == (ROOM, a.bot.user)
    account = (await a.machine.accounts.ready(a.bot)).account
    assert inside.pop("session_key")
    assert inside == {
        "algorithm": "m.megolm.v1.aes-sha2",
        "forwarding_curve25519_key_chain": [],
        "sender_claimed_keys": {"ed25519": account.ed25519},
        "sender_key": account.curve25519,
    }


async def test_it_goes_in_batches(world: KeyWorld) -> None:
    """No request holds more than a batch; each session goes once, and a quiet bridge asks nothing."""
    a = await Bridge(world, "a").start()
    b = Backing(world, Policy(backup=True, backup_batch=10))
    await b.start()
    for bridge in (a, b):
        await bridge.join("bot")
        await bridge.encrypted_room()
    await told(a, b, *[f"{number}" for number in range(25)], new=True)
    await b.save()
    sizes = [len(what[ROOM]) for name, _, what in world.calls if name == "put_backup"]
    assert sizes == [10, 10, 5]
    calls = len(world.calls)
    await b.save()
    assert len(world.calls) == calls
    for bridge in (a, b):
        await bridge.kill()


@pytest.mark.parametrize("when", ["before", "sent", "after"])
async def test_a_kill_loses_nothing(pair: Pair, when: str) -> None:
    """Whether the process ends before, after or while it is noted what was saved: in the end all is there, once."""
    a, b = pair
    await told(a, b, "one", "two", new=True)
    if when == "sent":
        await b.backup.save()  # there is a version
        await told(a, b, "three", new=True)
        b.faults.at["crypto.backup_sent"] = Killed()
        with pytest.raises(Killed):
            await b.backup.save()
        await b.restart()
        await b.save()
    for number in range(1, 4) if when != "sent" else ():
        b.die_at(number, when)
        try:
            await b.save()
        except Killed:
            await b.restart()
            await b.save()
        await told(a, b, f"after {number}", new=True)
        b.store.lose_memory()
        await b.save()
    assert await b.waiting() == 0
    assert set(b.entries()) == {row.session for row in await b.store.unsaved(99, 99)}
    assert world_versions(b) == 1


def world_versions(b: Backing) -> int:
    return len(b.world.backups[b.bot.user])


async def test_a_better_key_that_comes_meanwhile_is_saved_too(pair: Pair) -> None:
    """A session that is put anew while its row is on the way to the backup counts as not saved."""
    a, b = pair
    await told(a, b, "one")
    (row,) = await b.store.unsaved(1, 9)
    put = b.world.put_backup

    async def meanwhile(*given: Any) -> int:
        b.clock.ms += 1
        await b.store.commit([type(row)(*[getattr(row, name) for name in row.__slots__[:5]], b.clock.ms, b.clock.ms)])
        b.world.put_backup = put  # type: ignore[method-assign]
        return await put(*given)

    b.world.put_backup = meanwhile  # type: ignore[method-assign]
    await b.backup.save()
    assert await b.waiting() == 1
    await b.save()
    assert await b.waiting() == 0


async def test_a_version_that_is_gone_is_made_again(pair: Pair) -> None:
    """Where the backup was deleted there is a new one after one failure, with all in it."""
    a, b = pair
    await told(a, b, "one")
    await b.save()
    b.world.backups.clear()
    await told(a, b, "two", new=True)
    with pytest.raises(Exception, match="M_NOT_FOUND"):
        await b.backup.save()
    await b.save()
    assert len(b.entries("2")) == 2


async def test_another_version_is_not_written_over(pair: Pair) -> None:
    """Where somebody has made another backup of the bot's meanwhile, neither is written any more."""
    a, b = pair
    await told(a, b, "one")
    await b.save()
    theirs = await b.world.make_backup(b.bot, "m.other", {"public_key": "theirs"})
    await told(a, b, "two", new=True)
    with pytest.raises(Exception, match="WRONG_ROOM_KEYS_VERSION"):
        await b.backup.save()
    assert await b.backup.save() is False
    assert (len(b.entries()), b.entries(theirs)) == (1, {})
    assert "not made with my recovery key" in (await b.backup.status()).trouble


async def test_trouble_is_waited_out(pair: Pair) -> None:
    """Rate limits are kept to the second, other trouble is tried again more and more slowly, and said meanwhile."""
    a, b = pair
    await told(a, b, "one")
    b.world.errors["put_backup"] = [RateLimitedError("slow down", 7), TransientError("away"), TransientError("away")]
    slept: list[tuple[float, str]] = []

    async def sleep(seconds: float) -> None:
        slept.append((seconds, (await b.backup.status()).trouble))
        await asyncio.sleep(0)

    b.clock.sleep = sleep  # type: ignore[method-assign]
    run = asyncio.ensure_future(b.backup.run())
    async with asyncio.timeout(60):
        while await b.waiting():
            await asyncio.sleep(0)
        await a.machine.discard(a.bot, ROOM)
        await a.send(a.bot, "two", [b.bot])
        b.take()  # wakes it
        while len(b.entries()) < 2:
            await asyncio.sleep(0)
    run.cancel()
    assert slept[:3] == [(7, ""), (2.0, "away"), (4.0, "away")]
    assert slept[3:5] == [(5.0, ""), (1.0, "")]
    assert b.total("backup", "failed") == 2


async def test_what_is_not_there_is_not_looked_for_all_the_time(pair: Pair) -> None:
    """A session that the backup does not have is looked for once an hour, and its sender asked at once."""
    a, b = pair
    await told(a, b, "one")
    await b.save()
    await a.machine.discard(a.bot, ROOM)
    event = await a.send(a.bot, "lost", [b.bot])
    b.world.queue.clear()
    for _ in range(3):
        assert not await b.can_read(event)
    assert b.world.count("backed_up") == 1
    assert [one[0] for one in b.world.sent][-1] == "m.room_key_request"
    b.clock.ms += 3_600_000
    assert not await b.can_read(event)
    assert b.world.count("backed_up") == 2


async def test_the_deletion_policy_holds_for_the_backup(pair: Pair) -> None:
    """A session that came longer ago than sessions are kept is not taken back."""
    a, b = pair
    old, young = await told(a, b, "old"), []
    b.clock.ms += 100 * DAY
    young = await told(a, b, "young", new=True)
    await b.save()
    new = await lost(b, key=await b.machine.cross.recovery_key())
    new.clock.ms += 81 * DAY
    assert not await new.can_read(old[0])
    assert new.total("backup", "too_old") == 1
    assert await new.can_read(young[0])
    # Its time goes on from when it came first.
    (row,) = await new.store.inbound(ROOM, young[0]["content"]["session_id"])
    assert (row.received_at, row.used_at) == (new.clock.ms - 81 * DAY, new.clock.ms)
    await new.kill()


async def test_a_damaged_session_holds_up_no_other(pair: Pair) -> None:
    """What cannot be read is counted and left out; the others are saved."""
    a, b = pair
    await told(a, b, "one", "two", new=True)
    row = (await b.store.unsaved(1, 9))[0]
    await b.store.commit([type(row)(row.room, row.session, row.sender_key, row.sender, b"{}", 1, 1)])
    await b.save()
    assert (len(b.entries()), b.total("backup", "unreadable"), await b.waiting()) == (1, 1, 0)


async def test_of_two_that_claim_a_session_its_own_is_saved(pair: Pair) -> None:
    """What came from a session's own device goes before what was forwarded."""
    a, b = pair
    (event,) = await told(a, b, "one")
    (row,) = await b.store.unsaved(1, 9)
    value = orjson.dumps({**orjson.loads(row.value), "forwarded": True, "by": "somebody"})
    stranger = type(row)(row.room, row.session, "A" * 43, row.sender, value, 1, 1)
    b.store.rows = {("first",): stranger, **b.store.rows}
    await b.store.commit([stranger])
    await b.save()
    assert b.entries()[event["content"]["session_id"]]["is_verified"] is True


@pytest.mark.parametrize("first", [True, False])
async def test_who_gives_anothers_session_as_theirs_does_not_take_its_place(pair: Pair, first: bool) -> None:
    """Of two who say that a session is theirs the one is saved whose messages were read by it."""
    a, b = pair
    (event,) = await told(a, b, "one")
    await b.read(event)
    (row,) = await b.store.unsaved(1, 9)
    stranger = type(row)(row.room, row.session, "A" * 43, UserId("@mallory:else"), row.value, 1, 1)
    await b.backup.save()
    assert b.backup._current is not None
    b.world.backups[b.bot.user]["1"].rooms.clear()
    await b.backup._put(b.backup._current, [stranger, row] if first else [row, stranger])
    entry = b.entries()[event["content"]["session_id"]]
    saved = b.backup._current.seal.opened(ROOM, row.session, entry, 1, b.store.pickle_key)
    assert (saved.sender, saved.sender_key) == (row.sender, row.sender_key)


async def test_a_bridge_without_a_backup_asks_for_none(world: KeyWorld) -> None:
    """Off is off: no version is looked at, and a missing key is asked of its sender alone."""
    b = await Bridge(world, "b").start()
    await b.join("bot")
    assert b.machine.backup is None
    missing = MissingKeyError(ROOM, "session", Owner(b.bot.user, "X").user)
    assert await b.machine.recall(missing) is False
    assert not [name for name, _, _ in world.calls if "back" in name]
    await b.kill()


def test_secrets_are_not_shown() -> None:
    """Neither the seal nor what it seals shows its key."""
    secret = bytes(range(32))
    seal = BackupSeal(secret, Bridge(KeyWorld(), "b").bot.user)
    assert encode(secret) not in repr(seal) and repr(secret) not in repr(vars(seal))
