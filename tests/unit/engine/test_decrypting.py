"""Encrypted messages from Matrix: read in their order, waited for, refused in words, never lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.content.plain import to_plain
from tests.encrypted import EncryptedClient
from tests.harness import Harness
from tests.scripted import Script


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    encryption = {"mode": "auto", "missing_key_wait": "60s"}
    harness = Harness(tmp_path, networks, {"scripted": script}, encryption=encryption)
    harness.appservice.encryption = True
    async with harness:
        yield harness


@pytest.fixture(name="alice")
async def _alice(bridge: Harness) -> AsyncIterator[EncryptedClient]:
    encryption = bridge.running.encryption
    assert encryption is not None
    await encryption.machine.accounts.ready(bridge.running.matrix.bot_device)
    async with EncryptedClient(bridge.homeserver, bridge.alice) as client:
        yield client


def texts(script: Script) -> list[str]:
    """What the network was sent, in words."""
    return [to_plain(message.content.text) for _, message in script.sent]  # type: ignore[union-attr]


def notices(bridge: Harness, room: str) -> list[str]:
    """What the bot said."""
    return [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot]


async def test_an_encrypted_text_reaches_the_network(bridge: Harness, alice: EncryptedClient, script: Script) -> None:
    """What is said in an encrypted room is read, and sent on with everything else in order."""
    room = await bridge.portal_room("net", "lobby")
    await alice.says(room, "one")
    bridge.alice.send(room, "two, in the clear")
    await alice.says(room, "three")
    await bridge.until(lambda: len(script.sent) == 3)
    assert texts(script) == ["one", "two, in the clear", "three"]
    await bridge.settled()
    assert (await bridge.running.journal.audit()).balances["net", 0].delivered == 3
