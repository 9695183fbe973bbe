"""Ghosts look like their people, and nobody's message waits for that."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import TransientError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.info import UserInfo
from bridge_core.engine import looks
from tests.harness import Harness
from tests.scripted import Script

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 64, 64) + bytes(1000)
NET = NetworkId("net")
DORA = RemoteUserId("dora")
GHOST = "@_net_dora:hs.test"


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Harness]:
    """A bridge with one scripted network."""
    script = Script()
    async with Harness(tmp_path, {"net": {"type": "scripted"}}, {"scripted": script}) as harness:
        harness.script = script  # type: ignore[attr-defined]
        yield harness


def _script(bridge: Harness) -> Script:
    return bridge.script  # type: ignore[attr-defined,no-any-return]


async def _blob(bridge: Harness, data: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    host = _script(bridge).host
    assert host is not None
    return await host.blobs.put(chunks(), 1 << 20)


async def _says(bridge: Harness, number: int, avatar: str | None, name: str = "Dora", who: RemoteUserId = DORA) -> None:
    inbox = _script(bridge).inbox
    assert inbox is not None
    sender = RemoteSender(who, name, avatar=avatar)
    await inbox.receive(
        [RemoteMessage(ChatId("lobby"), sender, Content((Plain(f"m{number}"),)), MessageId(f"{number}"))]
    )
    await bridge.settled()


def _avatar(bridge: Harness) -> str | None:
    return bridge.homeserver._world.accounts[GHOST].avatar_url


async def test_a_picture_is_uploaded_once(bridge: Harness) -> None:
    """The ghost gets it, again after a restart, and another one when the source is another; none for an empty one."""
    await bridge.portal_room("net", "lobby")
    first = await _blob(bridge, PNG)
    for number in range(3):
        await _says(bridge, number, first)
    mxc = await bridge.until(lambda: _avatar(bridge))
    assert bridge.homeserver.file(mxc) == PNG
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await _says(bridge, 3, first)
    second = await _blob(bridge, PNG + b"2")
    await _says(bridge, 4, second)
    await bridge.until(lambda: _avatar(bridge) != mxc)
    assert bridge.homeserver.file(_avatar(bridge) or "") == PNG + b"2"
    assert len(bridge.homeserver.files()) == 2
    await _says(bridge, 5, "")
    await bridge.until(lambda: not _avatar(bridge))
    # Spooled pictures are needed no more.
    assert not [path for path in (bridge.folder / "spool").iterdir() if len(path.name) == 32]


@pytest.mark.parametrize("again", [DORA, RemoteUserId("bert")])
async def test_a_picture_on_its_way_is_not_uploaded_again(
    bridge: Harness, monkeypatch: pytest.MonkeyPatch, again: RemoteUserId
) -> None:
    """Who speaks while it is being uploaded, its owner or somebody with the same one, waits for that upload."""
    await bridge.portal_room("net", "lobby")
    uploads, go_on = 0, asyncio.Event()
    upload = bridge.running.matrix.upload

    async def held(*args: object, **named: object) -> str:
        nonlocal uploads
        uploads += 1
        await go_on.wait()
        return await upload(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bridge.running.matrix, "upload", held)
    blob = await _blob(bridge, PNG)
    await _says(bridge, 1, blob)
    await bridge.until(lambda: uploads == 1)
    await _says(bridge, 2, blob, who=again)
    go_on.set()
    ghost = f"@_net_{again}:hs.test"
    mxc = await bridge.until(lambda: bridge.homeserver._world.accounts[ghost].avatar_url)
    assert await bridge.until(lambda: _avatar(bridge)) == mxc
    assert uploads == 1 and len(bridge.homeserver.files()) == 1


async def test_the_newest_picture_stays(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is shown while an older one is still being uploaded is not replaced by that."""
    await bridge.portal_room("net", "lobby")
    began, go_on, upload = 0, asyncio.Event(), bridge.running.matrix.upload

    async def held(*args: object, **named: object) -> str:
        nonlocal began
        began += 1
        if began == 1:
            await go_on.wait()
        return await upload(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bridge.running.matrix, "upload", held)
    await _says(bridge, 1, await _blob(bridge, PNG))
    await bridge.until(lambda: began == 1)
    await _says(bridge, 2, await _blob(bridge, PNG + b"2"))
    go_on.set()
    await bridge.until(lambda: len(bridge.homeserver.files()) == 2 and not bridge.running.engine.ghosts._looks._working)
    assert bridge.homeserver.file(_avatar(bridge) or "") == PNG + b"2"


async def test_what_is_no_picture_is_refused_once(bridge: Harness) -> None:
    """A page, a file too large or one that is gone leaves the ghost as it was; the message crosses."""
    room = await bridge.portal_room("net", "lobby")
    await _says(bridge, 1, await _blob(bridge, b"<html>"))
    pool = bridge.running.engine.ghosts
    row = await bridge.until(lambda: (found := pool.in_memory(NET, DORA)) and found.avatar_source and found)
    assert row.avatar is None and _avatar(bridge) is None
    await _says(bridge, 2, "blob:" + "0" * 32)
    await bridge.until(lambda: (found := pool.in_memory(NET, DORA)) and found.avatar_source == "blob:" + "0" * 32)
    assert bridge.homeserver.files() == []
    assert [body for sender, body in bridge.homeserver.messages(room) if sender == GHOST] == ["m1", "m2"]


async def test_the_network_is_asked_about_new_people(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who never said what they look like gets the picture and the name that the network knows."""
    blob = await _blob(bridge, PNG)
    main = bridge.running.networks.get(NET).main  # type: ignore[union-attr]

    async def known(user: RemoteUserId) -> UserInfo:
        return UserInfo(name="Dora of the Net", avatar=blob)

    monkeypatch.setattr(main, "user_info", known)
    await bridge.portal_room("net", "lobby")
    inbox = _script(bridge).inbox
    assert inbox is not None
    await inbox.receive([RemoteMessage(ChatId("lobby"), RemoteSender(DORA), Content((Plain("hi"),)), MessageId("1"))])
    await bridge.until(lambda: GHOST in bridge.homeserver._world.accounts and _avatar(bridge))
    assert bridge.homeserver._world.accounts[GHOST].displayname == "Dora of the Net"


async def test_a_profile_that_drifted_is_repaired(bridge: Harness) -> None:
    """Name and picture that somebody changed on the homeserver come back after a restart."""
    await bridge.portal_room("net", "lobby")
    await _says(bridge, 1, await _blob(bridge, PNG))
    mxc = await bridge.until(lambda: _avatar(bridge))
    await bridge.until(lambda: bridge.running.engine.ghosts.in_memory(NET, DORA).avatar == mxc)  # type: ignore[union-attr]
    await bridge.stop_bridge()
    account = bridge.homeserver._world.accounts[GHOST]
    account.displayname, account.avatar_url = "Somebody", None
    await bridge.start_bridge()
    await _says(bridge, 2, None)
    await bridge.until(lambda: (account.displayname, account.avatar_url) == ("Dora", mxc))


async def test_a_failure_of_the_moment_is_tried_again(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with each message, but in a while."""
    await bridge.portal_room("net", "lobby")
    tried = 0
    upload = bridge.running.matrix.upload

    async def away(*args: object, **named: object) -> str:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise TransientError("away")
        return await upload(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bridge.running.matrix, "upload", away)
    blob = await _blob(bridge, PNG)
    await _says(bridge, 1, blob)
    await bridge.until(lambda: tried == 1)
    await _says(bridge, 2, blob)
    await _says(bridge, 3, blob)
    assert tried == 1
    monkeypatch.setattr(bridge.running.engine.ghosts._looks._clock, "monotonic", lambda: 1e12)
    await _says(bridge, 4, blob)
    await bridge.until(lambda: _avatar(bridge))
    assert tried == 2


async def test_only_so_many_wait(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are put off and counted."""
    monkeypatch.setattr(looks, "_WAITING", 0)
    await bridge.portal_room("net", "lobby")
    await _says(bridge, 1, await _blob(bridge, PNG))
    assert bridge.running.metrics.snapshot()["profiles_put_off"][()] == 1
    assert _avatar(bridge) is None
