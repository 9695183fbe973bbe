"""What admins do in their management room: look at the journal, replay, drop, revoke links, see users."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.network import Sent
from bridge_core.engine.status import STATUS_EVENT
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script

NETWORKS = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    async with Harness(tmp_path, NETWORKS, {"scripted": script}, status={"failure": "both"}) as harness:
        yield harness


async def _management(bridge: Harness, user: FakeUser) -> str:
    room = user.create_room(invite=[bridge.homeserver.bot], is_direct=True)
    await bridge.homeserver.wait_event(room, lambda e: "management room" in str(e["content"].get("body")))
    return room


async def _ask(bridge: Harness, user: FakeUser, room: str, text: str) -> str:
    event = user.send(room, text)

    def answers(candidate: dict[str, Any]) -> bool:
        relates = candidate["content"].get("m.relates_to") or {}
        return bool(relates.get("m.in_reply_to", {}).get("event_id") == event)

    return str((await bridge.homeserver.wait_event(room, answers))["content"]["body"])


def _broken(message: Any, attempt: Any) -> Sent:
    raise RuntimeError("a bug of the adapter")


async def _dead(bridge: Harness, script: Script, room: str, *texts: str) -> list[str]:
    """Messages that ended as dead letters; the events."""
    script.answer = _broken
    events = [bridge.alice.send(room, text) for text in texts]
    await bridge.settled()
    script.answer = lambda message, attempt: Sent()
    return events


async def test_a_dead_letter_is_replayed_while_the_bridge_runs(bridge: Harness, script: Script) -> None:
    """`journal replay` sends it without a restart, the books agree, and what was told is corrected."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    room = await bridge.portal_room("net", "lobby")
    (event,) = await _dead(bridge, script, room, "lost")
    told = await bridge.homeserver.wait_event(room, lambda e: "was not delivered" in str(e["content"].get("body")))
    listed = await _ask(bridge, admin, desk, "journal list")
    number = listed.split()[0]
    assert "dead to_network net" in listed
    assert "lost" not in listed + await _ask(bridge, admin, desk, f"journal show {number}")
    assert "1 entries are tried again" in await _ask(bridge, admin, desk, f"journal replay {number}")
    await bridge.until(lambda: script.texts() == ["lost"])
    fixed = await bridge.homeserver.wait_event(
        room, lambda e: e["content"].get("m.relates_to", {}).get("rel_type") == "m.replace"
    )
    assert fixed["content"]["m.relates_to"]["event_id"] == told["event_id"]
    assert "was delivered to net after all" in fixed["content"]["m.new_content"]["body"]
    success = await bridge.homeserver.wait_event(
        room, lambda e: e["type"] == STATUS_EVENT and e["content"]["status"] == "SUCCESS"
    )
    assert success["content"]["m.relates_to"]["event_id"] == event
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    assert bridge.running.journal.counters()["net", 0, "dead"] == 0
    assert bridge.running.journal.pending == 0
    assert "No entry is tried again" in await _ask(bridge, admin, desk, f"journal replay {number}")


async def test_a_late_success_corrects_after_a_restart_too(bridge: Harness, script: Script) -> None:
    """Which failures were told is remembered over a restart; afterwards nothing is left of it."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    room = await bridge.portal_room("net", "lobby")
    await _dead(bridge, script, room, "lost")
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await _ask(bridge, admin, desk, "journal replay all")
    await bridge.homeserver.wait_event(
        room, lambda e: e["content"].get("m.relates_to", {}).get("rel_type") == "m.replace"
    )
    await bridge.settled()
    assert await bridge.running.database.kv.items("noted", "") == {}


async def test_replayed_entries_keep_their_order(bridge: Harness, script: Script) -> None:
    """Several entries of one lane are replayed in the order in which they came, each once."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    room = await bridge.portal_room("net", "lobby")
    await _dead(bridge, script, room, "one", "two", "three")
    assert "3 entries" in await _ask(bridge, admin, desk, "journal replay all")
    await bridge.until(lambda: len(script.texts()) == 3)
    await bridge.settled()
    assert script.texts() == ["one", "two", "three"]


async def test_a_dead_letter_is_dropped(bridge: Harness, script: Script) -> None:
    """`journal drop`, confirmed, ends it as rejected; it is not sent, and what was in it is gone."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    room = await bridge.portal_room("net", "lobby")
    await _dead(bridge, script, room, "lost")
    number = (await _ask(bridge, admin, desk, "journal list")).split()[0]
    asked = await _ask(bridge, admin, desk, f"journal drop {number}")
    assert "erased" in asked and asked.endswith(f"To do it, say: journal drop {number} confirm")
    assert number in await _ask(bridge, admin, desk, "journal list")
    assert "1 entries are dropped" in await _ask(bridge, admin, desk, f"journal drop {number} confirm")
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    assert script.texts() == []
    assert await _ask(bridge, admin, desk, "journal list") == "None."


@pytest.mark.parametrize("text", ["journal replay x", "journal drop -1", "journal list nothing", "journal show 1e9"])
async def test_nonsense_is_answered_in_words(bridge: Harness, text: str) -> None:
    """What is no entry's number is refused with words."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    answer = await _ask(bridge, admin, desk, text)
    assert "rite it as" in answer or "ame entries" in answer


async def test_only_admins_see_the_journal(bridge: Harness) -> None:
    """A user may use none of it, and an admin not where others read along."""
    room = await _management(bridge, bridge.alice)
    for text in ("journal list", "journal replay all", "journal drop all", "media revoke mxc://a/b", "users"):
        assert "level admin" in await _ask(bridge, bridge.alice, room, text)
    admin = bridge.homeserver.user("admin")
    shared = await bridge.portal_room("net", "lobby")
    admin.join(shared)
    assert "in your management room" in await _ask(bridge, admin, shared, "!bridge journal list")


async def test_links_to_a_file_are_revoked(bridge: Harness) -> None:
    """`media revoke`, confirmed, ends links by the file's address; what is no address is refused."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    assert "for good" in await _ask(bridge, admin, desk, "media revoke mxc://hs.test/abc")
    assert not await bridge.running.database.media.revoked("mxc://hs.test/abc")
    assert "no more" in await _ask(bridge, admin, desk, "media revoke mxc://hs.test/abc confirm")
    assert await bridge.running.database.media.revoked("mxc://hs.test/abc")
    assert "no mxc:// address" in await _ask(bridge, admin, desk, "media revoke https://hs.test/abc")


async def test_users_are_listed(bridge: Harness) -> None:
    """`users` shows who has a management room, with their level; a part of the name narrows it."""
    admin = bridge.homeserver.user("admin")
    desk = await _management(bridge, admin)
    await _management(bridge, bridge.alice)
    answer = await _ask(bridge, admin, desk, "users")
    assert "@admin:hs.test (admin)" in answer
    assert "@alice:hs.test (user)" in answer
    assert "@alice" not in await _ask(bridge, admin, desk, "users ADM")
