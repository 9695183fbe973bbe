"""Bans at run time: who is banned says nothing in either direction, from the command on and over restarts."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import LoginId, NetworkId, UserId
from bridge_core.api.network import Login
from bridge_core.engine.permissions import Permission
from tests.harness import Harness
from tests.invariants.scenes import BOB, CAROL, balances, notices, receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")


@pytest.fixture
def sections() -> dict[str, Any]:
    """Users of another server may use the bridge too."""
    return {"permissions": {"local": "user", "@admin:hs.test": "admin", "*.friend.org": "user"}}


@pytest.mark.parametrize("mask", ["@alice:hs.test", "@al*:hs.test", "@*ice:*"])
async def test_a_banned_user_reaches_no_network(bridge: Harness, script: Script, mask: str) -> None:
    """What a banned user says is rejected in words, also after a restart, until the ban is lifted."""
    room = await bridge.portal_room("net", "lobby")
    bans = bridge.running.whomay.bans
    await bans.add(mask, ADMIN, "spam")
    bridge.alice.send(room, "one")
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    bridge.alice.send(room, "two")
    assert (await balances(bridge))["net", 0].rejected == 2
    assert any("you are banned from this bridge (spam)" in text for text in notices(bridge, room))
    assert bridge.running.whomay.permissions.of(UserId(bridge.alice.id)) is Permission.BLOCKED
    await bridge.running.whomay.bans.remove(mask, ADMIN)
    bridge.alice.send(room, "three")
    await bridge.settled()
    assert script.texts() == ["three"]


async def test_a_banned_person_says_nothing_on_matrix(bridge: Harness, script: Script) -> None:
    """A ban on a ghost's name holds back the person behind it, and nobody else."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.running.whomay.bans.add("@_net_bob:hs.test", ADMIN)
    await receive(bridge, script, say("buy this"), say("hello", CAROL))
    assert (said(bridge, room, "bob"), said(bridge, room, "carol")) == ([], ["hello"])
    assert (await balances(bridge))["net", 1].rejected == 1
    await bridge.running.whomay.bans.remove("@_net_bob:hs.test", ADMIN)
    await receive(bridge, script, say("sorry", BOB))
    assert said(bridge, room, "bob") == ["sorry"]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("*", "everybody"),
        ("@*:*", "everybody"),
        ("local", "own bot"),
        ("hs.test", "own bot"),
        ("@*:hs.test", "own bot"),
        ("@adm*:*", "@admin:hs.test"),
        ("not a mask", "names no user"),
        ("@a*a*a*a*a*a*a*a*a*:x", "stars"),
    ],
)
async def test_what_must_not_be_banned_is_not(bridge: Harness, mask: str, words: str) -> None:
    """A ban never shuts out everybody, the bridge itself or an admin by name, and is refused in words."""
    with pytest.raises(RejectedError, match=words):
        await bridge.running.whomay.bans.add(mask, ADMIN)
    assert bridge.running.whomay.bans.all() == []
    assert bridge.running.whomay.permissions.of(ADMIN) is Permission.ADMIN


async def test_a_ban_beats_what_the_configuration_allows(bridge: Harness) -> None:
    """Deny wins: a server that the configuration lets in is out once banned; admins are told all bans."""
    permissions, bans = bridge.running.whomay.permissions, bridge.running.whomay.bans
    user = UserId("@a:chat.friend.org")
    assert permissions.of(user) is Permission.USER
    await bans.add("chat.friend.org", ADMIN, "x" * 1000)
    assert permissions.of(user) is Permission.BLOCKED
    assert [(ban.mask, ban.by, len(ban.reason)) for ban in bans.all()] == [("chat.friend.org", ADMIN, 500)]
    with pytest.raises(RejectedError, match="no ban"):
        await bans.remove("@a:chat.friend.org", ADMIN)
    assert permissions.of(UserId("@a:other.friend.org")) is Permission.USER


async def test_a_ban_ends_what_the_bridge_keeps_for_a_user(bridge: Harness, script: Script) -> None:
    """A banned user's provided login is closed, and what comes for them on the network makes no room."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "one")
    await bridge.settled()
    network = bridge.running.networks.get(NetworkId("net"))
    assert network is not None and len(network.logins()) == 1
    await network.add(Login(LoginId("own"), UserId("@carl:hs.test"), "Carl"))
    await bridge.running.whomay.bans.add("@alice:hs.test", ADMIN)
    await bridge.running.whomay.bans.add("@carl:hs.test", ADMIN)
    await bridge.until(lambda: [login.id for login in network.logins()] == ["own"])
    before = len(bridge.homeserver.rooms())
    await receive(bridge, script, say("psst", BOB, "dm-bob", receiver="own"))
    assert len(bridge.homeserver.rooms()) == before
    assert (await balances(bridge))["net", 1].rejected == 1
    await bridge.running.whomay.bans.remove("@carl:hs.test", ADMIN)
    await receive(bridge, script, say("psst", BOB, "dm-bob", receiver="own"))
    assert len(bridge.homeserver.rooms()) == before + 1
