"""Encryption towards Matrix: a whole bridge on the fake homeserver, and a client with keys of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.crypto.policy import Trust
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.scripted import Script

GHOST = "@_net_anna:hs.test"
ANNA = RemoteSender(RemoteUserId("anna"), "Anna")
SECRET = "a word that nobody but alice reads"


@asynccontextmanager
async def bridged(folder: Path, **more: Any) -> AsyncIterator[tuple[Harness, Script]]:
    """A bridge with encryption and the scripted network `net`, whose section is `network`."""
    script = Script()
    network = {"type": "scripted", "portals": ["hall"], **more.pop("network", {})}
    sections = {"encryption": {"mode": "auto", **more.pop("encryption", {})}, **more}
    harness = Harness(folder, {"net": network}, {"scripted": script}, **sections)
    harness.appservice.encryption = True
    async with harness:
        yield harness, script


async def said(script: Script, text: str, number: int = 1) -> None:
    """Anna says it on the network."""
    assert script.inbox is not None
    message = RemoteMessage(ChatId("hall"), ANNA, Content((Plain(text),)), id=MessageId(f"m{number}"))
    await script.inbox.receive([message])


async def test_a_ghost_speaks_by_its_own_signed_device(tmp_path: Path) -> None:
    """What a ghost says in an encrypted room is read by a client, from a device that the ghost's identity signs."""
    async with bridged(tmp_path, network={"encryption": "default"}) as (harness, script):
        room = await harness.portal_room("net", "hall")
        assert harness.homeserver.room(room).content("m.room.encryption") == {"algorithm": MEGOLM}
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            await said(script, SECRET)
            found = await alice.sees(room, SECRET)
            assert found.event["sender"] == GHOST
            assert found.trust >= Trust.CROSS_SIGNED
            assert found.device == "MATRIXBRIDGE"
