"""What changes while a message is put aside: its key comes, what it stands behind goes on, its lane begins anew."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.matrix import MatrixMessage, MatrixOutgoing
from bridge_core.api.network import Attempt, Sent
from bridge_core.content.plain import to_plain
from bridge_core.engine.decrypting import Opened
from bridge_core.engine.ports import Entry
from tests.scripted import Script
from tests.unit.engine.test_decrypting import Talk, talking
from tests.unit.engine.test_decrypting_relations import Edited

Meanwhile = Callable[[], Awaitable[None]]


def _while_told(talk: Talk, meanwhile: Meanwhile) -> None:
    """Something happens while the sender of the next message is told that it waits."""
    decrypting = talk.bridge.running.engine.decrypting
    tell, done = decrypting._tell, []

    async def told(event: Mapping[str, Any], why: str) -> None:
        await tell(event, why)
        if not done:
            done.append(event)
            await meanwhile()

    decrypting._tell = told


def _while_postponed(talk: Talk, meanwhile: Meanwhile, *, fails: bool = False) -> list[int]:
    """Something happens while the next message is postponed; the entries for which that was asked."""
    journal = talk.bridge.running.engine.decrypting._journal
    postpone, asked = journal.postpone, list[int]()

    async def postponed(entry: Entry, error: str, at: int) -> None:
        if error == "its key has not arrived":
            asked.append(entry.id)
            if len(asked) == 1:
                await meanwhile()
                if fails:
                    raise TransientError("the database is busy")
        await postpone(entry, error, at)

    journal.postpone = postponed  # type: ignore[method-assign]
    return asked


def _the_key_comes(talk: Talk) -> Meanwhile:
    encryption = talk.bridge.running.encryption
    assert encryption is not None
    came = asyncio.Event()
    encryption.on_arrived.append(lambda room, session: came.set())

    async def meanwhile() -> None:
        talk.release()
        await came.wait()

    return meanwhile


async def _nothing() -> None:
    return


@pytest.mark.parametrize("during", [_while_told, _while_postponed])
async def test_a_key_that_comes_while_its_message_is_put_aside(
    tmp_path: Path, during: Callable[[Talk, Meanwhile], object]
) -> None:
    """The message is delivered, late, and whoever was told that it waits is told so; nothing is kept."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        during(talk, _the_key_comes(talk))
        talk.hold()
        await talk.alice.says(talk.room, "one")
        await talk.bridge.until(lambda: talk.script.sent)
        assert talk.texts()[0].startswith("(said ") and talk.texts()[0].endswith(" ago) one")
        await talk.noticed("delivered to net after all")
        assert (await talk.balance()).delivered == 1
        kept = talk.bridge.running.engine.decrypting
        assert (len(kept), kept._of, kept._late, kept._rooms) == (0, {}, set(), {})


async def test_a_no_that_comes_while_its_message_is_put_aside(tmp_path: Path) -> None:
    """It changes nothing: the message is kept, once, and delivered when its key comes all the same."""
    async with talking(tmp_path, missing_key_wait="0s") as talk:
        decrypting, bot = talk.bridge.running.engine.decrypting, talk.bridge.running.matrix.bot_device

        async def withheld() -> None:
            event = next(one for one in talk.bridge.homeserver.room(talk.room).timeline if "ciphertext" in str(one))
            named = {key: event["content"][key] for key in ("algorithm", "session_id", "sender_key")}
            note = {"code": "m.unverified", "room_id": talk.room, **named}
            talk._deliver(talk.alice.owner.user, "m.room_key.withheld", bot.user, bot.device, note)
            session = decrypting._session(event["room_id"], named["session_id"])
            assert session is not None
            await session.came.wait()

        _while_told(talk, withheld)
        talk.hold()
        await talk.alice.says(talk.room, "one")
        talk.bridge.alice.send(talk.room, "two")
        await talk.bridge.until(lambda: talk.texts() == ["two"])
        await talk.waiting()
        assert sum("not been delivered" in notice for notice in talk.notices()) == 1
        talk.release()
        await talk.bridge.until(lambda: len(talk.script.sent) == 2)
        assert (await talk.balance()).delivered == 2 and not len(decrypting)


@pytest.mark.parametrize("redacted", [False, True])
async def test_what_an_edit_stands_behind_goes_on_while_the_edit_is_put_aside(tmp_path: Path, redacted: bool) -> None:
    """It, or a redaction, follows at once, in order: nothing waits for a key that came long ago."""
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        await talk.waiting()
        asked = _while_postponed(talk, _the_key_comes(talk))
        if redacted:
            talk.bridge.alice.redact(talk.room, one)
        else:
            talk.bridge.alice.edit(talk.room, one, "one, better")
            await talk.bridge.until(lambda: len(script.sent) == 2)
            assert network.kinds() == ["Message", "Edit"] and list(network.shown.values()) == ["one, better"]
        kept = talk.bridge.running.engine.decrypting
        await talk.bridge.until(lambda: asked and not len(kept))
        await talk.bridge.settled()
        assert not redacted or network.kinds() == []
        assert (len(kept), kept._of, kept._late, kept._rooms) == (0, {}, set(), {})


async def test_what_is_kept_counts_once_however_often_its_lane_begins_anew(tmp_path: Path) -> None:
    """An edit that is put aside again with each try of the message before it has one place, and is sent once.

    Where the journal could not say that it waits, it is asked once more: after a start that makes it late.
    """
    script = Script()
    network = Edited(script)
    async with talking(tmp_path, script, missing_key_wait="0s") as talk:
        down = asyncio.Event()

        def answer(message: MatrixOutgoing, attempt: Attempt) -> Sent:
            if not down.is_set() and isinstance(message, MatrixMessage) and to_plain(message.content.text) == "two":
                raise TransientError("the network is away")
            return network._take(message, attempt)

        script.answer = answer
        kept = talk.bridge.running.engine.decrypting
        put, opens = [], kept.open

        async def opened(entry: Entry, *, first: bool) -> Opened:
            found = await opens(entry, first=first)
            if found is Opened.KEPT and not first:
                put.append(entry.id)
            return found

        kept.open = opened  # type: ignore[method-assign]
        talk.hold()
        one = await talk.alice.says(talk.room, "one")
        await talk.waiting()
        asked = _while_postponed(talk, _nothing, fails=True)
        talk.bridge.alice.send(talk.room, "two")
        talk.bridge.alice.edit(talk.room, one, "one, better")
        await talk.bridge.until(lambda: len(put) > 2)
        assert (len(kept), kept._of.total(), len(asked)) == (2, 2, 2)
        down.set()
        talk.release()
        await talk.bridge.until(lambda: sorted(network.shown.values()) == ["one, better", "two"])
        assert (await talk.balance()).delivered == 3
        assert (len(kept), kept._of, kept._late, kept._rooms) == (0, {}, set(), {})
