"""What the relay passes on for people without a login, and under which names; on a real Synapse and on the fake."""

from typing import Any

import pytest

from bridge_core.api.ids import MessageId
from bridge_core.api.matrix import MatrixMessage, MatrixPollEnd, MatrixReaction, MatrixVote
from bridge_core.api.network import Sent
from tests.able import AbleScript
from tests.conformance.bridged import BOT, Bridged
from tests.conformance.homeservers import Homeserver

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """A relay that was not opted into anything."""
    return {"script": AbleScript(), "sections": {"relay": {}}}


async def test_relayed_reactions_are_opted_into(at: Bridged) -> None:
    """Without `relay.reactions` a reaction is not passed on, and the sender is told so once."""
    room = await at.enter("net")
    at.script.answer = lambda message, attempt: Sent((MessageId(attempt.key),))
    event = await at.human.send(room, "first")
    await at.bridge.until(lambda: "first" in at.script.texts())
    await at.human.react(room, event, "👍")
    await at.told(room, "reactions are passed on for people with a login of their own only")
    await at.human.react(room, event, "👎")
    await at.human.send(room, "last")
    await at.bridge.until(lambda: "last" in at.script.texts())
    notices = [body for sender, body in await at.human.bodies(room) if sender == BOT and "reactions are" in body]
    assert len(notices) == 1
    assert not [message for _, message in at.script.sent if isinstance(message, MatrixReaction)]


async def test_names_of_the_relay(at: Bridged) -> None:
    """Two people with one name are told apart by their ids as soon as the second one is there."""
    await at.human.call("PUT", f"profile/{at.human.id}/displayname", {"displayname": "Sam"})
    room = await at.enter("net")
    await at.human.send(room, "alone")
    await at.bridge.until(lambda: "alone" in at.script.texts())
    assert at.script.sent[at.script.texts().index("alone")][1].sender.name == "Sam"
    other = await at.homeserver.human()
    await other.call("PUT", f"profile/{other.id}/displayname", {"displayname": "S\u0430m"})
    await other.join(room)
    await other.send(room, "me as well")
    await at.bridge.until(lambda: "me as well" in at.script.texts())
    assert at.script.sent[at.script.texts().index("me as well")][1].sender.name == f"S\u0430m ({other.id})"
    await at.human.send(room, "I was first")
    await at.bridge.until(lambda: "I was first" in at.script.texts())
    assert at.script.sent[at.script.texts().index("I was first")][1].sender.name == f"Sam ({at.human.id})"


async def test_the_relay_is_turned_off_in_a_room(at: Bridged) -> None:
    """An admin turns the relay off in one room: who has no login hears so there, and is relayed elsewhere."""
    room, other = await at.enter("net"), await at.enter("net")
    await at.human.send(room, "!bridge relay off")
    await at.told(room, "only people with a login of their own are heard")
    await at.human.send(room, "to nobody")
    await at.told(room, "you need a login on this network, and there is no relay")
    await at.human.send(other, "relayed elsewhere")
    await at.bridge.until(lambda: "relayed elsewhere" in at.script.texts())
    await at.human.send(room, "!bridge relay on")
    await at.told(room, "the relay speaks for people without a login of their own")
    await at.human.send(room, "relayed again")
    await at.bridge.until(lambda: "relayed again" in at.script.texts())
    assert "to nobody" not in at.script.texts()


async def test_relayed_votes_are_opted_into(at: Bridged) -> None:
    """Without `relay.polls` a poll crosses as its text, and votes and ends do not: their senders are told once."""
    room = await at.enter("net")
    at.script.answer = lambda message, attempt: Sent((MessageId(attempt.key),))
    unstable = "org.matrix.msc3381.poll"
    question = {
        "question": {"org.matrix.msc1767.text": "Tea?"},
        "answers": [{"id": "y", "org.matrix.msc1767.text": "Yes"}, {"id": "n", "org.matrix.msc1767.text": "No"}],
    }
    begun = f"{unstable}.start"
    poll = await at.human.send_event(room, {begun: question, "org.matrix.msc1767.text": "Tea? Yes or no"}, begun)
    await at.bridge.until(lambda: any("Tea?" in text for text in at.script.texts()))
    sent = next(one for _, one in at.script.sent if isinstance(one, MatrixMessage) and "Tea?" in str(one.content.text))
    assert sent.content.poll is None
    relation = {"m.relates_to": {"rel_type": "m.reference", "event_id": poll}}
    for answer in ("y", "n"):
        await at.human.send_event(
            room, {**relation, f"{unstable}.response": {"answers": [answer]}}, f"{unstable}.response"
        )
    await at.told(room, "votes are passed on for people with a login of their own only")
    await at.human.send_event(room, {**relation, f"{unstable}.end": {}}, f"{unstable}.end")
    await at.human.send(room, "after the vote")
    await at.bridge.until(lambda: "after the vote" in at.script.texts())
    notices = [body for sender, body in await at.human.bodies(room) if sender == BOT and "votes are" in body]
    assert len(notices) == 1
    assert not [one for _, one in at.script.sent if isinstance(one, MatrixVote | MatrixPollEnd)]
