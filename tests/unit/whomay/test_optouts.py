"""Opting out, of Matrix users and of people of the networks: nothing of them crosses, and both sides keep to it."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteConsent
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.invariants.scenes import BOB, CAROL, balances, notices, receive, said, say
from tests.scripted import Script

ALICE = UserId("@alice:hs.test")
NET = NetworkId("net")


async def _ask(bridge: Harness, user: Any, room: str, text: str) -> str:
    before = len(notices(bridge, room))
    user.send(room, f"!bridge {text}")
    await bridge.until(lambda: len(notices(bridge, room)) > before)
    await bridge.settled()
    return "\n".join(notices(bridge, room)[before:])


async def test_who_opts_out_is_not_bridged(bridge: Harness, script: Script) -> None:
    """Nothing of theirs crosses, also after a restart; they are told once; others go on; opting in ends it."""
    room = await bridge.portal_room("net", "lobby")
    assert "Nothing of you is bridged to any network" in await _ask(bridge, bridge.alice, room, "opt-out")
    other = bridge.homeserver.user("other")
    other.join(room)
    for text in ("one", "two"):
        bridge.alice.send(room, text)
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    bridge.alice.send(room, "three")
    other.send(room, "from somebody else")
    await bridge.settled()
    assert script.texts() == ["from somebody else"]
    assert (await balances(bridge))["net", 0].rejected == 3
    assert "bridged again" in await _ask(bridge, bridge.alice, room, "opt-in")
    bridge.alice.send(room, "four")
    await bridge.settled()
    assert script.texts()[1:] == ["four"]


async def test_who_opts_out_is_told_once(bridge: Harness) -> None:
    """The bot does not answer everything that somebody says who wants nothing of it."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.running.whomay.optouts.opt_out(ALICE)
    for text in ("one", "two", "three"):
        bridge.alice.send(room, text)
    await bridge.settled()
    assert len([text for text in notices(bridge, room) if "you opted out" in text]) == 1


async def test_their_provided_login_goes(bridge: Harness, script: Script) -> None:
    """The connection that was made for them is closed, and made anew when they take part again."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "one")
    await bridge.settled()
    network = bridge.running.networks.get(NET)
    assert network is not None and [login.user for login in network.logins()] == [ALICE]
    await bridge.running.whomay.optouts.opt_out(ALICE, NET)
    assert network.logins() == []
    assert "opted out" in await _ask(bridge, bridge.alice, room, "chat net bob")
    await bridge.running.whomay.optouts.opt_in(ALICE, NET)
    bridge.alice.send(room, "two")
    await bridge.settled()
    assert [login for login, _ in script.sent] == [ALICE, ALICE]


async def test_one_network_can_be_left_out(bridge: Harness, script: Script) -> None:
    """Opting out of one network says nothing about others; unknown ones are refused."""
    room = await bridge.portal_room("net", "lobby")
    assert "there is no network nowhere; there are: net" in await _ask(bridge, bridge.alice, room, "opt-out nowhere")
    optouts = bridge.running.whomay.optouts
    await optouts.opt_out(ALICE, NET)
    assert optouts.is_out(ALICE, NET) and not optouts.is_out(ALICE, NetworkId("other"))
    await optouts.opt_out(ALICE)
    assert optouts.is_out(ALICE, NetworkId("other"))
    await optouts.opt_in(ALICE, NET)
    assert not optouts.is_out(ALICE, NET) and optouts.of(ALICE) == frozenset()


async def test_a_person_of_a_network_opts_out(bridge: Harness, script: Script) -> None:
    """Who refuses in their private chat is heard nowhere on Matrix and reached from nowhere, also after a restart."""
    room = await bridge.portal_room("net", "lobby")
    script.provided = True
    await receive(bridge, script, RemoteConsent(ChatId("dm-bob"), BOB, False))
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await receive(bridge, script, say("hello"), say("hi", CAROL))
    assert (said(bridge, room, "bob"), said(bridge, room, "carol")) == ([], ["hi"])
    assert "does not want to be bridged" in await _ask(bridge, bridge.alice, room, "chat net bob")
    await receive(bridge, script, RemoteConsent(ChatId("dm-bob"), BOB, True))
    await receive(bridge, script, say("hello again"))
    assert said(bridge, room, "bob") == ["hello again"]


async def test_who_opted_out_makes_no_room_by_writing(bridge: Harness, script: Script) -> None:
    """A private message of theirs makes no portal and no room and invites nobody, until they take part again."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "one")
    await bridge.settled()
    network = bridge.running.networks.get(NET)
    assert network is not None
    (login,) = network.logins()
    private = ChatId("dm-bob")
    await receive(bridge, script, RemoteConsent(private, BOB, False))
    rooms = len(bridge.homeserver.rooms())
    await receive(bridge, script, say("psst", chat=private, receiver=login.id))
    made = [row for row in bridge.running.engine.portals.all() if row.chat == private]
    assert (made, len(bridge.homeserver.rooms())) == ([], rooms)
    await bridge.running.engine.portals.ensure(NET, private, login.id)
    await receive(bridge, script, say("psst", chat=private, receiver=login.id))
    assert len(bridge.homeserver.rooms()) == rooms
    await receive(bridge, script, RemoteConsent(private, BOB, True))
    await receive(bridge, script, say("hello", chat=private, receiver=login.id))
    assert len(bridge.homeserver.rooms()) == rooms + 1


async def test_who_opted_out_has_no_portals_made(bridge: Harness, script: Script) -> None:
    """A command of theirs makes no room for a network that they left."""
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    await bridge.running.whomay.optouts.opt_out(UserId(admin.id), NET)
    assert "you opted out" in await _ask(bridge, admin, room, "portal net attic")
    assert not any(row.chat == "attic" for row in bridge.running.engine.portals.all())


async def test_who_opted_out_is_not_named_to_the_network(bridge: Harness, script: Script) -> None:
    """A reply to what they said before they opted out goes without their name."""
    room = await bridge.portal_room("net", "lobby")
    other = bridge.homeserver.user("other")
    other.join(room)
    first = bridge.alice.send(room, "before")
    await bridge.settled()
    other.reply(room, first, "named")
    await bridge.settled()
    await bridge.running.whomay.optouts.opt_out(ALICE)
    other.reply(room, first, "not named")
    await bridge.settled()
    replies = [message.reply_to for _, message in script.sent[1:] if isinstance(message, MatrixMessage)]
    assert [ref.matrix_sender.id if ref and ref.matrix_sender else None for ref in replies] == [ALICE, None]


async def test_an_older_word_lifts_no_refusal(bridge: Harness) -> None:
    """A consent that was given before a refusal, and is handled after it, changes nothing; a later one does."""
    optouts, bob = bridge.running.whomay.optouts, BOB.id
    portal = PortalRow(1, NET, ChatId("lobby"), None, ())
    await optouts.person(NET, bob, out=True, entry=5)
    await optouts.person(NET, bob, out=False, entry=3)
    await optouts.load()
    with pytest.raises(RejectedError):
        optouts.incoming(portal, BOB)
    await optouts.person(NET, bob, out=False, entry=6)
    optouts.incoming(portal, BOB)
