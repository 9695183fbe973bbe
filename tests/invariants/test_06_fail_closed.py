"""Invariant 6, as far as it is built: permissions fail closed, and who is held back is told."""

from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId
from bridge_core.config.policy import Permission
from bridge_core.config.rules import Rules
from bridge_core.engine.matrix_ports import MatrixRejectedError
from tests.harness import Harness
from tests.invariants.scenes import balances, notices
from tests.scripted import Script


@pytest.fixture
def sections() -> dict[str, Any]:
    """Somebody of our own server who is shut out."""
    return {"permissions": {"local": "user", "@mallory:hs.test": "blocked", "@relayed:hs.test": "relay"}}


@pytest.mark.parametrize("user", ["@a:else.where", "@a:hs.test.evil", "@a:evil:hs.test", "a", "", "@local", "@*:x"])
def test_nobody_is_let_in_without_a_rule(user: str) -> None:
    """Users that no mask names, and ids that only look like ours, may do nothing."""
    rules = {"local": Permission.USER, "@admin:hs.test": Permission.ADMIN}
    assert Rules(rules, "hs.test").of(user) is Permission.BLOCKED
    assert Rules({}, "hs.test").of("@a:hs.test") is Permission.BLOCKED


async def test_who_is_blocked_reaches_no_network(bridge: Harness, script: Script) -> None:
    """Messages, edits, reactions, redactions and commands of a blocked user go nowhere; the refusal is said."""
    room = await bridge.portal_room("net", "lobby")
    first = bridge.alice.send(room, "hello")
    await bridge.until(lambda: script.sent)
    mallory = bridge.homeserver.user("mallory")
    mallory.join(room)
    own = mallory.send(room, "let me in")
    mallory.edit(room, own, "let me in!")
    mallory.react(room, first, "x")
    mallory.redact(room, own)
    mallory.send(room, "!bridge unbridge")
    assert (await balances(bridge))["net", 0].delivered == 1
    assert script.texts() == ["hello"]
    assert any("you are not allowed to use this bridge" in text for text in notices(bridge, room))
    assert bridge.running.engine.portals.in_room(RoomId(room))


async def test_a_blocked_user_cannot_summon_the_bot(bridge: Harness) -> None:
    """The bot and ghosts follow invitations of users only."""
    mallory = bridge.homeserver.user("mallory")
    room = mallory.create_room(invite=[bridge.homeserver.bot])
    await bridge.settled()
    assert bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "invite"


async def test_a_relayed_user_gives_no_commands_of_users(bridge: Harness) -> None:
    """Each command needs its level."""
    room = await bridge.portal_room("net", "lobby")
    relayed = bridge.homeserver.user("relayed")
    relayed.join(room)
    relayed.send(room, "!bridge unbridge")
    await bridge.until(lambda: any("needs the level" in text for text in notices(bridge, room)))
    assert bridge.running.engine.portals.in_room(RoomId(room))


@pytest.mark.parametrize(
    "error", [TransientError("away"), MatrixRejectedError("M_FORBIDDEN", "no", 403)], ids=["later", "never"]
)
async def test_unknown_power_is_no_power(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """When the room's power levels cannot be had, nobody changes its bridging; a passing trouble is tried again."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.settled()
    matrix = type(bridge.running.matrix)
    asked = matrix.may_change
    failures: list[str] = []

    async def unknown(side: Any, where: Any, user: Any) -> bool:
        if len(failures) < 1:
            failures.append(where)
            raise error
        return await asked(side, where, user)

    monkeypatch.setattr(matrix, "may_change", unknown)
    bridge.alice.send(room, "!bridge bridge net lobby")
    await bridge.until(lambda: any("lobby" in text or "did not work" in text for text in notices(bridge, room)))
    assert failures == [room]
    bridged = bool(bridge.running.engine.portals.in_room(RoomId(room)))
    assert bridged is isinstance(error, TransientError)


async def test_unknown_members_are_no_empty_list(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What filters by members gets an error, never a list that is short since the homeserver did not answer."""
    room = RoomId(await bridge.portal_room("net", "lobby"))
    bridge.running.engine.members.forget(room)
    bridge.homeserver.faults.answer(502, times=3, match="joined_members")
    with pytest.raises(TransientError):
        await bridge.running.engine.members.of(room)
    bridge.homeserver.faults.clear()
    assert await bridge.running.engine.members.of(room) == {"@alice:hs.test"}
