"""What is about an encrypted message: answers that quote it, edits and redactions that wait behind it."""

from pathlib import Path

import pytest

from bridge_core.api.ids import RoomId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing, MatrixRedaction
from bridge_core.api.network import Attempt, Sent
from bridge_core.content.plain import to_plain
from tests.scripted import Script
from tests.unit.engine.test_decrypting import Talk, talking

SECRET = "the treasure lies below the oak"


def _quoting() -> Script:
    script = Script()
    script.quoted = 40
    return script


async def _quoted(talk: Talk) -> str | None:
    """What the one message that the network was sent since quotes."""
    await talk.bridge.until(lambda: talk.script.sent)
    ((_, message),) = talk.script.sent
    assert isinstance(message, MatrixMessage) and to_plain(message.content.text) == "so?"
    talk.script.sent.clear()
    return message.reply_to.excerpt if message.reply_to is not None else None


async def _answer(talk: Talk, event: str) -> str | None:
    """What an encrypted answer to an event quotes of it."""
    await talk.bridge.settled()
    talk.script.sent.clear()
    await talk.alice.says(talk.room, "so?", **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})
    return await _quoted(talk)


async def test_an_answer_quotes_an_encrypted_message(tmp_path: Path) -> None:
    """An answer repeats what was said encrypted where the network wants it, after a restart too, unless redacted."""
    async with talking(tmp_path, _quoting()) as talk:
        event = await talk.alice.says(talk.room, SECRET)
        assert await _answer(talk, event) == SECRET
        await talk.bridge.settled()
        await talk.bridge.stop_bridge()
        await talk.bridge.start_bridge()
        assert await _answer(talk, event) == SECRET
        talk.bridge.alice.redact(talk.room, event)
        assert await _answer(talk, event) is None


async def test_an_answer_is_not_held_up_by_a_key(tmp_path: Path) -> None:
    """What the bridge has no key for any more is not quoted; the answer goes on without."""
    async with talking(tmp_path, _quoting()) as talk:
        event = await talk.alice.says(talk.room, SECRET)
        await talk.bridge.settled()
        swept = await talk.bridge.running.database.crypto.sweep(
            received_before=2**50, unused_before=0, forgotten_before=0
        )
        assert swept["inbound"] == 1
        await talk.bridge.stop_bridge()
        await talk.bridge.start_bridge()
        await talk.alice.machine.discard(talk.alice.owner, RoomId(talk.room))
        assert await _answer(talk, event) is None


async def test_nothing_of_an_encrypted_room_is_quoted_in_another(tmp_path: Path) -> None:
    """Neither its event's id nor its ciphertext, said again elsewhere, makes an answer there quote it in the clear."""
    async with talking(tmp_path, _quoting(), missing_key_wait="0s") as talk:
        event = await talk.alice.says(talk.room, SECRET)
        await talk.bridge.settled()
        garden = await talk.bridge.portal_room("net", "garden")
        copied = talk.bridge.alice.send_event(garden, "m.room.encrypted", talk.content(event))
        for one in (event, copied):
            await talk.bridge.settled()
            talk.script.sent.clear()
            talk.bridge.alice.reply(garden, one, "so?")
            assert await _quoted(talk) is None
        assert SECRET not in str(talk.bridge.homeserver.room(garden).timeline)


class Edited:
    """A network with edits, as its people see it: what stands there, in the order it came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.shown: dict[str, str] = {}
        script.edits = True
        script.answer = self._take

    def _take(self, message: MatrixOutgoing, attempt: Attempt) -> Sent:
        if isinstance(message, MatrixMessage):
            name = f"m{len(self.shown)}"
            self.shown[name] = to_plain(message.content.text)
            return Sent((name,))
        if isinstance(message, MatrixEdit):
            assert message.target.id in self.shown, "what it edits is not there"
            self.shown[str(message.target.id)] = to_plain(message.content.text)
        if isinstance(message, MatrixRedaction):
            del self.shown[str(message.target.id)]
        return Sent()

    def kinds(self) -> list[str]:
        """What it was sent, in order."""
        return [type(message).__name__.removeprefix("Matrix") for _, message in self.script.sent]


async def _edits(talk: Talk, event: str, body: str) -> str:
    """Alice edits it, encrypted."""
    new = {"msgtype": "m.text", "body": body}
    return await talk.alice.says(talk.room, f"* {body}", **{"m.new_content": new, "m.relates_to": _replaces(event)})


def _replaces(event: str) -> dict[str, str]:
    return {"rel_type": "m.replace", "event_id": event}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("readable", [False, True])
async def test_edits_wait_behind_their_message(tmp_path: Path, restarted: bool, readable: bool) -> None:
    """A message without its key, then its edits, then others: those go on, and it comes with its edits in order, once.

    `readable`: the edits' own key is there. Also over a restart.
    """
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        held = None
        if readable:
            held = talk.taken()
            await talk.alice.machine.discard(talk.alice.owner, RoomId(talk.room))
        await talk.waiting()
        await _edits(talk, one, "one, better")
        await talk.waiting(2)
        await _edits(talk, one, "one, best")
        await talk.waiting(3)
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: network.kinds() == ["Message"])
        await talk.bridge.settled()
        if restarted:
            await talk.bridge.stop_bridge()
            await talk.bridge.start_bridge()
            await talk.waiting(3)
        talk.release(held)
        await talk.bridge.until(lambda: len(script.sent) == 4)
        assert network.kinds() == ["Message", "Message", "Edit", "Edit"]
        assert list(network.shown.values()) == ["two", "one, best"]
        assert (await talk.balance()).delivered == 4
        assert len(talk.bridge.running.engine.decrypting) == 0


@pytest.mark.parametrize("turned", [False, True])
async def test_a_late_edit_does_not_undo_a_later_one(tmp_path: Path, turned: bool) -> None:
    """Of three edits without their keys the last one's words stay, in whatever order the keys come; others' go on."""
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        one = await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: network.shown)
        keys = []
        for number in range(3):
            talk.hold()
            await talk.alice.machine.discard(talk.alice.owner, RoomId(talk.room))
            await _edits(talk, one, f"one, edited {number}")
            await talk.waiting(number + 1)
            keys.append(talk.taken())
        bob = talk.bridge.homeserver.user("bob")
        bob.join(talk.room)
        bob.send(talk.room, "others go on")
        await talk.bridge.until(lambda: len(script.sent) == 2)
        for held, sent in zip(reversed(keys) if turned else keys, (2, 2, 5) if turned else (3, 4, 5), strict=True):
            talk.release(held)
            await talk.opened()
            assert len(script.sent) == sent
        assert list(network.shown.values()) == ["one, edited 2", "others go on"]
        assert (await talk.balance()).delivered == 5


async def test_an_edit_waits_for_nobody_elses(tmp_path: Path) -> None:
    """What another claims to be an edit of somebody's message does not hold up that one's own edit."""
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        one = await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: network.shown)
        mallory = talk.bridge.homeserver.user("mallory")
        mallory.join(talk.room)
        content = {**talk.content(one), "session_id": "unknown", "m.relates_to": _replaces(one)}
        mallory.send_event(talk.room, "m.room.encrypted", content)
        await talk.waiting()
        await _edits(talk, one, "one, better")
        await talk.bridge.until(lambda: len(script.sent) == 2)
        assert list(network.shown.values()) == ["one, better"]


async def test_a_message_taken_back_while_it_and_its_edit_wait_is_never_sent(tmp_path: Path) -> None:
    """A redaction of what waits for its key: neither it nor its edit reaches the network when the key comes."""
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        await talk.waiting()
        await _edits(talk, one, "one, better")
        await talk.waiting(2)
        talk.bridge.alice.redact(talk.room, one)
        await talk.waiting(3)
        talk.release()
        await talk.waiting(0)
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: script.sent)
        await talk.bridge.settled()
        assert list(network.shown.values()) == ["two"] and network.kinds() == ["Message"]
