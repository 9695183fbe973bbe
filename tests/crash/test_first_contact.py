"""SIGKILL while rooms and ghosts are first made: in the end there is one of each, and one of each message."""

from pathlib import Path

import pytest

from bridge_core.demo.matrix_client import MatrixError
from tests.crash.site import Site
from tests.crash.stage import Stage
from tests.crash.staged import LOGIN, sender

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

INVITING = [
    "room.before_create",
    "room.after_create",
    "ghost.after_register",
    "ghost.before_join",
    "ghost.after_join",
    "route.after_commit",
    "matrix.before_send",
    "matrix.after_send",
]


@pytest.mark.parametrize("point", INVITING)
async def test_a_private_chat_is_made_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed at each step of a private chat that begins on the network: one room, one invitation, each message once."""
    async with Stage(await shared_site.repaired(), tmp_path, login=True) as stage:
        chat = f"dm{stage.channel}"
        await stage.start(kill_at=f"{point}:1")
        stage.says("hello", sender("bob"), chat=chat, receiver=LOGIN)
        stage.says("are you there", sender("bob"), chat=chat, receiver=LOGIN)
        await stage.killed_and_back()

        async def invited() -> str | None:
            await stage.alice.sync()
            mine = [
                room
                for room, state in stage.alice.invites.items()
                if any(one["type"] == "m.room.name" and one["content"]["name"] == chat for one in state)
            ]
            assert len(mine) < 2
            return mine[0] if mine else None

        room = await stage.until(invited, "an invitation")
        await stage.alice.join(room)
        await stage.seen("are you there", room)
        await stage.alice.send_text(room, "yes")
        await stage.until(lambda: _heard(stage, ["yes"]), "the answer on the network")
        assert await stage.bodies(room) == ["hello", "are you there"]
        assert [made["room_id"] for made in await stage.rooms(chat)] == [room]
        assert len(await stage.joins(stage.ghost("bob"), room)) == 1
        invitations = [
            event
            for event in await stage.events(room)
            if event.get("state_key") == stage.alice.user_id and event["content"].get("membership") == "invite"
        ]
        assert len(invitations) <= 1  # the first one belongs to the room's making, which alice may not see
        await stage.at_rest()


async def _heard(stage: Stage, texts: list[str]) -> bool:
    heard = [one.get("text") for one in stage.tape.heard()]
    assert heard == texts[: len(heard)]
    return heard == texts


@pytest.mark.parametrize("point", ["room.before_create", "room.after_create", "append.after_commit"])
async def test_a_shared_chat_has_one_room(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while the room of a chat is made for whoever joins its alias and for what is said there at that moment."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start(kill_at=f"{point}:1")
        stage.says("first", sender("carol"))
        with pytest.raises(MatrixError, match=r"40[34]"):
            for _ in range(100):
                await stage.enter()
                if not stage.child.running:
                    raise MatrixError(404, "", "404: killed after it was joined")
        stage.room = ""
        await stage.killed_and_back()
        await stage.enter_when_made()
        stage.says("second", sender("carol"))
        await stage.seen("second")
        assert [made["room_id"] for made in await stage.rooms(stage.channel)] == [stage.room]
        assert len(await stage.joins(stage.ghost("carol"))) == 1
        # Whether alice had come when the first was said decides if she may see it.
        assert [body for body in await stage.bodies() if body != "first"] == ["second"]
        await stage.at_rest()
