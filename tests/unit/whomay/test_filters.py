"""Which chats may have portals: by configuration and by command, for portals that are not there yet."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.engine.filters import Filter, Filters, Verdict
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, notices, receive, said, say
from tests.scripted import Script

NET = NetworkId("net")


async def _ask(bridge: Harness, user: Any, room: str, text: str) -> str:
    before = len(notices(bridge, room))
    user.send(room, f"!bridge {text}")
    await bridge.until(lambda: len(notices(bridge, room)) > before)
    await bridge.settled()
    return "\n".join(notices(bridge, room)[before:])


async def test_filters_by_command(bridge: Harness, script: Script) -> None:
    """A denied chat gets no portal, by command or by its first message, also after a restart; what is there stays."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "I have a login")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    assert "needs the level admin" in await _ask(bridge, bridge.alice, room, "filter deny net *")
    assert "deny *" in await _ask(bridge, admin, room, "filter deny net *")
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert "may not be bridged here" in await _ask(bridge, admin, room, "portal net attic")
    before = len(bridge.homeserver.rooms())
    await receive(bridge, script, say("psst", BOB, "dm-bob", receiver="@alice:hs.test"), say("hello"))
    assert len(bridge.homeserver.rooms()) == before and said(bridge, room, "bob") == ["hello"]
    assert (await balances(bridge))["net", 1].rejected == 1
    assert "net: deny *" in await _ask(bridge, admin, room, "filter list")
    assert "is gone" in await _ask(bridge, admin, room, "filter remove net *")
    assert "no such filter" in await _ask(bridge, admin, room, "filter remove net *")
    await receive(bridge, script, say("psst", BOB, "dm-bob", receiver="@alice:hs.test"))
    assert len(bridge.homeserver.rooms()) == before + 1
    assert "you are invited" in await _ask(bridge, admin, room, "portal net attic")
    assert "there is no network nowhere" in await _ask(bridge, admin, room, "filter allow nowhere x")


async def test_deny_wins_over_allow(bridge: Harness) -> None:
    """Where something is allowed, the rest is not; what is denied is never; other networks are not concerned."""
    kv = bridge.running.database.kv
    filters = Filters([Filter(NET, Verdict.ALLOW, "#pub*"), Filter(NET, Verdict.DENY, "*-secret")], kv)
    filters.new_chat(NET, ChatId("#public"))
    filters.new_chat(NetworkId("other"), ChatId("#a-secret"))
    for chat in ("#private", "#pub-secret", "#PUB-Secret"):
        with pytest.raises(RejectedError):
            filters.new_chat(NET, ChatId(chat))
    with pytest.raises(RejectedError, match="stars"):
        await filters.add(Filter(NET, Verdict.DENY, "a*" * 9), UserId("@admin:hs.test"))
