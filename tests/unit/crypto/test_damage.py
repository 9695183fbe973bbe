"""Rows that cannot be read (the store gives them with an empty value), and refusals that end."""

from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.ports import AccountRow, InboundRow, OlmSessionRow, OutboundRow, SharesRow, TrackedRow
from bridge_core.engine.matrix_ports import MatrixRejectedError
from tests.unit.crypto.world import Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]


def damage(bridge: Bridge, kind: type[Any], value: bytes = b"") -> None:
    """All rows of a kind."""
    rows = bridge.store.rows
    found = [key for key, row in rows.items() if isinstance(row, kind)]
    assert found
    for key in found:
        rows[key] = replace(rows[key], value=value)


@pytest.mark.parametrize("kind", [SharesRow, OutboundRow, OlmSessionRow, TrackedRow])
async def test_the_sending_side_makes_anew_what_cannot_be_read(pair: Pair, kind: type[Any]) -> None:
    """A damaged list of shares, session or list of devices costs a new one, and no message."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    damage(a, kind)
    await a.restart()
    event = await a.send(a.bot, "2", [b.bot])
    await b.hear()
    assert await b.read(event) == "2"


async def test_a_device_whose_keys_cannot_be_read_waits(pair: Pair) -> None:
    """Nothing is said by it, nothing is lost: an admin may put the database right."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    kept = {key: row for key, row in a.store.rows.items() if isinstance(row, AccountRow)}
    damage(a, AccountRow)
    await a.restart()
    with pytest.raises(TransientError, match="cannot be read"):
        await a.send(a.bot, "2", [b.bot])
    a.store.rows.update(kept)
    await a.restart()
    event = await a.send(a.bot, "2", [b.bot])
    await b.hear()
    assert await b.read(event) == "2"


async def test_a_key_that_cannot_be_read_is_missing(pair: Pair) -> None:
    """It is asked for, and the one that comes takes its place."""
    a, b = pair
    event = await a.send(a.bot, "1", [b.bot])
    await b.hear()
    damage(b, InboundRow)
    await b.restart()
    with pytest.raises(MissingKeyError) as missing:
        await b.read(event)
    await b.machine.ask_for(missing.value, event)
    for bridge in (a, b):
        await bridge.hear()
    assert await b.read(event) == "1"


async def test_a_refused_identity_is_tried_again(world: KeyWorld) -> None:
    """What the homeserver refuses once is no red shield for good; nor is it asked with each message."""
    a = await Bridge(world, "a").start()
    world.errors["upload_cross_signing"] = [MatrixRejectedError("M_FORBIDDEN", "not now", 403)]
    await a.join("bot")
    await a.encrypted_room()
    before = world.count("upload_keys")
    await a.machine.accounts.ready(a.bot)
    assert a.bot.user not in world.cross and world.count("upload_keys") == before
    a.clock.ms += 3_600_000
    await a.machine.accounts.ready(a.bot)
    assert a.bot.user in world.cross
    await a.kill()
