"""Rooms and memberships while the homeserver fails."""

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import RoomSpec
from bridge_core.matrix.power import full_levels, merged_levels
from bridge_core.testing.homeserver import FakeProfile
from tests.unit.matrix.doubles import GHOST, fake_with_side

PROFILES = pytest.mark.parametrize("profile", [FakeProfile(), FakeProfile.basic()], ids=["v12", "v10"])


@PROFILES
async def test_a_creation_whose_answer_is_lost_makes_one_room(profile: FakeProfile) -> None:
    """The alias leads to the room that was made."""
    async with fake_with_side(profile) as (fake, side):
        fake.faults.lose_answer(match="createRoom")
        spec = RoomSpec("_irc_chan", "Chan", power_levels={"users": {GHOST: 20}})
        with pytest.raises(TransientError):
            await side.ensure_room(spec)
        room = await side.ensure_room(spec)
        assert fake.rooms() == [room]
        assert fake.room(room).power(fake.bot) >= 100
        assert fake.room(room).power(GHOST) == 20


async def test_a_room_that_is_as_wished_gets_no_events() -> None:
    """Asking for it again changes nothing."""
    async with fake_with_side() as (fake, side):
        spec = RoomSpec("_irc_chan", "Chan", topic="t", state=(("dev.x", "k", {"a": 1}),), public=True)
        room = await side.ensure_room(spec)
        before = len(fake.room(room).timeline)
        await side.ensure_room(spec)
        assert len(fake.room(room).timeline) == before


async def test_an_invite_that_is_refused_does_not_fail_the_room() -> None:
    """The room is there for the others."""
    async with fake_with_side() as (fake, side):
        human = fake.user("human")
        fake.faults.answer(403, errcode="M_FORBIDDEN", match="/invite")
        room = await side.ensure_room(RoomSpec("_a", "A", invite=(UserId("@blocks:hs.test"), UserId(human.id))))
        assert fake.room(room).membership(human.id) == "invite"


async def test_a_bot_that_was_removed_joins_its_room_again() -> None:
    """A public room the bot made and left is taken up again."""
    async with fake_with_side() as (fake, side):
        spec = RoomSpec("_a", "A", join_rule="public")
        room = await side.ensure_room(spec)
        await side.leave(room, UserId(fake.bot))
        assert await side.ensure_room(spec) == room
        assert fake.room(room).membership(fake.bot) == "join"


def test_levels_list_the_creator_only_in_old_rooms() -> None:
    """From version 12 on a creator in `users` is refused, before it a `users` without it locks it out."""
    assert full_levels({}, "@bot:x", "11")["users"] == {"@bot:x": 100}
    assert full_levels({"users": {"@bot:x": 100}}, "@bot:x", "12")["users"] == {}
    assert full_levels({"users": {"@a:x": 50}}, "@bot:x", None)["users"] == {"@a:x": 50, "@bot:x": 100}
    assert full_levels({"users": {}}, "@bot:x", "org.example.13")["users"] == {}


def test_levels_are_merged_without_losing_what_people_set() -> None:
    """A moderator that was named by hand stays one."""
    current = {"users": {"@bot:x": 100, "@mod:x": 50}, "events": {"a": 1}, "ban": 60}
    merged = merged_levels(current, {"users": {"@new:x": 10}, "events": {"b": 2}, "kick": 0}, "@bot:x", "10")
    assert merged == {
        "users": {"@bot:x": 100, "@mod:x": 50, "@new:x": 10},
        "events": {"a": 1, "b": 2},
        "ban": 60,
        "kick": 0,
    }
