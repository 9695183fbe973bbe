"""Two machines talk to each other."""

from bridge_core.crypto.policy import Trust
from tests.unit.crypto.world import Bridge

Pair = tuple[Bridge, Bridge]


async def test_text_both_ways(pair: Pair) -> None:
    """What a ghost of one bridge says, the other reads, as of a device that its owner has signed."""
    a, b = pair
    (ann,) = await a.join("ann")
    event = await a.send(ann, "hello", [b.bot, a.bot])
    assert event["type"] == "m.room.encrypted" and b"hello" not in repr(event).encode()
    await b.hear()
    found = await b.decrypted(event)
    assert (found.event["type"], found.event["content"]["body"]) == ("m.room.message", "hello")
    assert (found.trust, found.device) == (Trust.PINNED, "BRIDGE")
    answer = await b.send(b.bot, "yes", [a.bot, ann])
    await a.hear()
    assert await a.read(answer) == "yes"
    assert await b.read(await b.send(b.bot, "own", [a.bot])) == "own"
