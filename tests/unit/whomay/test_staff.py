"""What a network's staff do to the bridge: for their network, at once, over restarts, and written down."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RoomId, UserId
from bridge_core.api.network import Sent
from bridge_core.api.staff import Kicked, Staff
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, notices, receive, said, say
from tests.scripted import Script

BY = "oper (oper!o@staff.net)"
MEDIA = {"enabled": True, "public_url": "http://media.test", "secret": "0123456789abcdef0123456789abcdef"}


@pytest.fixture(name="other")
def _other() -> Script:
    return Script()


@pytest.fixture(name="two")
async def _two(tmp_path: Path, script: Script, other: Script) -> AsyncIterator[Harness]:
    """A bridge with two networks, both of which provide logins."""
    script.provided = other.provided = True
    networks = {name: {"type": name, "portals": ["lobby"]} for name in ("net", "other")}
    async with Harness(tmp_path, networks, {"net": script, "other": other}, media=MEDIA) as bridge:
        yield bridge


def _staff(bridge: Harness, network: str = "net") -> Staff:
    return bridge.running.staff.of(NetworkId(network))


async def _managed(bridge: Harness) -> tuple[Any, str]:
    """The bridge's admin and their management room."""
    admin = bridge.homeserver.user("admin")
    room = admin.create_room(preset="private_chat", invite=[bridge.homeserver.bot])
    await bridge.until(lambda: any("management room" in text for text in notices(bridge, room)))
    return admin, room


async def test_a_block_holds_for_one_network_and_over_restarts(two: Harness, script: Script, other: Script) -> None:
    """A blocked server's users lose their connection, nothing of them crosses, which is said; elsewhere it does."""
    rooms = {name: await two.portal_room(name, "lobby") for name in ("net", "other")}
    _, management = await _managed(two)
    for room in rooms.values():
        two.alice.send(room, "hello")
    await two.settled()
    assert script.connected == [""] and _staff(two).users() == (two.alice.id,)
    assert await _staff(two).block("hs.test", BY, "spam") == 1
    assert _staff(two).users() == ()
    await two.stop_bridge()
    await two.start_bridge()
    for room in rooms.values():
        two.alice.send(room, "again")
    await two.settled()
    assert script.texts() == ["hello"] and other.texts() == ["hello", "again"]
    assert any("blocked from net by its staff: spam" in text for text in notices(two, rooms["net"]))
    assert [block.mask for block in _staff(two).blocked()] == ["hs.test"] and _staff(two, "other").blocked() == ()
    with pytest.raises(RejectedError, match="blocked"):
        await two.running.engine.logins.begin(UserId(two.alice.id), NetworkId("net"), "password")
    await _staff(two).unblock("hs.test", BY)
    two.alice.send(rooms["net"], "back")
    await two.settled()
    assert script.texts() == ["hello", "back"]
    told = [text for text in notices(two, management) if BY in text]
    assert ["blocked hs.test (spam)" in told[0], "unblocked hs.test" in told[1], len(told)] == [True, True, 2]
    assert (await balances(two))["net", 0].rejected == 1


async def test_what_staff_may_not(two: Harness) -> None:
    """Block everybody, lift a block that is none, undo what an admin here has stopped, revoke other links."""
    staff = _staff(two)
    for mask in ("*", "@*:*", "not a mask"):
        with pytest.raises(RejectedError):
            await staff.block(mask, BY)
    with pytest.raises(RejectedError, match="no block"):
        await staff.unblock("hs.test", BY)
    await two.running.whomay.stops.stop(NetworkId("net"), UserId("@admin:hs.test"))
    with pytest.raises(RejectedError, match="admin"):
        await staff.start(BY)
    with pytest.raises(RejectedError, match="no link"):
        await staff.revoke("http://media.test/_matrix_bridge/media/AAAA/x.png", BY)


async def test_staff_do_not_lift_what_an_admin_stopped_after_them(two: Harness, script: Script) -> None:
    """An admin's stop takes over that of staff, also over a restart: only an admin lets it go on."""
    room = await two.portal_room("net", "lobby")
    await _staff(two).stop(BY, "a raid")
    await two.running.whomay.stops.stop(NetworkId("net"), UserId("@admin:hs.test"), "evidence")
    await two.stop_bridge()
    await two.start_bridge()
    with pytest.raises(RejectedError, match="an admin of the bridge has stopped it"):
        await _staff(two).start(BY)
    await receive(two, script, say("in"))
    assert said(two, room, "bob") == []
    await two.running.whomay.stops.start(NetworkId("net"), UserId("@admin:hs.test"))
    await receive(two, script, say("in again"))
    assert said(two, room, "bob") == ["in again"]


async def test_staff_stop_their_network(two: Harness, script: Script, other: Script) -> None:
    """Nothing crosses there, in both directions, until they let it go on; other networks do not notice."""
    rooms = {name: await two.portal_room(name, "lobby") for name in ("net", "other")}
    await _staff(two).stop(BY, "a raid")
    await receive(two, script, say("in"))
    await receive(two, other, say("in"))
    for room in rooms.values():
        two.alice.send(room, "out")
    await two.settled()
    assert said(two, rooms["net"], "bob") == [] and script.texts() == []
    assert other.texts() == ["out"]
    await _staff(two).start(BY)
    await receive(two, script, say("in again", BOB))
    assert said(two, rooms["net"], "bob") == ["in again"]


async def test_a_kick_ends_the_connection_and_empties_the_rooms(two: Harness, script: Script) -> None:
    """The user is out of the rooms that the bridge made, and of those alone."""
    room = await two.portal_room("net", "lobby")
    elsewhere = await two.portal_room("other", "lobby")
    two.alice.send(room, "hello")
    await two.settled()
    assert await _staff(two).kick(UserId(two.alice.id), BY, "enough") == Kicked(1)
    assert two.homeserver.room(room).membership(two.alice.id) == "leave"
    assert two.homeserver.room(elsewhere).membership(two.alice.id) == "join"
    assert _staff(two).users() == ()


async def test_a_kick_reaches_rooms_of_others_and_holds(two: Harness, script: Script) -> None:
    """It counts the rooms where the bridge may remove nobody; there the relay does not carry the user meanwhile."""
    admin = two.homeserver.user("admin")
    portal = await two.running.engine.portals.ensure(NetworkId("net"), ChatId("lobby"))
    rooms = []
    for power in (100, 0):
        levels = {"users": {two.homeserver.bot: power}, "events_default": 0}
        bot = [two.homeserver.bot]
        rooms.append(admin.create_room(preset="public_chat", invite=bot, power_level_content_override=levels))
        await two.running.engine.rooms.adopt(portal, RoomId(rooms[-1]), by=admin.id)
        two.alice.join(rooms[-1])
    await two.settled()
    assert await _staff(two).kick(UserId(two.alice.id), BY, "enough") == Kicked(1, 1)
    assert [two.homeserver.room(room).membership(two.alice.id) for room in rooms] == ["leave", "join"]
    two.alice.send(rooms[1], "me again")
    await two.settled()
    assert script.texts() == [] and _staff(two).users() == ()
    assert any("have removed you for 10 more minutes: enough" in text for text in notices(two, rooms[1]))


async def test_links_are_revoked_by_link_and_by_user(two: Harness, script: Script) -> None:
    """A link that staff saw is enough to end it; a user's name ends all that went to this network, and no other."""
    room = await two.portal_room("net", "lobby")
    files = [two.alice.upload(b"x", "image/png", f"{number}.png") for number in range(3)]
    for file in files:
        two.alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "a.png", "url": file})
    await two.settled()
    links = two.running._links
    assert links is not None
    assert await _staff(two).revoke(f"look: <{links.url(files[0], 'a.png', 'image/png')}>", BY) == 1
    revoked = two.running.database.media.revoked
    assert [await revoked(file) for file in files] == [True, False, False]
    assert await _staff(two, "other").revoke(two.alice.id, BY) == 0
    assert await _staff(two).revoke(two.alice.id, BY) == 3
    assert [await revoked(file) for file in files] == [True, True, True]


async def test_links_are_revoked_by_the_id_of_their_message(two: Harness, script: Script) -> None:
    """Who sees a message on the network ends its links by its id there; other messages keep theirs."""
    ids = itertools.count(1)
    script.answer = lambda message, attempt: Sent((MessageId(f"m{next(ids)}"),))
    room = await two.portal_room("net", "lobby")
    files = [two.alice.upload(b"x", "image/png", f"{number}.png") for number in range(2)]
    for file in files:
        two.alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "a.png", "url": file})
    two.alice.send(room, "no file")
    await two.settled()
    revoked = two.running.database.media.revoked
    assert await _staff(two).revoke("m1", BY) == 1
    assert [await revoked(file) for file in files] == [True, False]
    with pytest.raises(RejectedError, match="no file"):
        await _staff(two).revoke("m3", BY)
    for network, message in (("net", "m4"), ("other", "m2")):
        with pytest.raises(RejectedError, match="no id of a message"):
            await _staff(two, network).revoke(message, BY)


async def test_acts_are_kept_and_shown_to_admins(two: Harness) -> None:
    """`staff acts` shows who did what, the latest first; the book is bounded."""
    admin, management = await _managed(two)
    await _staff(two).note("looked around", BY)
    await _staff(two).block("@evil:hs.test", BY)
    admin.send(management, "staff acts net")
    await two.until(lambda: any("looked around" in text and "evil" in text for text in notices(two, management)))
    admin.send(management, "staff blocks net")
    await two.until(lambda: any(text.startswith("@evil:hs.test, by oper") for text in notices(two, management)))
