"""SIGKILL while memberships and powers are brought about beside the messages."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from bridge_core.demo.matrix_client import MatrixError
from tests.crash.rig import Rig
from tests.crash.site import Site

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]


def _ghost(rig: Rig) -> str:
    assert rig.irc is not None
    return f"@_irc_{rig.irc.nick}:hs.test"


async def _talks(rig: Rig) -> None:
    """What is said crosses, once, and the books balance."""
    load = rig.load("members")
    await load.matrix.say()
    await rig.finish(load)


@pytest.mark.parametrize("point", ["members.before", "members.after"])
async def test_who_was_to_join_joins_after_a_kill(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while it brings somebody in who has said nothing, the bridge has them in the room in the end, once."""
    async with Rig(await shared_site.repaired(), tmp_path, server="ngircd", members="eager") as rig:
        await rig.start(kill_at=f"{point}:1")
        with contextlib.suppress(MatrixError):
            await rig.enter()
        await rig.wait_killed()
        await rig.start()
        await rig.enter_when_made()
        async with asyncio.timeout(60):
            while _ghost(rig) not in await rig.alice.members(rig.room):
                await asyncio.sleep(0.05)
        await _talks(rig)
        events = await rig.alice.messages(rig.room)
        joins = [e for e in events if e.get("state_key") == _ghost(rig) and e["content"].get("membership") == "join"]
        assert len(joins) == 1


@pytest.mark.parametrize("point", ["power.before_set", "power.after_set"])
async def test_powers_are_set_after_a_kill(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while it gives an operator of the channel their power, the bridge has given it in the end, once."""
    async with Rig(await shared_site.repaired(), tmp_path, server="ngircd") as rig:
        await rig.start()
        await rig.enter()
        await rig.stop()
        before = await rig.alice.get_state(rig.room, "m.room.power_levels")
        assert before is not None and _ghost(rig) not in before["users"]
        await rig.start(kill_at=f"{point}:1")
        await rig.wait_killed()
        await rig.start()
        async with asyncio.timeout(60):
            while (levels := await rig.alice.get_state(rig.room, "m.room.power_levels") or {})["users"].get(
                _ghost(rig)
            ) != 50:
                await asyncio.sleep(0.05)
        assert levels["users"] == {**before["users"], _ghost(rig): 50}
        await _talks(rig)
