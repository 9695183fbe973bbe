"""Consent of the other side: nothing crosses before it is given or after it is taken back."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import RemoteConsent, RemoteJoinRequest, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.api.network import Consent
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.consents import CONSENT, EVIDENCE, against, given_since
from bridge_core.engine.gate import Gate
from bridge_core.engine.grants import Grants
from bridge_core.engine.plumbing import Plumbing
from bridge_core.engine.roomfacts import RoomReader
from bridge_core.engine.store_ports import PortalRow
from tests.able import AbleScript
from tests.harness import Harness
from tests.invariants.scenes import CAROL, balances, notices, receive, said, say
from tests.scripted import Script

OWNER = RemoteSender(RemoteUserId("owner"), "Olga")


def _portal(bridge: Harness, chat: str = "lobby") -> PortalRow:
    found = bridge.running.engine.portals.get(PortalKey(NetworkId("net"), ChatId(chat)))
    assert found is not None
    return found


@pytest.mark.parametrize("word", ["asked", "refused", "something of a newer version"])
async def test_nothing_crosses_without_consent(bridge: Harness, script: Script, word: str) -> None:
    """While the other side was only asked, or refused, or said what is not understood, both directions are closed."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.running.engine.portals.set_option(_portal(bridge), CONSENT, word)
    await bridge.stop_bridge()
    await bridge.start_bridge()
    for text in ("one", "two"):
        bridge.alice.send(room, text)
    await receive(bridge, script, say("hello", CAROL))
    found = await balances(bridge)
    assert (found["net", 0].rejected, found["net", 1].rejected) == (2, 1)
    assert script.sent == [] and said(bridge, room, "carol") == []
    assert len([text for text in notices(bridge, room) if "the other side" in text]) == 1


async def test_consent_opens_and_its_end_closes(bridge: Harness, script: Script) -> None:
    """Granted: messages cross. Taken back: at once nothing does. The room hears of both, the evidence is kept."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.running.engine.portals.set_option(_portal(bridge), CONSENT, "asked")
    await receive(bridge, script, RemoteConsent(ChatId("lobby"), OWNER, True, "signed 17"), say("hello", CAROL))
    assert said(bridge, room, "carol") == ["hello"]
    assert _portal(bridge).options[EVIDENCE]["evidence"] == "signed 17"
    assert _portal(bridge).options[EVIDENCE]["by"] == "owner"
    assert any("Olga allows that this chat is bridged" in text for text in notices(bridge, room))
    await receive(bridge, script, RemoteConsent(ChatId("lobby"), OWNER, False))
    await receive(bridge, script, say("anybody?", CAROL))
    bridge.alice.send(room, "no")
    await bridge.settled()
    assert script.sent == [] and said(bridge, room, "carol") == ["hello"]
    assert sum("does not want this chat to be bridged. Nothing" in text for text in notices(bridge, room)) == 1


async def test_since_when_consent_is_given(bridge: Harness, script: Script) -> None:
    """It counts from the first yes after a no, and a yes that is said again does not move it."""

    async def hear(granted: bool) -> int:
        await receive(bridge, script, RemoteConsent(ChatId("lobby"), OWNER, granted))
        return given_since(_portal(bridge))

    await bridge.portal_room("net", "lobby")
    first = await hear(True)
    await asyncio.sleep(0.002)  # times are milliseconds
    assert 0 < first == await hear(True)
    assert await hear(False) == 0
    assert await hear(True) > first


@pytest.mark.parametrize(("said", "begins"), [(Consent.GRANTED, True), (Consent.NOT_NEEDED, False)])
async def test_a_yes_of_old_counts_from_when_we_heard_of_it(tmp_path: Path, said: Consent, begins: bool) -> None:
    """Where they agreed before anybody asked, it counts from the asking; where nobody is asked, from no time."""
    script = AbleScript()
    script.consent = said
    async with Harness(tmp_path, {"net": {"type": "scripted"}}, {"scripted": script}) as bridge:
        features = bridge.running.engine.room_features
        portal = await features.plumbing.portal(UserId(bridge.alice.id), NetworkId("net"), ChatId("den"), "den")
        assert bool(given_since(portal)) is begins
        assert not against(portal)


async def test_a_refusal_does_not_wait_in_the_lane(bridge: Harness, script: Script) -> None:
    """While the chat's lane stands still, a refusal counts from the moment it is acknowledged, and is not undone
    by a consent that was given before and is handled later."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    bridge.homeserver.faults.answer(502, times=10_000, match="/send/")
    await script.inbox.receive([say("held up", CAROL), RemoteConsent(ChatId("lobby"), OWNER, True)])
    await script.inbox.receive([RemoteConsent(ChatId("lobby"), OWNER, False)])
    assert _portal(bridge).options[CONSENT] == "refused"
    bridge.alice.send(room, "may I?")
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 0, "rejected")) == 1)
    assert script.sent == []
    bridge.homeserver.faults.clear()
    bridge.running.engine.to_matrix.wake()
    await bridge.settled()
    assert _portal(bridge).options[CONSENT] == "refused"


async def test_a_refusal_that_cannot_be_stored_is_done_in_the_lane(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the database in the wrong moment loses no refusal."""
    room = await bridge.portal_room("net", "lobby")
    portals, failures = bridge.running.engine.portals, []
    kept = portals.set_options

    async def failing(*given: object) -> PortalRow:
        if not failures:
            failures.append(given)
            raise TransientError("locked")
        return await kept(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(portals, "set_options", failing)
    await receive(bridge, script, RemoteConsent(ChatId("lobby"), OWNER, False))
    assert failures and _portal(bridge).options[CONSENT] == "refused"
    assert any("does not want" in text for text in notices(bridge, room))


async def test_a_request_to_join_is_told_with_what_to_do(bridge: Harness, script: Script) -> None:
    """The room hears who asks to be let in, why, and whom to invite."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, RemoteJoinRequest(ChatId("lobby"), CAROL, "I know Alice"))
    (text,) = notices(bridge, room)
    assert text == (
        "Carol asks to be let in (I know Alice). To let them in, invite @_net_carol:hs.test; otherwise do nothing."
    )


@pytest.mark.parametrize(
    ("said", "granted", "word"),
    [(Consent.ASKED, True, "granted"), (Consent.GRANTED, False, "refused"), (Consent.REFUSED, True, "refused")],
)
async def test_a_word_that_comes_while_it_is_asked_counts(
    tmp_path: Path, said: Consent, granted: bool, word: str
) -> None:
    """The other side may answer before the asking returns: what it answered is not overwritten, and a no wins."""
    script = AbleScript()
    async with Harness(tmp_path, {"net": {"type": "scripted"}}, {"scripted": script}) as bridge:
        network = bridge.running.networks.get(NetworkId("net"))
        assert network is not None

        async def consent(chat: ChatId, user: UserId, about: RoomFacts | None) -> Consent:
            await receive(bridge, script, RemoteConsent(chat, OWNER, granted))
            return said

        network.connector.consent = consent  # type: ignore[attr-defined]
        room = RoomId(bridge.alice.create_room())
        portals = bridge.running.engine.portals
        plumbing = Plumbing(bridge.running.networks, portals, Gate(), Grants(bridge.running.networks), SystemClock())
        await portals.add_room(await portals.ensure(network.id, ChatId("den")), room)
        with contextlib.suppress(RejectedError):
            await plumbing.portal(UserId(bridge.alice.id), network.id, ChatId("den"), "den")
        assert _portal(bridge, "den").options[CONSENT] == word


async def test_the_other_side_hears_of_the_room(tmp_path: Path) -> None:
    """Who is asked is told how many Matrix users are there, bot and ghosts not counted, and who reads its history."""
    script = AbleScript()
    told: list[RoomFacts | None] = []
    async with Harness(tmp_path, {"net": {"type": "scripted"}}, {"scripted": script}) as bridge:
        network = bridge.running.networks.get(NetworkId("net"))
        assert network is not None

        async def consent(chat: ChatId, user: UserId, about: RoomFacts | None) -> Consent:
            told.append(about)
            return Consent.GRANTED

        network.connector.consent = consent  # type: ignore[attr-defined]
        room = RoomId(bridge.alice.create_room(invite=[bridge.homeserver.bot]))
        ghost = UserId("@_net_carol:hs.test")
        matrix = bridge.running.matrix
        await bridge.settled()
        await matrix.ensure_registered(ghost)
        await matrix.join(room, ghost)
        content = {"history_visibility": "invited"}
        bridge.alice.set_state(room, "m.room.history_visibility", content)
        bridge.alice.send(room, "!bridge bridge net den")
        await bridge.settled()
        assert len(await matrix.members(room)) == 3
        assert told == [RoomFacts(1, "invited")]
        assert (
            await RoomReader(matrix, bridge.running.engine.names.is_ours).facts(RoomId("!other:hs.test")) == RoomFacts()
        )
