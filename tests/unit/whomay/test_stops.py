"""Emergency stop: of a network, of a room; who may, what crosses, what is said."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteRedaction
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RoomId, UserId
from bridge_core.engine.stops import Stop
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, notices, receive, said, say
from tests.scripted import Script

NET, ADMIN = NetworkId("net"), UserId("@admin:hs.test")


@pytest.fixture
def sections() -> dict[str, Any]:
    """Alice is a user, mallory is relayed."""
    return {"permissions": {"local": "user", "@admin:hs.test": "admin", "@mallory:hs.test": "relay"}}


async def _ask(bridge: Harness, user: Any, room: str, text: str) -> str:
    before = len(notices(bridge, room))
    user.send(room, f"!bridge {text}")
    await bridge.until(lambda: len(notices(bridge, room)) > before)
    await bridge.settled()
    return "\n".join(notices(bridge, room)[before:])


async def test_a_stopped_network_carries_nothing(bridge: Harness, script: Script) -> None:
    """Both directions are refused and counted, senders are told, rooms hear of it once, and of the gap at the end."""
    room, quiet = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    stops = bridge.running.whomay.stops
    await stops.stop(NET, ADMIN, "spam wave")
    bridge.alice.send(room, "out")
    await receive(bridge, script, say("in"), say("in again"))
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await receive(bridge, script, say("still"))
    found = await balances(bridge)
    assert (found["net", 0].rejected, found["net", 1].rejected, found["net", 1].delivered) == (1, 3, 0)
    assert script.sent == [] and said(bridge, room, "bob") == []
    heard = notices(bridge, room)
    assert sum("was not delivered to net: net is stopped: spam wave" in text for text in heard) == 1
    assert sum("nothing crosses in either direction" in text for text in heard) == 1
    await bridge.running.whomay.stops.start(NET, ADMIN)
    await receive(bridge, script, say("back"))
    bridge.alice.send(room, "back too")
    await bridge.settled()
    assert said(bridge, room, "bob") == ["back"] and script.texts() == ["back too"]
    assert sum("are missing here: it was stopped: spam wave" in text for text in notices(bridge, room)) == 1
    assert notices(bridge, quiet) == []
    assert bridge.running.whomay.stops.all() == []


async def test_a_stopped_network_makes_no_rooms(bridge: Harness, script: Script) -> None:
    """A private message that comes while the network is stopped makes neither portal nor room."""
    script.provided = True
    bridge.alice.send(await bridge.portal_room("net", "lobby"), "I have a login")
    await bridge.settled()
    await bridge.running.whomay.stops.stop(NET, ADMIN)
    before = len(bridge.homeserver.rooms())
    await receive(bridge, script, say("psst", BOB, "dm-bob", receiver="@alice:hs.test"))
    assert len(bridge.homeserver.rooms()) == before
    assert (await balances(bridge))["net", 1].rejected == 1


async def test_moderators_stop_their_own_room(bridge: Harness, script: Script) -> None:
    """Who may change the room's settings stops it, nobody else; other rooms of the chat go on."""
    own = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    other = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    mallory = bridge.homeserver.user("mallory")
    bridge.alice.invite(own, mallory.id)
    mallory.join(own)
    assert "bridged to lobby" in await _ask(bridge, bridge.alice, own, "bridge net lobby")
    assert "you may not stop it" in await _ask(bridge, mallory, own, "stop")
    assert "you may not stop it" in await _ask(bridge, bridge.alice, other, "stop")
    assert "is stopped: raid" in await _ask(bridge, bridge.alice, own, "stop here raid")
    await receive(bridge, script, say("hello"))
    assert (said(bridge, own, "bob"), said(bridge, other, "bob")) == ([], ["hello"])
    bridge.alice.send(own, "unheard")
    bridge.alice.send(other, "heard")
    await bridge.settled()
    assert script.texts() == ["heard"]
    assert "goes on" in await _ask(bridge, bridge.alice, own, "start")
    await receive(bridge, script, say("again"))
    assert said(bridge, own, "bob") == ["again"]
    assert any("are missing here: it was stopped: raid" in text for text in notices(bridge, own))


async def test_only_admins_stop_networks(bridge: Harness, script: Script) -> None:
    """A user cannot stop a network, an admin can, by its name only, and sees what is stopped."""
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    assert "only admins" in await _ask(bridge, bridge.alice, room, "stop net")
    assert "there is no network nowhere; there are: net" in await _ask(bridge, admin, room, "stop nowhere")
    assert "net is stopped" in await _ask(bridge, admin, room, "stop net")
    assert "net, by @admin:hs.test since" in await _ask(bridge, admin, room, "stops")
    assert "net goes on" in await _ask(bridge, admin, room, "start net")
    assert "net is not stopped" in await _ask(bridge, admin, room, "start net")
    assert "Nothing is stopped" in await _ask(bridge, admin, room, "stops")


async def test_bans_by_command(bridge: Harness, script: Script) -> None:
    """`ban`, `bans` and `unban` are for admins and do what they say."""
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    assert "needs the level admin" in await _ask(bridge, bridge.alice, room, "ban @admin:hs.test")
    assert "is banned" in await _ask(bridge, admin, room, "ban @alice:hs.test too loud")
    bridge.alice.send(room, "!bridge help")
    await bridge.settled()
    assert "@alice:hs.test, by @admin:hs.test" in await _ask(bridge, admin, room, "bans")
    assert "not banned any more" in await _ask(bridge, admin, room, "unban @alice:hs.test")
    bridge.alice.send(room, "hello")
    await bridge.settled()
    assert script.texts() == ["hello"]


async def test_a_stop_in_one_room_leaves_redactions_out_too(bridge: Harness, script: Script) -> None:
    """Nothing that the network does reaches a stopped room, a redaction by the bot neither."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("first", id="m1"))
    await bridge.running.whomay.stops.stop(RoomId(room), ADMIN)
    await receive(bridge, script, RemoteRedaction(ChatId("lobby"), BOB, MessageId("m1")))
    assert said(bridge, room, "bob") == ["first"]
    assert (await balances(bridge))["net", 1].rejected == 1


async def test_a_stop_that_comes_while_it_is_let_go_on_holds(bridge: Harness, script: Script) -> None:
    """Whoever stops a network while somebody lets it go on is not overruled, now and after a restart."""
    await bridge.portal_room("net", "lobby")
    stops = bridge.running.whomay.stops
    await stops.stop(NET, ADMIN, "spam wave")
    await receive(bridge, script, say("missed"))
    other = UserId("@other:hs.test")
    tell = stops._tell

    async def meanwhile(room: RoomId, stop: Stop) -> None:
        await stops.stop(NET, other, "another wave")
        await tell(room, stop)

    stops._tell = meanwhile  # type: ignore[method-assign]
    with pytest.raises(RejectedError, match="has stopped it meanwhile"):
        await stops.start(NET, ADMIN)
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert [(one.by, one.reason) for one in bridge.running.whomay.stops.all()] == [(other, "another wave")]


async def test_moderators_do_not_lift_an_admins_stop_of_their_room(bridge: Harness, script: Script) -> None:
    """A room that an admin of the bridge stops, after its moderators or alone, goes on when an admin says so."""
    own = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    admin = bridge.homeserver.user("admin")
    bridge.alice.invite(own, admin.id)
    admin.join(own)
    await bridge.settled()
    assert "bridged to lobby" in await _ask(bridge, bridge.alice, own, "bridge net lobby")
    assert "is stopped: raid" in await _ask(bridge, bridge.alice, own, "stop here raid")
    assert "is stopped: evidence" in await _ask(bridge, admin, own, "stop here evidence")
    assert "an admin of the bridge has stopped it" in await _ask(bridge, bridge.alice, own, "start")
    await receive(bridge, script, say("hello"))
    assert said(bridge, own, "bob") == []
    assert "goes on" in await _ask(bridge, admin, own, "start")
