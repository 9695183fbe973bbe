"""One channel in several rooms, through a real Synapse: what is said in one of them is seen in the others."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge_core.api.ids import UserId
from tests.real import BOT, Ground, Servers, Town, ghost
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """A bridge to both servers."""
    networks: Servers = {"insps": (servers[0], {"tls": True}), "ng": (servers[1], {})}
    async with Town(ground, tmp_path_factory.mktemp("town"), networks) as town:
        yield town


@pytest.mark.parametrize("network", ["insps", "ng"])
async def test_two_rooms_of_one_channel(town: Town, network: str) -> None:
    """Words, answers, edits, reactions and redactions reach the other room, each once, by bot and by double puppet."""
    witness, channel = await town.witness(network), f"#two{next(town.ground.numbers)}"
    await witness.join(channel)
    rooms = []
    for owner in (town.alice, town.bob):
        room = await owner.create_room(preset="public_chat", invite=[BOT])
        await owner.wait_for(lambda e, room=room: e["room_id"] == room and e.get("state_key") == BOT)  # type: ignore[misc]
        await owner.send_text(room, f"!bridge bridge {network} {channel}")
        await town.notice(owner, room, f"now bridged to {channel} on {network}")
        rooms.append(room)
    first, second = rooms
    await witness.wait_for(lambda line: line.command == "JOIN" and town.is_relay(network, line.nick))
    said = await town.alice.send_text(first, "a question")
    await witness.wait_text("a question", channel)
    copy = await town.bob.wait_for(
        lambda e: e["room_id"] == second and str(e["content"].get("body")).endswith(": a question")
    )
    assert copy["sender"] == BOT
    await town.bob.reply(second, copy["event_id"], "an answer")
    answer = await town.alice.wait_for(
        lambda e: e["room_id"] == first and str(e["content"].get("body")).endswith(": an answer")
    )
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == said
    await town.alice.edit(first, said, "a better question")
    await town.bob.wait_for(
        lambda e: (
            e["room_id"] == second
            and str(e["content"].get("m.new_content", {}).get("body")).endswith(": a better question")
            and e["content"]["m.relates_to"]["event_id"] == copy["event_id"]
        )
    )
    witness.privmsg(channel, "from IRC")
    here = await town.alice.wait_for_message(first, "from IRC", sender=ghost(network, witness.nick))
    there = await town.bob.wait_for_message(second, "from IRC", sender=ghost(network, witness.nick))
    reaction = await town.alice.react(first, here["event_id"], "\U0001f44d")
    put = await town.bob.wait_for(lambda e: e["room_id"] == second and e["type"] == "m.reaction")
    assert put["content"]["m.relates_to"]["event_id"] == there["event_id"]
    await town.alice.redact(first, reaction)
    await town.bob.wait_for(
        lambda e: e["type"] == "m.room.redaction" and put["event_id"] in (e.get("redacts"), e["content"].get("redacts"))
    )
    await town.alice.join(second)
    await town.bob.wait_for(lambda e: e["room_id"] == second and e.get("state_key") == town.alice.user_id)
    await town.harness.settled()
    await town.harness.running.engine.puppets.log_in(UserId(town.alice.user_id), town.ground.passes["alice"])
    await town.alice.send_text(first, "it is me")
    await town.bob.wait_for_message(second, "it is me", sender=town.alice.user_id)
    await witness.wait_text("it is me", channel)
    await town.harness.settled()
    for user, room in ((town.alice, first), (town.bob, second)):
        bodies = [str(event["content"].get("body")) for event in await user.messages(room)]
        assert sum(body.endswith("it is me") for body in bodies) == 1
    assert sum("it is me" in line.text for line in witness.messages(channel)) == 1
    await town.harness.running.engine.puppets.log_out(UserId(town.alice.user_id))
