"""Policy lists made to hurt: a list is somebody else's room, and whoever gets power there must not own the bridge."""

import io
from typing import Any

import pytest

from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.permissions import Permission
from tests.harness import Harness
from tests.invariants.scenes import receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")
USER, SERVER, ROOM = "m.policy.rule.user", "m.policy.rule.server", "m.policy.rule.room"


def _ban(entity: Any) -> dict[str, Any]:
    return {"entity": entity, "recommendation": "m.ban", "reason": "ha ha"}


async def _list(bridge: Harness) -> tuple[Any, RoomId]:
    keeper = bridge.homeserver.user("keeper")
    room = RoomId(keeper.create_room(preset="public_chat"))
    await bridge.running.whomay.policies.subscribe(room, ADMIN)
    return keeper, room


async def test_a_list_cannot_ban_everybody(bridge: Harness, script: Script, log: io.StringIO) -> None:
    """Rules against everybody, our server, all ghosts, the bot or every room are not followed, and the log says so."""
    room = await bridge.portal_room("net", "lobby")
    keeper, rules = await _list(bridge)
    for number, (event_type, entity) in enumerate(
        [(USER, "*"), (USER, "@*:*"), (USER, "@_net_*:hs.test"), (USER, "@bridgebot:hs.test"), (USER, "@*:hs.test"),
         (USER, ADMIN), (SERVER, "*"), (SERVER, "hs.test"), (SERVER, "*.test"), (ROOM, "*"), (ROOM, "!*")]
    ):  # fmt: skip
        keeper.set_state(rules, event_type, _ban(entity), f"r{number}")
    await bridge.settled()
    await bridge.running.whomay.policies.refresh()
    bridge.alice.send(room, "still here")
    await receive(bridge, script, say("me too"))
    assert script.texts() == ["still here"] and said(bridge, room, "bob") == ["me too"]
    assert bridge.running.whomay.policies.rules() == 0
    assert log.getvalue().count("policy_rule_ignored") >= 11


async def test_an_admin_cannot_be_banned_by_a_list(bridge: Harness) -> None:
    """Not by name, not by a pattern, not by their server: an admin who is locked out could not unsubscribe."""
    keeper, rules = await _list(bridge)
    for number, entity in enumerate([ADMIN, "@adm*:*", "@????n:hs.test"]):
        keeper.set_state(rules, USER, _ban(entity), f"r{number}")
    await bridge.settled()
    assert bridge.running.whomay.permissions.of(ADMIN) is Permission.ADMIN


@pytest.mark.parametrize(
    "entity",
    ["*a" * 120, "@" + "a*" * 100 + ":x", "?" * 255, "*" * 255 + "x", "(a+)+$", "[", "\\", "\0", "\ud800", "@a:\n"],
)
async def test_no_entity_is_a_bomb(bridge: Harness, script: Script, entity: str) -> None:
    """Patterns made to take long or to break the reader are left out or tried in no time; messages go on."""
    room = await bridge.portal_room("net", "lobby")
    keeper, rules = await _list(bridge)
    for event_type in (USER, SERVER, ROOM):
        keeper.set_state(rules, event_type, _ban(entity), "bomb")
    await bridge.settled()
    await bridge.running.whomay.policies.refresh()
    bridge.alice.send(room, "a" * 200)
    await bridge.settled()
    assert script.texts() == ["a" * 200]


async def test_a_message_is_no_rule(bridge: Harness) -> None:
    """Only state counts: everybody may send messages of these types where the list's room lets them speak."""
    _, rules = await _list(bridge)
    mallory = bridge.homeserver.user("mallory")
    mallory.join(rules)
    mallory.send_event(rules, USER, _ban("@alice:hs.test"))
    await bridge.settled()
    await bridge.running.whomay.policies.refresh()
    assert bridge.running.whomay.permissions.of(UserId(bridge.alice.id)) is Permission.USER


async def test_other_rooms_make_no_rules(bridge: Harness) -> None:
    """State of a room that nobody subscribed to bans nobody, the portal's own neither."""
    room = await bridge.portal_room("net", "lobby")
    await _list(bridge)
    mallory = bridge.homeserver.user("mallory")
    own = mallory.create_room(invite=[bridge.homeserver.bot])
    mallory.set_state(own, USER, _ban("@alice:hs.test"), "r")
    bridge.alice.send(room, "hello")
    await bridge.settled()
    assert bridge.running.whomay.permissions.of(UserId(bridge.alice.id)) is Permission.USER


async def test_odd_rules_do_not_stop_a_start(bridge: Harness) -> None:
    """CVE-2025-23197's class: what a list holds is stored, and must never keep the bridge from starting."""
    keeper, rules = await _list(bridge)
    for number, entity in enumerate([None, 5, {"a": 1}, ["x"], "", "\0", "x" * 300, "@a:b\x1f", "@e*l:*"]):
        keeper.set_state(rules, USER, _ban(entity), f"\x1f{number}")
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    permissions = bridge.running.whomay.permissions
    assert permissions.of(UserId("@evil:hs.test")) is Permission.BLOCKED
    assert permissions.of(UserId(bridge.alice.id)) is Permission.USER
