"""Drills of what comes from Matrix: keys that are withheld, lost by the homeserver, or given out twice."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge_core.api.ids import RoomId
from tests.encrypted import MEGOLM, EncryptedClient
from tests.unit.engine.test_decrypting import Talk, talking

ONE_TIME = "signed_curve25519"


async def new_session(talk: Talk, client: EncryptedClient, text: str) -> str:
    """Say it with a key of its own."""
    await client.machine.discard(client.owner, RoomId(talk.room))
    return await client.says(talk.room, text)


async def test_a_withheld_key_that_comes_late(tmp_path: Path) -> None:
    """A device gives its key after it has said that it would not: the message is delivered, late, and its words end."""
    async with talking(tmp_path) as talk:
        talk.hold()
        event = await talk.alice.says(talk.room, "one")
        note = {
            "algorithm": MEGOLM,
            "code": "m.unverified",
            "room_id": talk.room,
            "session_id": talk.content(event)["session_id"],
            "sender_key": talk.content(event)["sender_key"],
        }
        bot = talk.bridge.running.matrix.bot_device
        talk._deliver(talk.alice.owner.user, "m.room_key.withheld", bot.user, bot.device, note)
        await talk.noticed("gives its keys to verified devices only")
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.texts() == ["two"])
        await talk.waiting()
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert talk.texts()[1].startswith("(said ") and talk.texts()[1].endswith(" ago) one")
        await talk.noticed("delivered to net after all")
        assert (await talk.balance()).delivered == 2


async def test_a_homeserver_that_has_lost_our_one_time_keys(tmp_path: Path) -> None:
    """It tells of none left, new ones are uploaded, and who could not reach the bridge can from then on."""
    async with talking(tmp_path) as talk:
        keys, bot = talk.bridge.homeserver.keys, talk.bridge.running.matrix.bot_device
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        keys.lose_one_time_keys(bot.user, bot.device)
        assert keys.counts(bot.user, bot.device) == {}
        talk.bridge.alice.send(talk.room, "two")  # what a transaction needs to be sent
        await talk.bridge.until(lambda: keys.counts(bot.user, bot.device).get(ONE_TIME, 0) >= 50)
        bob = talk.bridge.homeserver.user("bob")
        bob.join(talk.room)
        async with EncryptedClient(talk.bridge.homeserver, bob) as client:
            await client.says(talk.room, "three")
            await talk.bridge.until(lambda: talk.texts() == ["one", "two", "three"])
        assert (await talk.balance()).delivered == 3


async def test_a_one_time_key_that_is_given_out_twice(tmp_path: Path) -> None:
    """A homeserver that was restored gives a used key to another device: what that one says is read all the same."""
    async with talking(tmp_path) as talk:
        book, bot = talk.bridge.homeserver.keys, talk.bridge.running.matrix.bot_device
        pool = book._one_time[bot.user, bot.device]
        used = dict([next(iter(pool.items()))])
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.texts() == ["one"])
        assert not used.keys() & pool.keys()
        book._one_time[bot.user, bot.device] = {**used, **pool}
        bob = talk.bridge.homeserver.user("bob")
        bob.join(talk.room)
        async with EncryptedClient(talk.bridge.homeserver, bob) as client:
            await client.says(talk.room, "two")
            # The bridge begins a session from its side, and asks for the key, which the client then gives.
            await talk.bridge.until(lambda: talk.counted("to_device", "unwedged"))
            await talk.bridge.until(lambda: talk.counted("requests", "asked"))
            await client.hear()
            await talk.bridge.until(lambda: talk.texts() == ["one", "two"])
            await new_session(talk, client, "three")
            await talk.bridge.until(lambda: len(talk.texts()) == 3)
        assert (await talk.balance()).delivered == 3


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abmy._:", max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["algorithm", "ciphertext", "session_id", "sender_key", "device_id", "m.relates_to", "room_id", "session_key"]
TYPES = [
    "m.room.encrypted",
    "m.room_key",
    "m.room_key_request",
    "m.room_key.withheld",
    "m.forwarded_room_key",
    "m.dummy",
]


def flipped(text: str, at: int, to: str) -> str:
    """The text with one character changed."""
    at %= len(text) or 1
    return text[:at] + (to if text[at : at + 1] != to else "_") + text[at + 1 :]


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """How a ciphertext is spoilt: a character, a key that is missing, or any value in its place."""
    kind = draw(st.sampled_from(["flip", "cut", "drop", "value"]))
    key = draw(st.sampled_from(KEYS[:4]))
    return kind, key, draw(st.integers(0, 400)), draw(st.sampled_from("AQgw/+9")), draw(JSON)


def spoilt(content: dict[str, Any], change: Any) -> dict[str, Any]:
    """An event's content, changed."""
    kind, key, at, to, value = change
    if kind == "flip":
        return {**content, "ciphertext": flipped(content["ciphertext"], at, to)}
    if kind == "cut":
        return {**content, "ciphertext": content["ciphertext"][: at % len(content["ciphertext"])]}
    if kind == "drop":
        return {name: one for name, one in content.items() if name != key}
    return {**content, key: value}


async def test_the_whole_intake_takes_anything(tmp_path: Path) -> None:
    """Spoilt events and messages to devices of any form: each ends counted, nothing of it crosses, the room goes on."""
    async with talking(tmp_path, missing_key_wait="0s", missing_key_lifetime="1s") as talk:
        event = await talk.alice.says(talk.room, "good 0")
        await talk.bridge.until(lambda: talk.texts() == ["good 0"])
        content, world = talk.content(event), talk.bridge.homeserver._world
        bot, alice = talk.bridge.running.matrix.bot_device, talk.bridge.alice
        batches: list[Any] = []

        # Examples are drawn first: the bridge lives in a loop that hypothesis cannot run each of them in.
        @settings(max_examples=60, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(changes(), st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6) | JSON)
        def draw(change: Any, kind: str, message: Any) -> None:
            batches.append((spoilt(content, change), kind, message))

        draw()
        assert len(batches) >= 30
        events = 0
        for number, (bad, kind, message) in enumerate(batches):
            if bad != content:
                alice.send_event(talk.room, "m.room.encrypted", bad)
                events += 1
            world.to_device(alice.id, kind, bot.user, bot.device, message)
            if number % 20 == 19:
                await talk.alice.says(talk.room, f"good {number}")
                await talk.bridge.until(lambda: talk.texts()[-1].endswith(f"good {number}"))  # noqa: B023
        last = await new_session(talk, talk.alice, "the end")
        assert last
        await talk.bridge.until(lambda: talk.texts()[-1].endswith("the end"))
        good = 2 + len(batches) // 20
        assert len(talk.texts()) == good and all("good" in text or "the end" in text for text in talk.texts())
        refused = talk.bridge.running.metrics.snapshot()["crypto_rejected"]
        waiting = len(talk.bridge.running.engine.decrypting)
        assert sum(refused.values()) + waiting >= events
        assert talk.counted("to_device", "failed") == 0
        assert not talk.bridge.running.health.live()
