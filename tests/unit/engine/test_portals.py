"""The index of portals: what two do to one portal at once is both done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import ChatId, NetworkId, RoomId
from bridge_core.engine.portals import PortalIndex, plumbed_since
from bridge_core.engine.store_ports import PortalRow
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


CHANGES: dict[str, Callable[[PortalIndex, PortalRow], Awaitable[PortalRow]]] = {
    "room added": lambda portals, row: portals.add_room(row, RoomId("!new:hs.test")),
    "room removed": lambda portals, row: portals.remove_room(row, RoomId("!old:hs.test")),
    "room replaced": lambda portals, row: portals.replace_room(row, RoomId("!old:hs.test"), RoomId("!new:hs.test")),
    "making": lambda portals, row: portals.making(row),
    "not made": lambda portals, row: portals.not_made(row),
    "moved": lambda portals, row: portals.move(row, ChatId("cave"), 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_begun_before_brings_no_portal_back(portals: PortalIndex, change: str) -> None:
    """Whoever still has the row as it was cannot change it: neither it nor its rooms are there again."""
    row = await portals.making(await portals.ensure(NET, ChatId("den")))
    row = replace(await portals.add_room(row, RoomId("!old:hs.test")), options=row.options)
    await portals.delete(row)
    with suppress(TransientError) if change in ("room added", "moved") else nullcontext():
        await CHANGES[change](portals, row)
        assert change not in ("room added", "moved"), "whoever counts on it is told"
    assert portals.by_id(row.id) is None and not portals.in_room(RoomId("!old:hs.test"))
    assert row.id not in {stored.id for stored in await portals._store.all()}
    with pytest.raises(TransientError):
        portals.current(row)


async def test_a_portal_that_has_got_a_room_is_not_taken_for_empty(portals: PortalIndex) -> None:
    """Who ends a chat that has no room left looks whether that is still so."""
    row = await portals.ensure(NET, ChatId("den"))
    added, ended = await asyncio.gather(portals.add_room(row, RoomId("!a:hs.test")), portals.delete_without_rooms(row))
    assert not ended and portals.by_id(row.id) == added
    await portals.remove_room(row, RoomId("!a:hs.test"))
    assert await portals.delete_without_rooms(row) and await portals.delete_without_rooms(row)
    assert portals.by_id(row.id) is None


async def test_since_when_a_room_is_bridged_goes_with_it(portals: PortalIndex) -> None:
    """A room that goes on as another one was bridged when it was; one that is bridged anew begins anew."""
    row, old, new = await portals.ensure(NET, ChatId("den")), RoomId("!old:hs.test"), RoomId("!new:hs.test")
    row = await portals.add_room(row, old, plumbed="@alice:hs.test", since=1_000)
    row = await portals.replace_room(row, old, new)
    assert (plumbed_since(row, new), plumbed_since(row, old)) == (1_000, 0)
    row = await portals.add_room(await portals.remove_room(row, new), new, plumbed="@alice:hs.test", since=2_000)
    assert plumbed_since(row, new) == 2_000
