"""What messages may hold, both ways: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.ids import MessageId
from bridge_core.api.matrix import MatrixOutgoing
from bridge_core.api.network import Attempt, Capabilities, Level, Sent
from bridge_core.testing.homeserver import FakeProfile
from tests.able import AbleScript
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import Homeserver, fake, synapse

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["fake", pytest.param("synapse", marks=pytest.mark.server)]
)
async def homeserver(request: pytest.FixtureRequest) -> AsyncIterator[Homeserver]:
    """One homeserver of each kind for all tests of this file."""
    if request.param == "synapse":
        folder = Path(tempfile.mkdtemp(prefix="mb-"))
        async with synapse(folder) as server:
            yield server
        shutil.rmtree(folder, ignore_errors=True)
    else:
        async with fake(FakeProfile()) as server:
            yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(homeserver: Homeserver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridged]:
    """One bridge on it for all tests of this file."""
    bridged = await Bridged.start(homeserver, tmp_path_factory.mktemp("bridge"), script=AbleScript())
    bridged.script.answer = _answer
    yield bridged
    await bridged.bridge.stop_bridge()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _as_before(at: Bridged) -> AsyncIterator[None]:
    """Each test begins on a network that can do everything and has been sent nothing."""
    at.script.capabilities = Capabilities(default=Level.FULL)
    at.script.sent.clear()
    yield


def _answer(message: MatrixOutgoing, attempt: Attempt) -> Sent:
    return Sent((MessageId(f"m-{attempt.key}"),))


async def sent(at: Bridged, number: int) -> Any:
    """The message with this number of those that the network was sent in this test."""
    await at.bridge.until(lambda: len(at.script.sent) > number, timeout=20)
    return at.script.sent[number][1]


async def test_what_the_chat_does_not_have_is_refused_in_words(at: Bridged) -> None:
    """The sender is told what cannot be sent and within which limits; it is counted, and the lane goes on."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities({"image": Level.REJECTED}, default=Level.FULL, max_text=5)
    before = at.bridge.running.journal.counters().get(("net", 0, "rejected"), 0)
    await at.human.send(room, "too long")
    await at.told(room, "the text has 8 bytes, and at most 5 are carried there")
    await at.human.send(room, "a.png", "m.image", url="mxc://hs.test/a")
    await at.told(room, "images cannot be sent there")
    await at.human.send(room, "short")
    assert (await sent(at, 0)).content.text[0].text == "short"
    await at.bridge.settled()
    assert at.bridge.running.journal.counters()["net", 0, "rejected"] == before + 2
    assert (await at.bridge.running.journal.audit()).holds


async def test_what_is_left_out_is_told_once(at: Bridged) -> None:
    """A message whose answer cannot be shown goes without it; the first time the sender is told."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities({"reply": Level.DROPPED}, default=Level.FULL)
    first = await at.human.send(room, "first")
    for text in ("second", "third"):
        relation = {"m.in_reply_to": {"event_id": first}}
        await at.human.send_event(room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})
    assert (await sent(at, 2)).reply_to is None
    await at.told(room, "does not show all of this message: messages cannot be answered there")
    await at.bridge.settled()
    bodies = [body for _, body in await at.human.bodies(room)]
    assert len([body for body in bodies if "does not show all" in body]) == 1


async def test_a_person_puts_only_so_many_reactions_on_a_message(at: Bridged) -> None:
    """One more than the chat allows is refused in words; after one is taken off there is room again, for others too."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities(default=Level.FULL, max_reactions=2)
    said = await at.human.send(room, "react to this")
    first = await at.human.react(room, said, "🍎")
    await at.human.react(room, said, "🍐")
    await at.human.react(room, said, "🍇")
    await at.told(room, "one person may put 2 reactions on a message there: take one off first")
    await at.human.redact(room, first)
    await at.human.react(room, said, "🍋")
    assert (await sent(at, 4)).key == "🍋"
    kinds = [type(message).__name__ for _, message in at.script.sent]
    assert kinds == ["MatrixMessage", "MatrixReaction", "MatrixReaction", "MatrixRedaction", "MatrixReaction"]
