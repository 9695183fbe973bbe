"""The index of portals: what two do to one portal at once is both done."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.ids import ChatId, NetworkId, RoomId
from bridge_core.engine.portals import PortalIndex, plumbed_since
from tests.harness import Harness
from tests.scripted import Script

NET = NetworkId("net")


@pytest.fixture(name="portals")
async def _portals(tmp_path: Path) -> AsyncIterator[PortalIndex]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": Script()}) as harness:
        yield harness.running.engine.portals


async def test_of_two_changes_at_once_none_is_lost(portals: PortalIndex) -> None:
    """A room that is found while an option is being stored is there, and so is the option: in memory and stored."""
    row = await portals.ensure(NET, ChatId("den"))
    await asyncio.gather(
        portals.add_room(row, RoomId("!one:hs.test")),
        portals.set_option(row, "consent", "refused"),
        portals.add_room(row, RoomId("!two:hs.test")),
        portals.update(row, topic="news"),
    )
    now = portals.by_id(row.id)
    assert now is not None
    assert set(now.rooms) == {"!one:hs.test", "!two:hs.test"}
    assert (now.options["consent"], now.topic) == ("refused", "news")
    assert now in await portals._store.all()
    assert portals._changing == {}


async def test_a_portal_that_is_no_more_stays_so(portals: PortalIndex) -> None:
    """What somebody still wants to keep with a portal does not bring it back."""
    row = await portals.ensure(NET, ChatId("den"))
    await asyncio.gather(portals.delete(row), portals.set_option(row, "expiry", 1_000))
    await portals.update(row, name="Den")
    assert portals.by_id(row.id) is None
    assert row.id not in {stored.id for stored in await portals._store.all()}


async def test_since_when_a_room_is_bridged_goes_with_it(portals: PortalIndex) -> None:
    """A room that goes on as another one was bridged when it was; one that is bridged anew begins anew."""
    row, old, new = await portals.ensure(NET, ChatId("den")), RoomId("!old:hs.test"), RoomId("!new:hs.test")
    row = await portals.add_room(row, old, plumbed="@alice:hs.test", since=1_000)
    row = await portals.replace_room(row, old, new)
    assert (plumbed_since(row, new), plumbed_since(row, old)) == (1_000, 0)
    row = await portals.add_room(await portals.remove_room(row, new), new, plumbed="@alice:hs.test", since=2_000)
    assert plumbed_since(row, new) == 2_000
