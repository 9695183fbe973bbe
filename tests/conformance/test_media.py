"""Files and pictures: the same on a real Synapse and on FakeHomeserver."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.engine.encrypted_files import EncryptingStream
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import SERVER

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOMESERVERS = ("fake", "basic", "synapse")

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 64, 48) + bytes(1000)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def _spooled(at: Bridged, data: bytes) -> str:
    assert at.script.host is not None
    return await at.script.host.blobs.put(pieces(data), 1 << 20)


async def _says(at: Bridged, chat: str, sender: RemoteSender, content: Content, number: str) -> None:
    assert at.script.inbox is not None
    await at.script.inbox.receive([RemoteMessage(ChatId(chat), sender, content, MessageId(number))])


async def test_a_person_has_their_picture(at: Bridged) -> None:
    """A ghost wears the picture of its person, changes it with them, and takes it off."""
    chat = at.chat()
    room = await at.enter("net", chat)
    ghost = f"@_net_eve:{SERVER}"

    async def wears(number: str, avatar: str, before: str) -> str:
        sender = RemoteSender(RemoteUserId("eve"), "Eve", avatar=avatar)
        await _says(at, chat, sender, Content((Plain(number),)), number)
        async with asyncio.timeout(60):
            while (worn := await _worn(at, ghost)) == before:
                await asyncio.sleep(0.03)
        await at.human.sees(
            room, lambda e: e.get("state_key") == ghost and (e["content"].get("avatar_url") or "") == worn
        )
        return worn

    first = await wears("first", await _spooled(at, PNG), "")
    assert await at.human.download(first) == PNG
    second = await wears("second", await _spooled(at, PNG + b"2"), first)
    assert await at.human.download(second) == PNG + b"2"
    assert await wears("third", "", second) == ""


async def _worn(at: Bridged, ghost: str) -> str:
    return str((await at.human.call("GET", f"profile/{ghost}")).get("avatar_url") or "")


async def test_an_image_without_size_gets_it(at: Bridged) -> None:
    """Clients that are told an image's size lay out their time line before it has come."""
    chat = at.chat()
    room = await at.enter("net", chat)
    file = Attachment(MediaKind.IMAGE, "cat.png", await _spooled(at, PNG))
    await _says(at, chat, RemoteSender(RemoteUserId("ed"), "Ed"), Content(attachments=(file,)), "size")
    content = (await at.human.sees(room, lambda e: "url" in e["content"]))["content"]
    assert content["info"] == {"mimetype": "image/png", "size": len(PNG), "w": 64, "h": 48}


async def test_an_encrypted_file_is_read_by_the_network(at: Bridged) -> None:
    """An adapter opens it as any other; one that was changed on the homeserver never comes whole."""
    chat = at.chat()
    room = await at.enter("net", chat)
    stream = EncryptingStream(pieces(PNG))
    sealed = b"".join([chunk async for chunk in stream])
    for data in (sealed, sealed[:-1] + b"x"):
        mxc = await at.human.upload(data, "application/octet-stream", "")
        file = {**stream.keys(), "url": mxc}
        await at.human.send(room, "cat.png", "m.image", file=file, info={"mimetype": "image/png"})
    host = at.script.host
    assert host is not None
    good, bad = await at.bridge.until(
        lambda: (
            len(found := [m for _, m in at.script.sent if isinstance(m, MatrixMessage) and m.chat == chat]) == 2
            and found
        )
    )
    assert b"".join([chunk async for chunk in host.open(good.content.attachments[0])]) == PNG
    got = []
    with pytest.raises(RejectedError):
        async for chunk in host.open(bad.content.attachments[0]):
            got.append(chunk)
    assert len(b"".join(got)) < len(PNG)
