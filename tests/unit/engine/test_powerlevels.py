"""What a room's power levels are to become."""

from typing import Any

import orjson
import pytest

from bridge_core.engine.powerlevels import MAX_BYTES, NoPowerError, PowerWish, Reconciled, RoomPower, reconciled

BOT = "@bot:hs"
LEVELS: dict[str, Any] = {
    "users": {BOT: 100, "@admin:hs": 100, "@mod:hs": 50, "@_net_op:hs": 50},
    "users_default": 0,
    "events": {"m.room.power_levels": 100, "m.room.topic": 10},
    "state_default": 50,
    "notifications": {"room": 20},
}


def after(wish: PowerWish, levels: dict[str, Any] | None = LEVELS, *, endless: tuple[str, ...] = ()) -> Reconciled:
    """The result, with a cap of 50."""
    room = RoomPower(levels, frozenset(endless))
    return reconciled(room, wish, BOT, 50, lambda user: user.startswith("@_net_"))


def users(result: Reconciled) -> dict[str, int]:
    """The entries to be set."""
    assert result.content is not None
    found: dict[str, int] = result.content["users"]
    return found


def test_people_get_what_they_have_and_no_more_than_the_cap() -> None:
    """Levels up to the cap are given as they are, higher ones as the cap; everything else of the event stays."""
    result = after(PowerWish({"@_net_a:hs": 25, "@_net_b:hs": 100}))
    assert users(result) == {**LEVELS["users"], "@_net_a:hs": 25, "@_net_b:hs": 50}
    assert {k: v for k, v in (result.content or {}).items() if k != "users"} == {
        k: v for k, v in LEVELS.items() if k != "users"
    }


def test_nothing_is_sent_when_it_is_so_already() -> None:
    """A wish that is fulfilled makes no event."""
    assert after(PowerWish({"@_net_op:hs": 50, "@_net_c:hs": 0})).content is None


def test_a_complete_list_takes_power_from_everybody_else_of_the_network() -> None:
    """Who is not on the list loses what the bridge gave them; people of Matrix and of other networks keep theirs."""
    levels = {**LEVELS, "users": {**LEVELS["users"], "@_other_x:hs": 50, "@given:hs": 25}}
    result = after(PowerWish({}, complete=True, given={"@given:hs": 25}), levels)
    left = {user: level for user, level in levels["users"].items() if user not in ("@_net_op:hs", "@given:hs")}
    assert users(result) == left
    assert result.given == {}


@pytest.mark.parametrize("level", [0, 25, 50, 100])
def test_admins_are_never_touched(level: int) -> None:
    """Nobody at or above the bridge, and nobody above the cap, is changed by what a network says."""
    levels = {**LEVELS, "users": {**LEVELS["users"], "@above:hs": 60}}
    assert after(PowerWish({"@admin:hs": level, "@above:hs": level, BOT: level}), levels).content is None


def test_a_matrix_user_loses_only_what_the_bridge_gave() -> None:
    """A level that somebody on Matrix gave stays; one that the bridge gave is taken again, once it is as given."""
    assert after(PowerWish({"@mod:hs": 0})).content is None
    raised = after(PowerWish({"@user:hs": 25}))
    assert users(raised)["@user:hs"] == 25
    assert raised.given == {"@user:hs": 25}
    lowered = after(PowerWish({"@user:hs": 0}, given=raised.given), raised.content)
    assert users(lowered) == LEVELS["users"]
    assert lowered.given == {}
    moved = {**LEVELS, "users": {**LEVELS["users"], "@user:hs": 40}}
    assert after(PowerWish({"@user:hs": 0}, given=raised.given), moved).content is None


def test_creators_are_not_listed() -> None:
    """In rooms whose creators have endless power they get no entry, and the bridge may set levels without one."""
    levels = {**LEVELS, "users": {"@admin:hs": 100}}
    result = after(PowerWish({"@_net_a:hs": 50, BOT: 50, "@founder:hs": 50}), levels, endless=(BOT, "@founder:hs"))
    assert users(result) == {"@admin:hs": 100, "@_net_a:hs": 50}


@pytest.mark.parametrize(
    "levels",
    [None, {**LEVELS, "users": {BOT: 50}}, {**LEVELS, "users": "all"}, {**LEVELS, "users": {}}],
    ids=["none", "too little", "unreadable", "no entry"],
)
def test_without_power_nothing_is_changed(levels: dict[str, Any] | None) -> None:
    """Where the bridge may not, or cannot know, it does not try."""
    with pytest.raises(NoPowerError):
        after(PowerWish({"@_net_a:hs": 50}), levels)


def test_nobody_is_raised_above_the_bridge() -> None:
    """A bridge with less than the cap gives at most what it has."""
    levels = {**LEVELS, "events": {"m.room.power_levels": 30}, "users": {BOT: 30, "@_net_high:hs": 40}}
    assert users(after(PowerWish({"@_net_a:hs": 50, "@_net_high:hs": 0}), levels)) == {
        BOT: 30,
        "@_net_high:hs": 40,
        "@_net_a:hs": 30,
    }


def test_an_event_too_large_is_refused_but_power_is_taken() -> None:
    """A list that does not fit gives nobody anything; who lost their power loses it all the same."""
    many = {f"@_net_{number:05}{'x' * 40}:hs": 50 for number in range(1000)}
    result = after(PowerWish({**many, "@_net_op:hs": 0}))
    assert result.too_large
    assert users(result) == {user: level for user, level in LEVELS["users"].items() if user != "@_net_op:hs"}
    assert len(orjson.dumps(result.content)) < MAX_BYTES
    assert after(PowerWish(many)).content is None


def test_numbers_as_text_are_understood() -> None:
    """Old rooms have levels as text."""
    levels = {**LEVELS, "users": {BOT: "100", "@_net_a:hs": "50"}, "users_default": "0"}
    assert users(after(PowerWish({"@_net_a:hs": 0}), levels)) == {BOT: "100"}
