"""Files of encrypted rooms on networks without files: links that open them, where the admin wants that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_core.api.content import Attachment
from bridge_core.api.ids import RoomId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.config.load import load_config
from bridge_core.config.problems import ConfigError
from bridge_core.demo.ports import free_port
from bridge_core.engine.encrypted_files import EncryptingStream
from tests.encrypted import EncryptedClient
from tests.harness import Harness, write_config
from tests.scripted import Script
from tests.unit.app.test_encryption import _chunks, bridged

DATA = b"what only alice and her friends have" * 1000
SECRET = "q8WvT3xLr6ZbN1mKc5YdPf9HsJ2gA4eU"


def media() -> dict[str, Any]:
    """Media links on a port of their own."""
    port = free_port()
    return {"enabled": True, "public_url": f"http://127.0.0.1:{port}", "listen": f"127.0.0.1:{port}", "secret": SECRET}


async def sent(harness: Harness, script: Script, alice: EncryptedClient, room: str) -> tuple[str, Attachment]:
    """Alice sends an encrypted file: its event, and what the network was sent."""
    await harness.until(lambda: harness.homeserver.keys.devices.get(harness.homeserver.bot))
    stream = EncryptingStream(_chunks(DATA), len(DATA))
    sealed = b"".join([chunk async for chunk in stream])
    file = {**stream.keys(), "url": harness.alice.upload(sealed)}
    event = await alice.says(room, "plan.bin", msgtype="m.file", file=file, info={"size": len(DATA)})
    await harness.until(lambda: script.sent)
    message = script.sent[0][1]
    assert isinstance(message, MatrixMessage)
    return event, message.content.attachments[0]


async def fetched(url: str) -> tuple[int, bytes]:
    """What everybody gets there."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.read()


async def test_no_link_opens_an_encrypted_file_by_default(tmp_path: Path) -> None:
    """Nobody without Matrix reads what was sent encrypted, unless an admin has set that."""
    async with bridged(tmp_path, network={"encryption": "default"}, media=media()) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            _, attachment = await sent(harness, script, alice, room)
            assert attachment.keys is not None
            assert script.host is not None and script.host.media_url(attachment) is None


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[Harness, Script, MatrixMessage, str]]:
    """A network was sent an encrypted file, and its link works."""
    network = {"encryption": "default", "encrypted_file_links": True}
    async with bridged(folder, network=network, media=media()) as (harness, script):
        room = await harness.portal_room("net", "hall")
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            _, attachment = await sent(harness, script, alice, room)
            message = script.sent[0][1]
            assert isinstance(message, MatrixMessage) and script.host is not None
            url = script.host.media_url(attachment)
            assert url is not None and await fetched(url) == (200, DATA)
            yield harness, script, message, url


async def test_a_link_opens_an_encrypted_file_for_who_has_its_keys(tmp_path: Path) -> None:
    """The link gives the file; one made with other keys does not, nor any once the message is taken back."""
    async with linked(tmp_path) as (harness, script, message, url):
        attachment = message.content.attachments[0]
        assert script.host is not None
        # Who knows the address alone, and sends it with keys of their own making, or with none:
        other = Attachment(attachment.kind, attachment.name, attachment.source, attachment.mime, keys='{"v": "v2"}')
        forged = script.host.media_url(other)
        assert forged is not None and (await fetched(forged))[0] == 404
        bare = Attachment(attachment.kind, attachment.name, attachment.source, attachment.mime)
        plain = script.host.media_url(bare)
        assert plain is not None and DATA not in (await fetched(plain))[1]
        harness.alice.redact(message.room, message.event_id)
        await harness.settled()
        async with asyncio.timeout(60):
            while (await fetched(url))[0] != 410 or await harness.running.database.kv.items("links.keys", ""):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("after", "mode", "status"),
    [
        ({"encryption": "default", "encrypted_file_links": True}, "auto", 200),
        ({"encryption": "default"}, "auto", 404),
        ({"encryption": "require"}, "auto", 404),
        ({"encryption": "off", "encrypted_file_links": True}, "auto", 404),
        ({"encrypted_file_links": True}, "off", 404),
        (None, "auto", 404),
    ],
)
async def test_links_end_with_the_setting(tmp_path: Path, after: dict[str, Any] | None, mode: str, status: int) -> None:
    """Links that were given out open nothing once the admin has taken the setting back, or the network away."""
    async with linked(tmp_path) as (harness, _, _, url):
        await harness.stop_bridge()
        harness.sections["encryption"] = {"mode": mode}
        settings = {"type": "scripted", "portals": ["hall"]}
        del harness.networks["net"]
        harness.networks["other" if after is None else "net"] = {**settings, **(after or {})}
        await harness.start_bridge()
        found, body = await fetched(url)
        assert (found, body == DATA) == (status, status == 200)


def test_links_never_open_what_requires_encryption(tmp_path: Path) -> None:
    """A network that requires encryption cannot have such links: the configuration is refused in words."""
    network = {"type": "echo", "encryption": "require", "encrypted_file_links": True}
    path = write_config(tmp_path, "http://127.0.0.1:1", {"net": network}, port=1, encryption={"mode": "auto"})
    with pytest.raises(ConfigError, match="encrypted_file_links"):
        load_config(path, {})


async def test_status_says_who_has_the_files(tmp_path: Path) -> None:
    """`status` tells of links that open files, where there are any."""
    async with bridged(tmp_path, network={"encrypted_file_links": True}) as (harness, _):
        room = harness.alice.create_room(invite=[harness.homeserver.bot])
        await harness.homeserver.wait_message(room, "Hello! This is your management room. Say help for what I can do.")
        harness.alice.send(room, "status")
        told = await harness.homeserver.wait_event(room, lambda e: "plaintext exists" in str(e["content"].get("body")))
        assert "and files of encrypted rooms with whoever has their links" in told["content"]["body"]
        assert harness.running.engine.portals.in_room(RoomId(room)) == ()
