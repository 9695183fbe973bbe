"""SIGKILL while files are on their way between a network and a real Synapse: one upload of each, each shown once."""

from pathlib import Path

import pytest

from bridge_core.api.content import Attachment, MediaKind
from tests.crash.media_child import PICTURE as PNG
from tests.crash.site import Site
from tests.crash.stage import BOT, Stage
from tests.crash.staged import sender

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize(
    "point",
    [
        "media.before_upload",
        "address.before_commit",  # its address is reserved, and nobody knows it
        "address.after_commit",
        "address.before_commit:2",  # its bytes are there, and nobody knows it
        "media.after_upload",
        "route.after_commit",
        "matrix.after_send",
    ],
)
async def test_a_file_of_the_network_is_uploaded_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed at each step of an upload: the ghost has one file with all its bytes, and one message shows it."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        data = PNG + stage.channel.encode() * 20_000
        painter = f"painter{stage.channel}"
        await stage.start(kill_at=point)
        source = stage.tape.upload("cat.png", data)
        stage.says("", sender(painter), attachments=(Attachment(MediaKind.IMAGE, "cat.png", source, size=len(data)),))
        stage.says("my cat", sender(painter))
        await stage.killed_and_back()
        await stage.seen("my cat")
        assert await stage.bodies() == ["cat.png", "my cat"]
        (file,) = await stage.uploads(stage.ghost(painter))
        shown = (await stage.seen("cat.png"))["content"]["url"]
        assert shown == f"mxc://hs.test/{file['media_id']}"
        assert await stage.alice.download(shown) == data
        await stage.at_rest()


@pytest.mark.parametrize("point", ["append.after_commit", "network.before_send", "network.after_send"])
async def test_a_file_of_matrix_arrives_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed before and after a file is handed over: a network that knows a repeated send has it once, and whole."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        data = stage.channel.encode() * 30_000
        mxc = await stage.alice.upload(data, "image/png", "dog.png")
        await stage.start(kill_at=f"{point}:1")
        picture = {"msgtype": "m.image", "body": "dog.png", "url": mxc, "info": {"mimetype": "image/png"}}
        await stage.alice.send(stage.room, picture)
        await stage.alice.send_text(stage.room, "my dog")
        await stage.killed_and_back()
        await stage.until(lambda: _heard(stage, 2), "both on the network")
        told = stage.tape.heard()
        assert [one["text"] for one in told] == ["", "my dog"]
        assert [one["files"] for one in told] == [[data.hex()], []]
        await stage.at_rest()


async def _heard(stage: Stage, count: int) -> bool:
    return len(stage.tape.heard()) >= count


@pytest.mark.parametrize(
    "point",
    ["media.before_upload", "address.before_commit:2", "media.after_upload", "looks.before_set", "looks.after_set"],
)
async def test_a_picture_of_a_person_is_uploaded_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed at each step: the ghost has the person's picture after they spoke again, and the bot uploaded it once."""
    async with Stage(await shared_site.repaired(), tmp_path) as stage:
        await stage.start()
        await stage.enter()
        await stage.stop()
        before = len(await stage.uploads(BOT))
        avatar = stage.tape.upload("face.png", PNG + stage.channel.encode())
        await stage.start(kill_at=point)
        who = sender(f"model{stage.channel}", avatar=avatar)
        stage.says("look", who)
        await stage.wait_killed()
        stage.says("at me", who)
        await stage.start()
        await stage.seen("at me")

        async def dressed() -> str | None:
            profile = await stage.alice.request("GET", f"/v3/profile/{stage.ghost(who.id)}")
            return profile.get("avatar_url")

        mxc = await stage.until(dressed, "the ghost's picture")
        assert await stage.alice.download(mxc) == PNG + stage.channel.encode()
        assert await stage.bodies() == ["look", "at me"]
        assert len(await stage.uploads(BOT)) - before == 1
        await stage.at_rest()
