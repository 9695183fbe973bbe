"""Invariant 8: ids chosen by strangers suppress nobody."""

from pathlib import Path
from typing import Any

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteEdit, RemoteReaction, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from tests.harness import Harness
from tests.invariants.scenes import BOB, CAROL, balances, receive, said, say
from tests.scripted import Script

ID = MessageId("chosen")
LOBBY = ChatId("lobby")


async def test_another_senders_id_is_another_message(bridge: Harness, script: Script) -> None:
    """Who reuses an id, before or after its owner, neither hides nor replaces what the owner says."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("carol was first", CAROL, id=ID), say("mine", BOB, id=ID), say("x", BOB, id=ID))
    assert (said(bridge, room, "carol"), said(bridge, room, "bob")) == (["carol was first"], ["mine"])
    assert (await balances(bridge))["net", 1].duplicate == 1


async def test_another_portals_id_is_another_message(bridge: Harness, script: Script) -> None:
    """The same person and id in another chat, or to another receiver, is not a duplicate."""
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    await receive(bridge, script, say("in the lobby", id=ID), say("in the garden", chat="garden", id=ID))
    assert (said(bridge, lobby, "bob"), said(bridge, garden, "bob")) == (["in the lobby"], ["in the garden"])
    assert (await balances(bridge))["net", 1].duplicate == 0


async def test_another_kind_is_another_event(bridge: Harness, script: Script) -> None:
    """An edit, reaction or redaction under an id that a message had is not a duplicate of it."""
    room = await bridge.portal_room("net", "lobby")
    await receive(
        bridge,
        script,
        say("mine", id=ID),
        RemoteReaction(LOBBY, CAROL, ID, "+1", id=ID),
        RemoteEdit(LOBBY, BOB, ID, Content((Plain("better"),)), id=ID),
        RemoteRedaction(LOBBY, BOB, ID, id=ID),
    )
    found = (await balances(bridge))["net", 1]
    assert (found.duplicate, found.ignored, found.accepted) == (0, 0, 4)
    assert said(bridge, room, "bob")[0] == "None"  # redacted


async def test_separators_in_ids_merge_nobody(bridge: Harness, script: Script) -> None:
    """A name that ends as another's id begins gives no duplicate."""
    await bridge.portal_room("net", "lobby")
    one = RemoteSender(RemoteUserId("a"), "A")
    two = RemoteSender(RemoteUserId("a\x1fRemoteMessage"), "B")
    await receive(bridge, script, say("1", one, id=MessageId("RemoteMessage\x1fb")), say("2", two, id=MessageId("b")))
    assert (await balances(bridge))["net", 1].delivered == 2


async def test_another_networks_ids_are_its_own(tmp_path: Path) -> None:
    """Two networks of one bridge may use the same ids for chats, people and messages."""
    scripts = {"one": Script(), "two": Script()}

    def make(network: NetworkId, config: Any) -> Any:
        return scripts[network](network, config)

    make.config_model = Script.config_model  # type: ignore[attr-defined]
    networks = {name: {"type": "scripted", "portals": ["lobby"]} for name in scripts}
    async with Harness(tmp_path, networks, {"scripted": make}) as bridge:
        for name, script in scripts.items():
            room = await bridge.portal_room(name, "lobby")
            await receive(bridge, script, say(f"on {name}", id=ID))
            bodies = [body for sender, body in bridge.homeserver.messages(room) if sender == f"@_{name}_bob:hs.test"]
            assert bodies == [f"on {name}"]


async def test_an_event_id_of_matrix_is_stored_once_by_itself(bridge: Harness, script: Script) -> None:
    """Event ids are the homeserver's word: known ones end as duplicates, and cost the others of their batch nothing."""
    from tests.invariants.scenes import Events, event

    room = await bridge.portal_room("net", "lobby")
    accept = bridge.running.engine.intake.accept
    await accept(Events([event(room, 1)], "1"))
    await accept(Events([event(room, 0), event(room, 1), event(room, 2)], "2"))
    found = (await balances(bridge))["net", 0]
    assert (sorted(script.texts()), found.duplicate) == ([f"pushed {number}" for number in range(3)], 1)
