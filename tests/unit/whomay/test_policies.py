"""Moderation policy lists: who they name is kept out, in both directions, from the first moment of a start."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.permissions import Permission
from bridge_core.engine.policyrules import RULE_TYPES, Rule, RuleBook, RuleKind, TooBroad, rule_of
from tests.harness import Harness
from tests.invariants.scenes import CAROL, balances, notices, receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")
USER, SERVER, ROOM = "m.policy.rule.user", "m.policy.rule.server", "m.policy.rule.room"


@pytest.fixture
def sections() -> dict[str, Any]:
    """Users of other servers may use the bridge too."""
    return {"permissions": {"*": "user", "@admin:hs.test": "admin", "@chief:far.org": "admin"}}


def _ban(entity: str, reason: str = "spam", recommendation: str = "m.ban") -> dict[str, Any]:
    return {"entity": entity, "recommendation": recommendation, "reason": reason}


async def _list(bridge: Harness, *rules: tuple[str, str]) -> tuple[Any, RoomId]:
    """A list of somebody, with rules, followed."""
    keeper = bridge.homeserver.user("keeper")
    room = RoomId(keeper.create_room(preset="public_chat"))
    for event_type, entity in rules:
        keeper.set_state(room, event_type, _ban(entity), f"rule:{entity}")
    await bridge.running.whomay.policies.subscribe(room, ADMIN)
    return keeper, room


async def test_whoever_a_list_names_is_kept_out(bridge: Harness, script: Script) -> None:
    """A named user reaches no network, a named ghost no room, others do; rules come and go with the list's state."""
    room = await bridge.portal_room("net", "lobby")
    keeper, rules = await _list(bridge, (USER, "@alice:hs.test"))
    bridge.alice.send(room, "one")
    await bridge.settled()
    assert any("you are on a moderation list (spam)" in text for text in notices(bridge, room))
    keeper.set_state(rules, USER, _ban("@_net_b?b:*"), "rule:bob")
    keeper.set_state(rules, USER, {}, "rule:@alice:hs.test")
    await bridge.settled()
    bridge.alice.send(room, "two")
    await receive(bridge, script, say("buy"), say("hello", CAROL))
    assert script.texts() == ["two"]
    assert (said(bridge, room, "bob"), said(bridge, room, "carol")) == ([], ["hello"])
    found = await balances(bridge)
    assert (found["net", 0].rejected, found["net", 1].rejected) == (1, 1)


async def test_rules_hold_without_the_homeserver(bridge: Harness) -> None:
    """After a start nobody gets in before the list was read again: the rules last known are in force at once."""
    await _list(bridge, (SERVER, "evil.org"), (USER, "@*-spam:*"))
    await bridge.stop_bridge()
    bridge.homeserver.faults.answer(502, times=1000)
    await bridge.begin_bridge()
    permissions = bridge.running.whomay.permissions
    for user in ("@a:evil.org", "@a:evil.org:8448", "@x-spam:good.org"):
        assert permissions.of(UserId(user)) is Permission.BLOCKED
    assert permissions.of(UserId("@a:good.org")) is Permission.USER
    bridge.homeserver.faults.clear()


async def test_what_changed_meanwhile_is_seen_at_a_start(bridge: Harness) -> None:
    """A start reads the lists anew; a rule that was redacted is one no more."""
    keeper, room = await _list(bridge, (USER, "@a:x.org"), (USER, "@b:x.org"))
    permissions = bridge.running.whomay.permissions
    assert permissions.of(UserId("@a:x.org")) is Permission.BLOCKED
    event = bridge.homeserver.room(room).current[USER, "rule:@a:x.org"]["event_id"]
    keeper.redact(room, event)
    await bridge.until(lambda: bridge.running.whomay.permissions.of(UserId("@a:x.org")) is Permission.USER)
    policies = bridge.running.whomay.policies
    bridge.homeserver.room(room).current[USER, "rule:@c:x.org"] = {
        "type": USER, "state_key": "rule:@c:x.org", "content": _ban("@c:x.org"), "sender": keeper.id, "event_id": "$c",
    }  # fmt: skip
    await policies.refresh()
    assert permissions.of(UserId("@c:x.org")) is Permission.BLOCKED
    assert permissions.of(UserId("@b:x.org")) is Permission.BLOCKED


async def test_a_list_that_cannot_be_read_keeps_its_rules(bridge: Harness) -> None:
    """Neither an outage nor a bot that was thrown out of the list lets anybody in."""
    keeper, room = await _list(bridge, (USER, "@a:x.org"))
    bridge.homeserver.faults.answer(502, times=3, match="/state")
    await bridge.running.whomay.policies.refresh()
    bridge.homeserver.faults.clear()
    keeper.ban(room, bridge.homeserver.bot)
    await bridge.running.whomay.policies.refresh()
    assert bridge.running.whomay.permissions.of(UserId("@a:x.org")) is Permission.BLOCKED


async def test_named_rooms_are_not_bridged(bridge: Harness, script: Script) -> None:
    """Nothing crosses from or to a room that a list names by its id or by its alias."""
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    await _list(bridge, (ROOM, lobby), (ROOM, "#_net_gard*:hs.test"))
    for room in (lobby, garden):
        bridge.alice.send(room, "out")
    await receive(bridge, script, say("in"), say("in", chat="garden"))
    assert script.sent == []
    assert said(bridge, lobby, "bob") == said(bridge, garden, "bob") == []
    assert any("this room is on a moderation list" in text for text in notices(bridge, lobby))


async def test_lists_by_command(bridge: Harness) -> None:
    """An admin subscribes by alias or id, sees what is followed, and ends it; everybody is let in again."""
    keeper = bridge.homeserver.user("keeper")
    room = keeper.create_room(preset="public_chat", room_alias_name="coc")
    keeper.set_state(
        room, "org.matrix.mjolnir.rule.user", _ban("@a:x.org", recommendation="org.matrix.mjolnir.ban"), "a"
    )
    admin = bridge.homeserver.user("admin")
    own = admin.create_room(invite=[bridge.homeserver.bot])
    await bridge.settled()
    admin.send(own, "policy subscribe #coc:hs.test")
    await bridge.until(lambda: any(f"{room} is followed: 1 rules" in text for text in notices(bridge, own)))
    permissions = bridge.running.whomay.permissions
    assert permissions.of(UserId("@a:x.org")) is Permission.BLOCKED
    admin.send(own, "policy list")
    await bridge.until(lambda: any(f"{room}: 1 rules, by {admin.id}" in text for text in notices(bridge, own)))
    admin.send(own, f"policy unsubscribe {room}")
    await bridge.until(lambda: any("followed no more" in text for text in notices(bridge, own)))
    assert permissions.of(UserId("@a:x.org")) is Permission.USER
    keeper.set_state(room, USER, _ban("@b:x.org"), "b")
    await bridge.settled()
    assert permissions.of(UserId("@b:x.org")) is Permission.USER


@pytest.mark.parametrize("event_type", sorted(RULE_TYPES))
def test_all_names_of_rules_are_read(event_type: str) -> None:
    """The specified types and those from before, with their recommendation."""
    rule = rule_of(event_type, _ban("@a:b", recommendation="org.matrix.mjolnir.ban"))
    assert rule is not None and event_type.endswith(rule.kind.value)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"entity": "@a:b"},
        {"entity": "@a:b", "recommendation": "m.allow"},
        {"entity": ["@a:b"], "recommendation": "m.ban"},
        {"entity": "", "recommendation": "m.ban"},
        {"entity": "x" * 256, "recommendation": "m.ban"},
        {"entity": "@a" + "*a" * 9 + ":b", "recommendation": "m.ban"},
        {"entity": "@a:b", "recommendation": ["m.ban"]},
    ],
)
def test_what_is_no_rule_bans_nobody(content: dict[str, Any]) -> None:
    """Rules taken back, other recommendations, and entities that are no names."""
    assert rule_of(USER, content) is None


def test_a_rule_is_replaced_by_its_state_key() -> None:
    """A newer rule under the same key ends the older one; two rules on one entity end one by one."""
    book = RuleBook()
    one, two = Rule(RuleKind.USER, "@a:b"), Rule(RuleKind.USER, "@A:*")
    assert book.put(("t", "1"), one) and book.put(("t", "2"), one) and book.put(("t", "3"), two)
    assert book.against("@a:b") == one
    book.put(("t", "1"), Rule(RuleKind.SERVER, "c"))
    book.put(("t", "2"), None)
    assert book.against("@a:b") == two and book.against("@z:c") is not None
    book.put(("t", "3"), None)
    assert book.against("@a:b") is None


def test_a_rule_that_asks_for_nothing_is_too_broad() -> None:
    """Rules against everybody, our own server, a network or an admin are found; narrow ones are not."""
    protected = (UserId("@bot:hs.test"), UserId("@chief:far.org"))
    broad = TooBroad("hs.test:8448", protected, lambda name: [UserId(f"@_n_{name}:hs")])
    users = "* @* @*:* @?*:* *:* @*a*:* @*:hs.test* @_n_*:hs @bot:hs.test @ch*:far.org"
    ignored = {
        RuleKind.USER: users.split(),
        RuleKind.SERVER: ["*", "*.*", "?*", "hs.test", "HS.test", "*.test:*", "far.org", "*.org", "*a*"],
        RuleKind.ROOM: ["*", "!*", "#*:*", "!*:*", "#*"],
    }
    followed = {
        RuleKind.USER: ["@a:b.org", "@*spam*:*", "@*:evil.net", "@*:*.evil.net", "@_n_bob:hs", "@abc*:*"],
        RuleKind.SERVER: ["evil.net", "*.net", "evil.*", "hs.test.evil.net"],
        RuleKind.ROOM: ["!a:b.org", "#*:evil.net", "!abc"],
    }
    assert [(kind, one) for kind in RuleKind for one in ignored[kind] if not broad.whom(Rule(kind, one))] == []
    assert [(kind, one) for kind in RuleKind for one in followed[kind] if broad.whom(Rule(kind, one))] == []


async def test_a_list_that_is_left_while_it_is_read_is_left(bridge: Harness) -> None:
    """Who was named by a list that nobody follows any more is let in, whatever was under way."""
    _, room = await _list(bridge, (USER, "@alice:hs.test"))
    policies = bridge.running.whomay.policies
    async with policies._lock(room):
        leaving = asyncio.create_task(policies.unsubscribe(room, ADMIN))
        await asyncio.sleep(0)
        reading = asyncio.create_task(policies.reread(room))
        await asyncio.sleep(0)
    await asyncio.gather(leaving, reading)
    assert (policies.rules(), policies.denies(UserId("@alice:hs.test"))) == (0, "")
