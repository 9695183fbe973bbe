"""Encrypted messages from Matrix: read in their order, waited for, refused in words, never lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.api.network import Sent
from bridge_core.content.plain import to_plain
from bridge_core.crypto.errors import DamagedKeyError
from bridge_core.engine.decrypting import DecryptingSettings
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.scripted import Script

Held = list[tuple[Any, ...]]


class Talk:
    """A bridge that decrypts, and alice, whose to-device messages can be held back."""

    def __init__(self, bridge: Harness, alice: EncryptedClient, script: Script, room: str) -> None:
        self.bridge = bridge
        self.alice = alice
        self.script = script
        self.room = room
        self._world = bridge.homeserver._world
        self._deliver = self._world.to_device
        self._held: Held | None = None

    def hold(self) -> None:
        """From now on nothing comes to the bridge's devices."""
        self._held = held = []

        def to_device(sender: str, kind: str, user: str, device: str, content: dict[str, Any]) -> None:
            if user == self.alice.owner.user:
                self._deliver(sender, kind, user, device, content)
            else:
                held.append((sender, kind, user, device, content))

        self._world.to_device = to_device  # type: ignore[method-assign]

    def taken(self) -> Held:
        """From now on all comes again; what was held is for `release`."""
        held, self._held = self._held or [], None
        self._world.to_device = self._deliver  # type: ignore[method-assign]
        return held

    def release(self, held: Held | None = None, *, lose: bool = False) -> None:
        """What was held comes now, or never."""
        messages = held if held is not None else self.taken()
        for message in () if lose else messages:
            self._deliver(*message)

    def texts(self) -> list[str]:
        """What the network was sent, in words."""
        return [to_plain(one.content.text) for _, one in self.script.sent if isinstance(one, MatrixMessage)]

    def content(self, event: str) -> dict[str, Any]:
        """The content of an event of the room."""
        return _content(self, self.room, event)

    def notices(self) -> list[str]:
        """What the bot said in the clear."""
        return [
            body for sender, body in self.bridge.homeserver.messages(self.room) if sender == self.bridge.homeserver.bot
        ]

    async def noticed(self, text: str) -> str:
        """The first of the bot's words that hold this."""
        return await self.bridge.until(lambda: next((one for one in self.notices() if text in one), None))

    async def balance(self) -> Any:
        """How deliveries ended; all of them are counted."""
        await self.bridge.settled()
        audit = await self.bridge.running.journal.audit()
        assert audit.holds, audit.balances
        return audit.balances["net", 0]

    async def opened(self) -> None:
        """All that came is opened, and what waited for it handled."""
        await self.bridge.homeserver.wait_pushed()
        encryption = self.bridge.running.encryption
        assert encryption is not None
        await encryption.machine.handled()
        await self.bridge.settled()

    async def waiting(self, number: int = 1) -> None:
        """So many messages are kept."""
        await self.bridge.until(lambda: len(self.bridge.running.engine.decrypting) == number)

    def counted(self, name: str, label: str) -> float:
        """A counter."""
        return self.bridge.running.metrics.snapshot()[f"crypto_{name}"].get((label,), 0)


@asynccontextmanager
async def talking(folder: Path, script: Script | None = None, **encryption: Any) -> AsyncIterator[Talk]:
    """Alice in the portal's room. Messages wait for a minute, unless said otherwise."""
    script = script or Script()
    settings = {"mode": "auto", "missing_key_wait": "60s", **encryption}
    networks = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}
    sender = {"sender": "bridgesender"}  # /sync serves all but the registration's sender
    harness = Harness(folder, networks, {"scripted": script}, encryption=settings, appservice=sender)
    harness.appservice.encryption = True
    harness.appservice.sender_localpart, harness.appservice.bot = "bridgesender", "bridgebot"
    async with harness:
        await ready(harness)
        async with EncryptedClient(harness.homeserver, harness.alice) as client:
            yield Talk(harness, client, script, await harness.portal_room("net", "lobby"))


async def ready(bridge: Harness) -> None:
    """The bot has its keys."""
    encryption = bridge.running.encryption
    assert encryption is not None
    await encryption.machine.accounts.ready(bridge.running.matrix.bot_device)


async def test_a_device_that_is_not_listed_yet_is_waited_for(tmp_path: Path) -> None:
    """Where devices must be listed, a list that comes late costs time alone: its owner is told why, and it goes on."""
    trust = {"receive": "unsigned"}
    async with talking(tmp_path, missing_key_wait="0s", trust=trust) as talk:

        async def early(event: object) -> float | None:
            return 0.0

        talk.bridge.running.engine.decrypting.early = early  # its key is here: to say it again would not help
        keys = talk.bridge.homeserver.keys.devices
        listed = keys.pop(talk.alice.owner.user)
        await talk.alice.says(talk.room, "one")
        await talk.noticed("does not list")
        talk.bridge.alice.send(talk.room, "two, in the clear")
        await talk.bridge.until(lambda: talk.texts() == ["two, in the clear"])
        await talk.waiting()
        keys[talk.alice.owner.user] = listed
        talk.bridge.homeserver._world.device_list(talk.alice.owner.user)
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts()[1].endswith(" one")  # and says that it is late
        assert (await talk.balance()).delivered == 2


async def test_an_encrypted_text_reaches_the_network(tmp_path: Path) -> None:
    """What is said in an encrypted room is read, and sent on with everything else in order."""
    async with talking(tmp_path) as talk:
        await talk.alice.says(talk.room, "one")
        talk.bridge.alice.send(talk.room, "two, in the clear")
        await talk.alice.says(talk.room, "three")
        await talk.bridge.until(lambda: len(talk.script.sent) == 3)
        assert talk.texts() == ["one", "two, in the clear", "three"]
        assert (await talk.balance()).delivered == 3


async def test_what_may_have_been_too_early_is_waited_for(tmp_path: Path) -> None:
    """Whoever may have spoken too early is told to say it again once that is certain, and not while a key may come."""
    async with talking(tmp_path, missing_key_wait="600s") as talk:
        left = [600.0]

        async def early(event: object) -> float | None:
            return left.pop() if len(left) > 1 else left[0]

        talk.bridge.running.engine.decrypting.early = early
        talk.hold()
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.counted("requests", "asked"))
        talk.release()
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert talk.notices() == []
        left[:] = [0.0, 0.01]
        talk.hold()
        await talk.alice.machine.discard(talk.alice.owner, RoomId(talk.room))
        await talk.alice.says(talk.room, "two")
        await talk.noticed("send it again")
        assert talk.texts() == ["one"]


async def test_a_key_that_comes_soon_is_waited_for(tmp_path: Path) -> None:
    """While a key is on its way, what was said later waits behind its message, and nobody is told anything."""
    async with talking(tmp_path) as talk:
        talk.hold()
        await talk.alice.says(talk.room, "one")
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.counted("requests", "asked"))
        assert talk.texts() == []
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts() == ["one", "two"]
        assert (await talk.balance()).delivered == 2
        assert talk.notices() == []


async def test_a_late_key_delivers_late(tmp_path: Path) -> None:
    """After the bound others go first, the sender is told once, and the message comes when its key does, marked."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        await talk.alice.says(talk.room, "two")
        talk.bridge.alice.send(talk.room, "three")
        await talk.bridge.until(lambda: talk.script.sent)
        assert talk.texts() == ["three"]
        await talk.waiting(2)
        await talk.noticed("has not been delivered to net yet: it is encrypted, and its key has not arrived")
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 3)
        assert talk.texts()[1].endswith(" ago) one") and talk.texts()[1].startswith("(said ")
        assert talk.texts()[2].endswith(" ago) two")
        corrected = await talk.bridge.homeserver.wait_event(
            talk.room, lambda e: "delivered to net after all" in str(e["content"].get("m.new_content", {}).get("body"))
        )
        said = next(e for e in talk.bridge.homeserver.room(talk.room).timeline if "not been delivered" in str(e))
        assert corrected["content"]["m.relates_to"]["event_id"] == said["event_id"]
        assert said["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == one
        # A note that comes after the key, or the key from another device, finds nothing that waits.
        waits = talk.bridge.running.engine.decrypting
        waits.arrived(RoomId(talk.room), talk.content(one)["session_id"])
        assert (len(waits), len(talk.script.sent)) == (0, 3)
        assert (await talk.balance()).delivered == 3
        assert sum("not been delivered" in notice for notice in talk.notices()) == 1


async def test_what_waits_for_its_key_outlives_a_restart(tmp_path: Path) -> None:
    """A message whose key is missing when the bridge stops is delivered, once and marked, when the key has come."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        talk.hold()
        await talk.alice.says(talk.room, "one")
        await talk.waiting()
        await talk.noticed("has not been delivered")
        await talk.bridge.stop_bridge()
        await talk.bridge.start_bridge()
        await talk.waiting()
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.texts() == ["two"])
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts()[1].startswith("(said ") and talk.texts()[1].endswith(" ago) one")
        await talk.noticed("delivered to net after all")
        assert (await talk.balance()).delivered == 2
        assert sum("not been delivered" in notice for notice in talk.notices()) == 1


async def test_an_edit_goes_after_what_it_edits(tmp_path: Path) -> None:
    """What is about a message that waits for its key waits for it too, even if it could be read."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        talk.script.answer = lambda message, attempt: Sent(("m1",))  # type: ignore[arg-type]
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        await talk.waiting()
        talk.bridge.alice.edit(talk.room, one, "one, better")
        await talk.waiting(2)
        talk.release()
        await talk.bridge.until(lambda: talk.texts())
        # This network knows no edits: that is said only of one whose message is known.
        await talk.noticed("messages cannot be edited there")
        balance = await talk.balance()
        assert (balance.delivered, balance.rejected) == (1, 1)


async def test_a_key_that_never_comes_ends_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the configured time the message is given up, counted, and its sender told in place of the first words."""
    monkeypatch.setattr("bridge_core.app.encryption.LOOK", 0.1)
    async with talking(tmp_path, missing_key_wait="0s", missing_key_lifetime="1s") as talk:
        talk.hold()
        await talk.alice.says(talk.room, "one")
        await talk.waiting()
        await talk.noticed("not delivered to net: it is encrypted, and its key never arrived")
        balance = await talk.balance()
        assert (balance.rejected, balance.delivered) == (1, 0)
        assert talk.counted("waits", "given_up") == 1
        talk.release()
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.texts() == ["two"])


@pytest.mark.parametrize("bound", ["most", "most_in_room", "most_of_sender"])
async def test_what_waits_is_bounded(tmp_path: Path, bound: str) -> None:
    """More than may wait for keys, of all, a room or a sender, are refused in words at once; those that wait stay."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        kept = talk.bridge.running.engine.decrypting
        kept._settings = replace(DecryptingSettings(0, 600), **{bound: 2})
        talk.hold()
        for text in ("one", "two", "three"):
            await talk.alice.says(talk.room, text)
        await talk.noticed("too many messages wait for their keys")
        assert len(talk.bridge.running.engine.decrypting) == 2
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert [text.rpartition(" ")[2] for text in talk.texts()] == ["one", "two"]
        assert not kept._of, "what does not wait any more does not count"


@pytest.mark.parametrize("bound", ["most", "most_in_room"])
async def test_who_fills_all_places_gives_way_to_others(tmp_path: Path, bound: str) -> None:
    """Somebody without end of messages without keys has nobody refused but themselves: their oldest goes, in words."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        kept = talk.bridge.running.engine.decrypting
        kept._settings = replace(DecryptingSettings(0, 600), **{bound: 4})
        mallory = talk.bridge.homeserver.user("mallory")
        mallory.join(talk.room)
        for number in range(6):
            content = {"algorithm": MEGOLM, "ciphertext": "AAAA", "session_id": f"made up {number}"}
            mallory.send_event(talk.room, "m.room.encrypted", content)
        await talk.bridge.until(lambda: talk.counted("waits", "too_many") == 2)
        talk.hold()
        for number, text in enumerate(("one", "two")):
            await talk.alice.says(talk.room, text)
            await talk.bridge.until(lambda number=number: talk.counted("waits", "too_many") == 3 + number)  # type: ignore[misc]
        assert dict(kept._of) == {"@mallory:hs.test": 2, talk.alice.owner.user: 2} and not kept._ousted
        await talk.alice.says(talk.room, "three")
        await talk.noticed("too many messages wait for their keys")
        await talk.bridge.until(lambda: talk.counted("waits", "too_many") == 5)
        assert len(kept) == 4
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert [text.rpartition(" ")[2] for text in talk.texts()] == ["one", "two"]


async def test_a_key_that_is_lost_is_asked_for(tmp_path: Path) -> None:
    """A key that never arrived is asked of the sender's device, and what it gives is believed."""
    async with talking(tmp_path) as talk:
        talk.hold()
        await talk.alice.says(talk.room, "one")
        talk.release(lose=True)
        await talk.bridge.until(lambda: talk.counted("requests", "asked"))
        await talk.alice.hear()
        await talk.bridge.until(lambda: talk.texts() == ["one"])


async def test_a_withheld_key_is_told_in_words(tmp_path: Path) -> None:
    """A device that does not give its key to the bridge: the room goes on at once, and the sender hears why."""
    async with talking(tmp_path) as talk:
        talk.hold()
        event = await talk.alice.says(talk.room, "one")
        talk.release(lose=True)
        content = talk.content(event)
        note = {
            "algorithm": MEGOLM,
            "code": "m.blacklisted",
            "room_id": talk.room,
            "session_id": content["session_id"],
            "sender_key": content.get("sender_key", ""),
        }
        bot = talk.bridge.running.matrix.bot_device
        world = talk.bridge.homeserver._world
        world.to_device(talk.alice.owner.user, "m.room_key.withheld", bot.user, bot.device, note)
        await talk.noticed("your device is set not to give its keys to the bridge")
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.texts() == ["two"])


async def test_who_withholds_a_key_counts_for_their_own_messages_only(tmp_path: Path) -> None:
    """Anybody may send such notes without end: they end no wait of others, and nothing that is kept is tried again."""
    async with talking(tmp_path) as talk:
        talk.hold()
        event = await talk.alice.says(talk.room, "one")
        talk.release(lose=True)
        await talk.bridge.until(lambda: talk.counted("requests", "asked"))
        note = {
            "algorithm": MEGOLM,
            "code": "m.blacklisted",
            "room_id": talk.room,
            "session_id": talk.content(event)["session_id"],
            "sender_key": "",
        }
        bot, world = talk.bridge.running.matrix.bot_device, talk.bridge.homeserver._world
        encryption, kept = talk.bridge.running.encryption, talk.bridge.running.engine.decrypting
        assert encryption is not None
        decrypt, tries = encryption.machine.decrypt, []

        async def tried(event: Any) -> Any:
            tries.append(event)
            return await decrypt(event)

        encryption.machine.decrypt = tried  # type: ignore[method-assign]

        async def notes(sender: str) -> None:
            before = talk.counted("to_device", "withheld")
            another = {**note, "reason": f"{before}"}  # the same one would be known
            world.to_device(sender, "m.room_key.withheld", bot.user, bot.device, another)
            await talk.bridge.until(lambda: talk.counted("to_device", "withheld") > before)
            await encryption.machine.handled()
            for _ in range(50):  # whoever is woken by it has its turn
                await asyncio.sleep(0)

        await notes("@mallory:hs.test")
        assert not tries and talk.notices() == []
        await notes(talk.alice.owner.user)
        await talk.noticed("your device is set not to give its keys to the bridge")
        await talk.waiting()
        for sender in ("@mallory:hs.test", talk.alice.owner.user):
            tries.clear()
            await notes(sender)
            assert len(kept) == 1 and not tries, "nothing of it is loaded"


def replayed(content: dict[str, Any]) -> dict[str, Any]:
    """The same once more."""
    return content


def tampered(content: dict[str, Any]) -> dict[str, Any]:
    """One character of it changed."""
    body = content["ciphertext"]
    middle = len(body) // 2
    return {**content, "ciphertext": body[:middle] + ("A" if body[middle] != "A" else "B") + body[middle + 1 :]}


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [(replayed, "replay", "used by another event"), (tampered, "bad_signature", "does not decrypt")],
)
async def test_forged_messages_are_refused_in_words(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], reason: str, words: str
) -> None:
    """What was replayed or changed reaches nobody: it is counted by its reason, and the sender hears it."""
    async with talking(tmp_path) as talk:
        event = await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        content = talk.content(event)
        talk.bridge.alice.send_event(talk.room, "m.room.encrypted", change(content))
        await talk.noticed(words)
        balance = await talk.balance()
        assert (balance.delivered, balance.rejected) == (1, 1)
        assert talk.texts() == ["one"]
        assert talk.counted("rejected", reason) == 1


async def test_a_message_for_another_room_is_not_read(tmp_path: Path) -> None:
    """A ciphertext that is sent into another room than it was made for has no key there, and crosses nowhere."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        event = await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        talk.room, made_for = await talk.bridge.portal_room("net", "garden"), talk.room
        talk.bridge.alice.send_event(talk.room, "m.room.encrypted", _content(talk, made_for, event))
        await talk.noticed("its key has not arrived")
        await talk.bridge.settled()
        assert talk.texts() == ["one"]


def _content(talk: Talk, room: str, event: str) -> dict[str, Any]:
    timeline = talk.bridge.homeserver.room(room).timeline
    return next(dict(one["content"]) for one in timeline if one["event_id"] == event)


async def test_devices_that_are_not_trusted_are_refused(tmp_path: Path) -> None:
    """With `trust.receive: verified` a message of a device that nobody has verified is refused, in words."""
    async with talking(tmp_path, trust={"receive": "verified"}) as talk:
        await talk.alice.says(talk.room, "one")
        await talk.noticed("sent by a device that is not trusted enough")
        balance = await talk.balance()
        assert (balance.delivered, balance.rejected) == (0, 1)


async def test_a_command_is_read_in_an_encrypted_management_room(tmp_path: Path) -> None:
    """Commands work in an encrypted management room, and what cannot be read there is said."""
    async with talking(tmp_path) as talk:
        room = talk.bridge.alice.create_room(
            invite=[talk.bridge.homeserver.bot],
            is_direct=True,
            initial_state=[{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}],
        )
        await talk.bridge.until(
            lambda: talk.bridge.homeserver.room(room).membership(talk.bridge.homeserver.bot) == "join"
        )
        await talk.bridge.settled()
        await talk.alice.says(room, "help")
        found = await talk.bridge.until(
            lambda: [
                e
                for e in talk.bridge.homeserver.room(room).timeline
                if e["sender"] == talk.bridge.homeserver.bot and e["type"] == "m.room.encrypted"
            ]
        )
        assert found


async def test_nothing_of_it_is_stored_in_the_clear(tmp_path: Path) -> None:
    """What was said encrypted is in no file of the bridge's, while it waits and after it was delivered."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        talk.hold()
        await talk.alice.says(talk.room, "marker-of-the-secret")
        await talk.waiting()
        talk.release()
        await talk.bridge.until(lambda: talk.script.sent)
        await talk.bridge.settled()
        assert "marker-of-the-secret" in talk.texts()[0]
        await talk.bridge.stop_bridge()
        found = [
            path for path in tmp_path.rglob("*") if path.is_file() and b"marker-of-the-secret" in path.read_bytes()
        ]
        assert found == []
        await talk.bridge.start_bridge()


async def test_keys_of_an_outage_are_got_by_sync(tmp_path: Path) -> None:
    """What devices were sent while the bridge was away comes with no transaction: it is asked for."""
    async with talking(tmp_path) as talk:
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        await talk.bridge.settled()
        await talk.bridge.stop_bridge()
        await talk.alice.machine.discard(talk.alice.owner, RoomId(talk.room))
        await talk.alice.says(talk.room, "two, with a new key")
        await talk.bridge.start_bridge()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts() == ["one", "two, with a new key"]
        assert (await talk.balance()).delivered == 2


async def test_a_refused_transaction_costs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that cannot be stored is sent again without its messages to devices: these are asked for."""
    async with talking(tmp_path) as talk:
        bridge = talk.bridge.running
        append, refused = bridge.journal.append, []

        async def full(entries: Any, writes: Any = (), *, urgent: bool = False) -> Any:
            if not refused and any(write.row for write in writes):
                refused.append(True)
                raise TransientError("the database is away")
            return await append(entries, writes, urgent=urgent)

        monkeypatch.setattr(bridge.engine.intake._journal, "append", full)
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert refused


async def test_keys_come_by_sync_alone(tmp_path: Path) -> None:
    """On a homeserver whose transactions bring no keys, they are asked for all the time."""
    async with talking(tmp_path, mode="sync") as talk:
        talk.bridge.appservice.encryption = False
        await talk.alice.says(talk.room, "one")
        await talk.alice.says(talk.room, "two")
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts() == ["one", "two"]
        assert talk.counted("syncs", "some") >= 1


async def test_asking_all_the_time_ends_where_transactions_bring_keys(tmp_path: Path) -> None:
    """In mode auto the bridge asks until the homeserver has shown that it brings keys by itself."""
    async with talking(tmp_path) as talk:
        encryption = talk.bridge.running.encryption
        assert encryption is not None
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert not encryption.sync.polling


async def test_keys_are_stored_before_the_answer(tmp_path: Path) -> None:
    """What a transaction brings for devices is committed before the homeserver is answered."""
    async with talking(tmp_path, mode="appservice") as talk:
        crypto = talk.bridge.running.database.crypto
        assert await crypto.last_to_device() == 0
        await talk.alice.says(talk.room, "one")
        await talk.bridge.homeserver.wait_pushed()
        assert await crypto.last_to_device() > 0


async def test_stored_keys_are_opened_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends when a transaction with a key is stored and the key not opened: it is, at the next start."""
    async with talking(tmp_path) as talk:
        intake = talk.bridge.running.engine.intake
        monkeypatch.setattr(intake.keys, "committed", lambda taken: None)
        await talk.alice.says(talk.room, "one")
        await talk.bridge.homeserver.wait_pushed()
        await talk.bridge.stop_bridge()
        assert talk.texts() == []
        await talk.bridge.start_bridge()
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert (await talk.balance()).delivered == 1


async def test_encryption_that_is_turned_off_is_not_believed(tmp_path: Path) -> None:
    """State that claims a room is not encrypted any more changes nothing: what is encrypted there is still read."""
    async with talking(tmp_path) as talk:
        talk.bridge.homeserver.room(talk.room)
        encryption = talk.bridge.running.encryption
        assert encryption is not None
        assert await encryption.machine.room_encrypted(RoomId(talk.room), {"algorithm": MEGOLM})
        assert not await encryption.machine.room_encrypted(RoomId(talk.room), {"algorithm": "none"})
        assert encryption.machine.settings(RoomId(talk.room)) is not None
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert talk.counted("rejected", "not_encrypted") == 1


async def test_redacted_while_it_waits_is_never_sent(tmp_path: Path) -> None:
    """A message that its sender takes back while its key is missing is not delivered when the key comes."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        talk.hold()
        event = await talk.alice.says(talk.room, "one")
        await talk.waiting()
        talk.bridge.alice.redact(talk.room, event)
        await talk.bridge.settled()
        talk.release()
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: "two" in talk.texts())
        await talk.waiting(0)
        await talk.bridge.settled()
        assert talk.texts() == ["two"]


async def test_a_key_that_does_not_open_costs_its_own_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong with a message behind others is not laid at their door: they are sent, in order."""
    async with talking(tmp_path) as talk:
        encryption = talk.bridge.running.encryption
        assert encryption is not None
        decrypt, going, held, bad = encryption.machine.decrypt, asyncio.Event(), asyncio.Event(), set[str]()

        async def damaged(event: Mapping[str, Any]) -> Any:
            if event["event_id"] in bad:
                raise DamagedKeyError("a stored session cannot be read")
            held.set()
            await going.wait()
            return await decrypt(event)

        monkeypatch.setattr(encryption.machine, "decrypt", damaged)
        await talk.alice.says(talk.room, "slow")
        await held.wait()
        for number in range(3):
            talk.bridge.alice.send(talk.room, f"m{number}")
        bad.add(await talk.alice.says(talk.room, "bad"))
        going.set()
        await talk.bridge.until(lambda: len(talk.script.sent) == 4)
        assert (await talk.balance()).delivered == 4
        assert talk.texts() == ["slow", "m0", "m1", "m2"]
