"""SIGKILL at the steps of everything else the bridge does on Matrix for a network: each is done, once, in order."""

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bridge_core.api.events import MemberPower, Membership, RemoteInfo, RemoteMember, RemotePower
from bridge_core.api.ids import ChatId
from bridge_core.demo.matrix_client import MatrixError
from registration.namespaces import Template
from tests.crash.site import PUPPET_TOKEN, Site
from tests.crash.stage import BOT, Event, Stage
from tests.crash.staged import sender

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

ACT = ["route.after_commit", "act.{}.before", "act.{}.after", "settle.before_commit"]


def _memberships(events: list[Event], user: str) -> list[str]:
    return [
        event["content"]["membership"]
        for event in events
        if event["type"] == "m.room.member" and event.get("state_key") == user
    ]


@pytest.mark.parametrize("point", ACT)
@pytest.mark.parametrize("act", ["kick", "ban"])
async def test_who_is_thrown_out_is_out_once(shared_site: Site, tmp_path: Path, act: str, point: str) -> None:
    """Killed around a kick or ban of the network: it is one event, between what was said before it and after."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        stage.says("I say what I want", sender("eve"))
        await stage.seen("I say what I want")
        await stage.at_rest()
        await stage.start(kill_at=f"{point.format(act)}:1")
        stage.tape.happens(RemoteMember(ChatId(stage.channel), sender("eve"), Membership(act), sender("op"), "rude"))
        stage.says("that is better", sender("op"))
        await stage.killed_and_back()
        after = await stage.seen("that is better")
        events = await stage.events()
        eve = _memberships(events, stage.ghost("eve"))
        assert eve[-1] == ("ban" if act == "ban" else "leave")
        assert sum(one in ("ban", "leave") for one in eve) == 1
        out = [event for event in events if event.get("state_key") == stage.ghost("eve")][-1]
        assert events.index(out) < [event["event_id"] for event in events].index(after["event_id"])
        assert await stage.bodies() == ["I say what I want", "that is better"]
        await stage.at_rest()


@pytest.mark.parametrize("point", [*ACT, "matrix.after_send"])
async def test_a_new_name_and_topic_are_set(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while the room gets the chat's new description: it has it in the end, in one event of each kind."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        await stage.start(kill_at=f"{point.format('room_state')}:1")
        stage.tape.happens(RemoteInfo(ChatId(stage.channel), sender("op"), name="New", topic="Newer"))
        stage.says("done", sender("op"))
        await stage.killed_and_back()
        await stage.seen("done")
        events = await stage.events()
        assert [e["content"]["topic"] for e in events if e["type"] == "m.room.topic"] == ["Newer"]
        assert [e["content"]["name"] for e in events if e["type"] == "m.room.name"][-1] == "New"
        await stage.at_rest()


@pytest.mark.parametrize("point", ["append.after_commit", "power.before_set", "power.after_set"])
async def test_powers_are_exactly_the_wish(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while two changes of power wait: the room has what the network said last, under the cap."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        await stage.at_rest()
        before = await stage.alice.get_state(stage.room, "m.room.power_levels")
        assert before is not None
        await stage.start(kill_at=f"{point}:1")
        first = (MemberPower(sender("op"), 100), MemberPower(sender("half"), 25))
        stage.tape.happens(RemotePower(ChatId(stage.channel), first))
        stage.tape.happens(RemotePower(ChatId(stage.channel), (MemberPower(sender("half"), 0),)))
        await stage.killed_and_back()
        wished = {**before["users"], stage.ghost("op"): 50}

        async def set_() -> bool:
            levels = await stage.alice.get_state(stage.room, "m.room.power_levels")
            assert levels is not None
            return {user: level for user, level in levels["users"].items() if level} == {
                user: level for user, level in wished.items() if level
            }

        await stage.until(set_, f"{wished}")
        await stage.at_rest()
        assert await set_()


@pytest.mark.parametrize("point", ["append.after_commit", "matrix.before_send", "matrix.after_send:2"])
async def test_what_a_user_says_elsewhere_is_theirs_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while messages are sent as the Matrix user: each is there once, in order, and none goes back."""
    sections: dict[str, Any] = {"double_puppet": {"servers": {"hs.test": {"as_token": PUPPET_TOKEN}}}}
    async with Stage(await shared_site.repaired(), tmp_path, puppet=True, sections=sections) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        await stage.start(kill_at=point)
        for number in range(3):
            stage.says(f"from my phone {number}", sender("me", me=True))
        await stage.killed_and_back()
        await stage.seen("from my phone 2")
        await stage.alice.send_text(stage.room, "from Matrix")

        async def crossed() -> bool:
            return any(one["text"] == "from Matrix" for one in stage.tape.heard())

        await stage.until(crossed, "what alice said, on the network")
        said = [event for event in await stage.events() if event["type"] == "m.room.message"]
        assert [(e["sender"], e["content"]["body"]) for e in said] == [
            *((stage.alice.user_id, f"from my phone {number}") for number in range(3)),
            (stage.alice.user_id, "from Matrix"),
        ]
        assert [one["text"] for one in stage.tape.heard()] == ["from Matrix"]
        await stage.at_rest()


@pytest.mark.parametrize(
    "point", ["settle.before_commit", "settle.after_commit", "expiry.before", "expiry.after", "expiry.after:2"]
)
async def test_what_disappears_is_gone_after_a_kill(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed before and after a message is taken back: both sides' messages are gone, each by one redaction."""
    # Longer than a kill and a start take on a loaded machine: what is over before it is shown is never shown.
    async with Stage(await shared_site.repaired(), tmp_path, timer=8000) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        await stage.start(kill_at=f"{point}" if ":" in point else f"{point}:1")
        stage.says("burn this", sender("spy"))
        mine = await stage.alice.send_text(stage.room, "burnt")
        await stage.killed_and_back()

        async def gone() -> bool:
            said = [event for event in await stage.events() if event["type"] == "m.room.message"]
            return len(said) == 2 and not any(event["content"] for event in said)

        await stage.until(gone, "both are taken back")
        events = await stage.events()
        said = [event for event in events if event["type"] == "m.room.message"]
        (theirs,) = [event["event_id"] for event in said if event["sender"] == stage.ghost("spy")]
        taken = [event.get("redacts") or event["content"]["redacts"] for event in events if _redaction(event)]
        assert sorted(taken) == sorted([mine, theirs])
        await stage.at_rest()


def _redaction(event: Event) -> bool:
    return event["type"] == "m.room.redaction"


@pytest.mark.parametrize("point", ["upgrade.before_move", "upgrade.before_portals", "upgrade.after_portals"])
async def test_an_upgrade_half_way_is_finished(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while the chat goes on in another room: it is there, with its alias, and what was said, once."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        old = stage.room
        stage.says("in the old room", sender("hob"))
        await stage.seen("in the old room")
        await stage.stop()
        await _crown(stage, stage.alice.user_id)
        await stage.start(kill_at=f"{point}:1")
        answer = await stage.alice.request("POST", f"/v3/rooms/{old}/upgrade", {"new_version": "11"})
        new = answer["replacement_room"]
        await stage.wait_killed()
        stage.says("while it moved", sender("hob"))
        await stage.start()
        await stage.seen("while it moved", new)
        await stage.alice.send_text(new, "here we are")
        await stage.until(lambda: _said(stage, "here we are"), "alice's words on the network")
        stage.room = ""
        await stage.enter_when_made()
        assert stage.room == new
        assert await stage.bodies() == ["while it moved"]
        assert await stage.bodies(old) == ["in the old room"]
        assert [one["text"] for one in stage.tape.heard()] == ["here we are"]

        async def left() -> bool:
            return stage.ghost("hob") not in await stage.alice.members(old)

        await stage.until(left, "the ghost has left the old room")
        await stage.at_rest()


async def _said(stage: Stage, text: str) -> bool:
    return text in [one.get("text") for one in stage.tape.heard()]


async def _crown(stage: Stage, user: str) -> None:
    """Somebody gets all power in the room, from an admin of the homeserver."""
    path = f"/_synapse/admin/v1/rooms/{stage.room}/make_room_admin"
    await stage.root.request("POST", path, {"user_id": user})


@pytest.mark.parametrize("point", ["space.before_create", "space.after_create", "space.after_child"])
async def test_a_space_is_made_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while the network's space is made and filled: there is one, with the chat's room in it."""
    async with Stage(await shared_site.repaired(), tmp_path, space="network") as stage:
        alias = f"#{Template('_{network}_{id}').localpart('stage', chr(31) + 'space', 'hs.test')}:hs.test"
        before = {one["room_id"] for one in await stage.rooms("Stage")}
        if before:  # that of another bridge, which is gone
            await stage.bot("DELETE", f"/v3/directory/room/{quote(alias, safe='')}")
        await stage.start(kill_at=f"{point}:1")
        with contextlib.suppress(MatrixError):
            await stage.enter()
        await stage.killed_and_back()
        await stage.enter_when_made()
        space = await stage.until(lambda: _entered(stage, alias), "the space")

        async def inside() -> bool:
            child = await stage.alice.get_state(space, "m.space.child", stage.room)
            parent = await stage.alice.get_state(stage.room, "m.space.parent", space)
            return bool(child and parent)

        await stage.until(inside, "the room is in the space")
        assert {one["room_id"] for one in await stage.rooms("Stage")} - before == {space}
        await stage.at_rest()


async def _entered(stage: Stage, alias: str) -> str:
    """The room, once it may be joined; empty until then."""
    try:
        return await stage.alice.join(alias)
    except MatrixError as error:
        assert error.status in (403, 404)
        return ""


@pytest.mark.parametrize(
    "point", ["network.before_send", "network.after_send", "matrix.before_send:2", "matrix.after_send:2"]
)
async def test_a_late_success_is_told_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while a dead letter is delivered after all: it arrives once, and the notice is corrected once."""
    sections: dict[str, Any] = {"journal": {"retry_window": "1s"}, "permissions": {"@alice:hs.test": "admin"}}
    async with Stage(await shared_site.repaired(), tmp_path, sections=sections) as stage:
        await stage.start()
        await stage.enter()
        stage.tape.refuses.touch()
        await stage.alice.send_text(stage.room, "lost and found")

        async def told() -> Event | None:
            mine = [event for event in await stage.events() if event["sender"] == BOT and "body" in event["content"]]
            return mine[0] if mine else None

        notice = await stage.until(told, "the notice")
        assert "was not delivered to stage" in notice["content"]["body"]
        desk = await stage.alice.create_room(preset="private_chat", invite=[BOT])
        await stage.until(lambda: _joined(stage, desk), "the bot in the management room")
        await stage.stop()
        stage.tape.refuses.unlink()
        await stage.start(kill_at=point)
        await stage.alice.send_text(desk, "journal replay all")
        await stage.killed_and_back()
        await stage.until(lambda: _said(stage, "lost and found"), "the message on the network")

        async def corrected() -> bool:
            return any("after all" in event["content"].get("body", "") for event in await stage.events())

        await stage.until(corrected, "the correction")
        await stage.at_rest()
        said = [e["content"] for e in await stage.events() if e["sender"] == BOT and e["type"] == "m.room.message"]
        assert len(said) == 2
        assert said[1]["m.relates_to"] == {"rel_type": "m.replace", "event_id": notice["event_id"]}
        assert [one["text"] for one in stage.tape.heard()] == ["lost and found"]


async def _joined(stage: Stage, room: str) -> bool:
    return BOT in await stage.alice.members(room)


@pytest.mark.parametrize("point", ["backfill.before_page", "backfill.after_page:2", "matrix.after_send:3"])
async def test_the_past_comes_before_what_is_said_meanwhile(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while history is fetched and people go on talking: each message once, in the order it was said."""
    async with Stage(await shared_site.repaired(), tmp_path, keeps=True, backfill={"rate": 1000}) as stage:
        await stage.start()
        await stage.enter()
        texts = [f"said {number}" for number in range(16)]
        stage.says(texts[0], sender("old"))
        await stage.seen(texts[0])
        await stage.stop()
        for number in range(1, 11):
            stage.says(texts[number], sender(f"old{number % 2}"))
        await stage.start(kill_at=point if ":" in point else f"{point}:1")
        for number in range(11, 13):
            stage.says(texts[number], sender("young"))
        await stage.killed_and_back()
        for number in range(13, 16):
            stage.says(texts[number], sender("young"))
        await stage.seen(texts[15])
        assert await stage.bodies() == texts
        await stage.at_rest()
