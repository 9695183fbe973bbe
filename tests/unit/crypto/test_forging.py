"""What a member with a key of the room might try: each is refused, or costs nobody else anything."""

from typing import Any

import pytest

from bridge_core.crypto.errors import MissingKeyError, Reason
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import InboundRow, Owner
from tests.unit.crypto.test_conversation import refused
from tests.unit.crypto.test_todevice import gives
from tests.unit.crypto.world import MEGOLM, ROOM, Bridge

Pair = tuple[Bridge, Bridge]


async def forged(a: Bridge, kind: str, content: dict[str, Any], to: list[Owner]) -> dict[str, Any]:
    """An encrypted event of any type, as no client would make it."""
    ours = await a.machine.accounts.ready(a.bot)
    settings = a.machine.settings(ROOM)
    assert settings is not None
    members = frozenset(one.user for one in to)
    body = await a.machine._outbounds.encrypt(ours, ROOM, settings, kind, content, lambda: members)
    return {
        "type": "m.room.encrypted",
        "room_id": ROOM,
        "sender": a.bot.user,
        "event_id": "$forged",
        "origin_server_ts": 1,
        "content": body,
    }


@pytest.mark.parametrize(
    "kind", ["m.room.redaction", "m.room.member", "m.room.tombstone", "m.room.encrypted", "m.policy.rule.user"]
)
async def test_what_homeservers_judge_is_not_believed_when_encrypted(pair: Pair, kind: str) -> None:
    """No homeserver has seen whether the sender may do that."""
    a, b = pair
    event = await forged(a, kind, {"redacts": "$of-somebody-else", "membership": "leave"}, [b.bot])
    await b.hear()
    assert await refused(b, event) is Reason.KIND


async def test_encrypted_state_is_refused(pair: Pair) -> None:
    """A state event of type m.room.encrypted does not become state of what is inside."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    assert await refused(b, {**event, "state_key": "@ghost:test"}) is Reason.KIND


async def test_what_an_event_is_about_stands_outside(pair: Pair) -> None:
    """A relation that is encrypted is seen by no client: it counts for nothing, the one outside does."""
    a, b = pair
    inside = {"rel_type": "m.replace", "event_id": "$hidden"}
    event = await a.send(a.bot, "x", [b.bot], **{"m.relates_to": inside})
    await b.hear()
    content: dict[str, Any] = {key: value for key, value in event["content"].items() if key != "m.relates_to"}
    assert "m.relates_to" not in (await b.decrypted({**event, "content": content})).event["content"]
    other = {"rel_type": "m.replace", "event_id": "$shown"}
    content["m.relates_to"] = other
    assert (await b.decrypted({**event, "content": content})).event["content"]["m.relates_to"] == other


async def test_a_stranger_suppresses_no_message(pair: Pair) -> None:
    """A session that a receiver gives on as theirs does not make its owner's messages unreadable for good."""
    a, b = pair
    mallory = await Bridge(a.world, "m").start()
    await mallory.join("bot")
    event = await a.send(a.bot, "x", [b.bot, mallory.bot])
    held = a.world.queue.pop(b.prefix)
    group = a.machine._outbounds._held.peek((a.bot, ROOM))
    assert group is not None
    await gives(
        mallory,
        b,
        "m.room_key",
        {
            "algorithm": MEGOLM,
            "room_id": ROOM,
            "session_id": event["content"]["session_id"],
            "session_key": group.group.key,
        },
    )
    with pytest.raises(MissingKeyError):
        await b.read(event)
    a.world.queue[b.prefix] = held
    await b.hear()
    assert await b.read(event) == "x"
    await mallory.kill()


@pytest.mark.parametrize("how", ["given again", "recalled"])
async def test_a_session_that_comes_again_is_not_unused(pair: Pair, how: str) -> None:
    """Long after a session was swept the homeserver shows what was said in it as new: it is refused.

    The last event that was read may come once more, as any event, and what is said later in the session is new.
    """
    a, b = pair
    b.policy = Policy(backup=how == "recalled")
    await b.restart()
    events = [await a.send(a.bot, text, [b.bot]) for text in ("0", "1", "2", "3")]
    await b.hear()
    group = [row for row in b.store.all(InboundRow) if row.session == events[0]["content"]["session_id"]]
    for event in (events[0], events[2]):
        await b.read(event)
    if how == "recalled":
        assert b.machine.backup is not None
        await b.machine.accounts.ready(b.bot)
        while await b.machine.backup.save():
            pass
    b.store.forget_inbound()
    await b.restart()
    with pytest.raises(MissingKeyError) as caught:
        await b.read(events[0])
    if how == "recalled":
        assert await b.machine.recall(caught.value)
    else:
        await b.store.commit(group)
        b.machine._inbounds.stored(group[0])
    for event in (events[0], events[1], {**events[0], "event_id": "$again"}, {**events[2], "event_id": "$again"}):
        assert await refused(b, event) is Reason.REPLAY
    assert await b.read(events[2]) == "2"
    assert await b.read(events[3]) == "3"
    assert await refused(b, {**events[3], "event_id": "$again"}) is Reason.REPLAY
