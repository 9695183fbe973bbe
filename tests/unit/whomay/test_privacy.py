"""The privacy filter: nothing is shown while somebody reads along who is not in the chat; nothing is lost for it."""

from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteConsent, RemoteTyping
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, UserId
from bridge_core.api.network import Login
from bridge_core.engine import privacy as privacy_module
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, notices, said, say
from tests.scripted import Script, ScriptedConnector

NET = NetworkId("net")


class Present(Script):
    """A network that knows who is in its chats. `inside` None: it does not know now."""

    def __init__(self) -> None:
        super().__init__()
        self.provided = True
        self.inside: set[str] | None = set()
        self.refuses = ""
        self.prepared: list[str] = []

    def __call__(self, network: NetworkId, config: Any) -> "PresentConnector":
        return PresentConnector(self, network)


class PresentConnector(ScriptedConnector):
    """Tells what the script says."""

    def absent(self, chat: ChatId, users: Collection[UserId]) -> Mapping[UserId, str] | None:
        inside = self._script.inside  # type: ignore[attr-defined]
        return None if inside is None else {user: "not in the channel" for user in users if user not in inside}

    async def provide(self, user: UserId, name: str) -> Login | None:
        if self._script.refuses:  # type: ignore[attr-defined]
            raise RejectedError(self._script.refuses)  # type: ignore[attr-defined]
        self._script.prepared.append(user)  # type: ignore[attr-defined]
        return await super().provide(user, name)


@pytest.fixture(name="present")
def _present(monkeypatch: pytest.MonkeyPatch) -> Present:
    for name in ("_EVERY", "_PATIENCE", "_AGAIN"):
        monkeypatch.setattr(privacy_module, name, 0.02)
    return Present()


@pytest.fixture(name="privacy")
def _privacy() -> dict[str, Any]:
    return {"all_members_joined": True}


@pytest.fixture(name="guarded")
async def _guarded(tmp_path: Path, present: Present, privacy: dict[str, Any]) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "privacy": privacy}}
    async with Harness(tmp_path, networks, {"scripted": present}) as bridge:
        yield bridge


async def _room(bridge: Harness) -> str:
    """The portal's room; alice is in it, let in by hand."""
    portals = bridge.running.engine.portals
    room = await bridge.running.engine.rooms.ensure(await portals.ensure(NET, ChatId("lobby")))
    await bridge.running.matrix.invite(room, UserId(bridge.alice.id))
    bridge.alice.join(room)
    await bridge.homeserver.wait_pushed()
    return room


async def _say(script: Script, *texts: str) -> None:
    assert script.inbox is not None
    await script.inbox.receive([say(text, BOB) for text in texts])


async def _held(bridge: Harness) -> None:
    await bridge.until(lambda: bridge.running.privacy.held() == 1)


async def test_what_is_held_is_shown_in_order_once_nobody_is_in_the_way(guarded: Harness, present: Present) -> None:
    """The room hears who is in the way and why, the user's connection is asked to enter, and nothing is lost."""
    room = await _room(guarded)
    await _say(present, "one", "two")
    await _held(guarded)
    await guarded.until(lambda: any("held back" in text for text in notices(guarded, room)))
    (told,) = [text for text in notices(guarded, room) if "held back" in text]
    assert guarded.alice.id in told and "not in the channel" in told
    assert present.prepared == [guarded.alice.id]
    assert said(guarded, room, "bob") == []
    await _say(present, "three")
    assert present.inside is not None
    present.inside.add(guarded.alice.id)
    await guarded.until(lambda: said(guarded, room, "bob") == ["one", "two", "three"])
    await guarded.settled()
    assert guarded.running.privacy.held() == 0
    assert any("shown" in text and "Everybody" in text for text in notices(guarded, room))
    assert (await balances(guarded))["net", 1].delivered == 3


async def test_who_comes_meanwhile_stops_what_is_ready_to_be_sent(guarded: Harness, present: Present) -> None:
    """The check is made before each message, and after a restart: what was prepared before somebody came is held."""
    room = await _room(guarded)
    assert present.inside is not None
    present.inside.add(guarded.alice.id)
    await _say(present, "for alice")
    await guarded.until(lambda: said(guarded, room, "bob") == ["for alice"])
    present.inside.clear()
    await _say(present, "not for alice")
    await _held(guarded)
    await guarded.stop_bridge()
    await guarded.start_bridge()
    await _held(guarded)
    assert said(guarded, room, "bob") == ["for alice"]
    guarded.alice.leave(room)
    await guarded.until(lambda: said(guarded, room, "bob") == ["for alice", "not for alice"])


async def test_who_types_is_hidden_as_well(guarded: Harness, present: Present) -> None:
    """While somebody is in the way the room does not see who types; afterwards it does."""
    room = await _room(guarded)
    present.inside = {guarded.alice.id}
    await _say(present, "hello")
    await guarded.until(lambda: said(guarded, room, "bob") == ["hello"])
    present.inside = set()
    assert present.inbox is not None
    await present.inbox.receive([RemoteTyping(ChatId("lobby"), BOB, 30.0)])
    await guarded.settled()
    portal = guarded.running.engine.portals.get(PortalKey(NET, ChatId("lobby")))
    assert portal is not None
    assert await guarded.running.privacy.hides(portal, portal.rooms[0])
    assert guarded.homeserver.room(room).typing == set()
    present.inside = {guarded.alice.id}
    await present.inbox.receive([RemoteTyping(ChatId("lobby"), BOB, 30.0)])
    await guarded.until(lambda: guarded.homeserver.room(room).typing == {"@_net_bob:hs.test"})


@pytest.mark.parametrize("unknown", ["the network", "the homeserver"], ids=["network", "homeserver"])
async def test_what_is_not_known_holds(guarded: Harness, present: Present, unknown: str) -> None:
    """While the network or the homeserver cannot tell who is there, nothing is shown."""
    room = await _room(guarded)
    if unknown == "the network":
        present.inside = None
    else:
        guarded.running.engine.members.forget(room)  # type: ignore[arg-type]
        guarded.homeserver.faults.answer(502, times=10_000, match="members")
    await _say(present, "psst")
    await _held(guarded)
    await guarded.until(lambda: any(unknown in text for text in notices(guarded, room)))
    assert said(guarded, room, "bob") == []
    guarded.homeserver.faults.clear()
    present.inside = {guarded.alice.id}
    await guarded.until(lambda: said(guarded, room, "bob") == ["psst"])


async def test_a_room_whose_history_is_open_gets_nothing(guarded: Harness, present: Present) -> None:
    """Whoever comes later would read it: held until the room keeps its past to those who were there."""
    room = await _room(guarded)
    present.inside = {guarded.alice.id}
    bot = guarded.running.matrix.bot
    for visibility in ("shared", "world_readable"):
        content = {"history_visibility": visibility}
        await guarded.running.matrix.set_state(room, "m.room.history_visibility", "", content, bot)  # type: ignore[arg-type]
        guarded.running.privacy.visible(room)  # type: ignore[arg-type]
        await _say(present, visibility)
        await _held(guarded)
        assert said(guarded, room, "bob") == []
    content = {"history_visibility": "joined"}
    await guarded.running.matrix.set_state(room, "m.room.history_visibility", "", content, bot)  # type: ignore[arg-type]
    guarded.running.privacy.visible(room)  # type: ignore[arg-type]
    await guarded.until(lambda: said(guarded, room, "bob") == ["shared", "world_readable"])


async def test_a_no_rejects_what_is_held(guarded: Harness, present: Present) -> None:
    """When the chat does not want to be bridged any more, what waits is never shown, and the chat's end is not held."""
    room = await _room(guarded)
    await _say(present, "secret")
    await _held(guarded)
    assert present.inbox is not None
    await present.inbox.receive([RemoteConsent(ChatId("lobby"), BOB, False)])
    present.inside = {guarded.alice.id}
    await guarded.settled()
    assert said(guarded, room, "bob") == []
    assert (await balances(guarded))["net", 1].rejected == 1


async def test_rooms_let_in_who_is_in_the_chat(guarded: Harness, present: Present) -> None:
    """Such a room is knocked at; who is in the chat is invited, and nobody else; members cannot invite others in."""
    room = await _room(guarded)
    there = guarded.homeserver.room(room)
    assert there.content("m.room.join_rules") == {"join_rule": "knock"}
    assert there.content("m.room.history_visibility") == {"history_visibility": "joined"}
    assert there.content("m.room.power_levels")["invite"] == 50
    carol = UserId("@carol:hs.test")
    knock = {"room_id": room, "state_key": carol, "content": {"membership": "knock"}}
    await guarded.running.privacy.membership(knock)
    await guarded.until(lambda: carol in present.prepared)
    assert there.membership(carol) is None
    assert present.inside is not None
    present.inside.add(carol)
    await guarded.until(lambda: there.membership(carol) == "invite")


@pytest.mark.parametrize("privacy", [{"all_members_joined": True, "kick_after": "100ms"}], ids=["kick"])
async def test_who_stays_in_the_way_is_removed_where_that_is_configured(guarded: Harness, present: Present) -> None:
    """After `kick_after` the user is out of the room, with the reason, and what was held is shown to the others."""
    present.refuses = "you are banned from the channel"
    room = await _room(guarded)
    await _say(present, "hello")
    there = guarded.homeserver.room(room)
    await guarded.until(lambda: there.membership(guarded.alice.id) == "leave")
    await guarded.until(lambda: said(guarded, room, "bob") == ["hello"])


@pytest.mark.parametrize(
    "privacy", [{"all_members_joined": True, "exempt": ["@alice:hs.test"]}, {"all_members_joined": False}]
)
async def test_exempt_users_and_other_networks_hold_nothing(guarded: Harness, present: Present) -> None:
    """Who may read along does, and where the filter is off nobody is asked."""
    room = await _room(guarded)
    await _say(present, "hello")
    await guarded.until(lambda: said(guarded, room, "bob") == ["hello"])
