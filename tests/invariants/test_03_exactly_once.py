"""Invariant 3: exactly once towards Matrix, whatever becomes of requests, answers, the homeserver and the bridge."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge_core.api.content import Attachment, Content, MediaKind
from bridge_core.api.events import RemoteMessage
from bridge_core.api.ids import ChatId, MessageId
from bridge_core.engine.names import Names
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile
from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.room import FakeRoom
from registration.namespaces import Template
from tests.harness import Harness
from tests.invariants.conftest import NETWORKS
from tests.invariants.scenes import BOB, CAROL, Gates, Recorder, balances, receive, rows, said, say
from tests.scripted import Script


def _tries(recorder: Recorder) -> dict[str, set[tuple[str, bytes]]]:
    """For each transaction id the different requests that were made under it."""
    found: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
    for one in recorder.of("/send/"):
        found[urlsplit(one.url).path.rpartition("/")[2]].add((one.url, one.body))
    return found


async def test_each_try_is_the_same_request(bridge: Harness, script: Script) -> None:
    """Over failures and a restart of the bridge every try has the same bytes, transaction id, sender and device."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    recorder = Recorder(bridge)
    bridge.homeserver.faults.lose_answer(times=2, match="/send/")
    bridge.homeserver.faults.fail_after(500, times=100, match="/send/")
    assert script.inbox is not None
    await script.inbox.receive([say("first", id=MessageId("1")), say("second", timestamp=1_700_000_000_000)])
    await bridge.until(lambda: len(recorder.of("/send/")) >= 3)
    await bridge.stop_bridge()
    bridge.homeserver.faults.clear()
    await bridge.start_bridge()
    await bridge.homeserver.wait_message(room, "second")
    await bridge.settled()
    tries = _tries(recorder)
    assert {len(requests) for requests in tries.values()} == {1}
    assert len(tries) == 2
    for ((url, body),) in tries.values():
        query = parse_qs(urlsplit(url).query)
        assert query["user_id"] == ["@_net_bob:hs.test"]
        assert any("device_id" in name for name in query), query
        assert orjson.loads(body)["dev.matrix_bridge.id"] in url
    assert said(bridge, room, "bob") == ["before", "first", "second"]
    assert (await balances(bridge))["net", 1].delivered == 3


async def test_two_ghosts_in_one_room_share_no_transaction_id(bridge: Harness, script: Script) -> None:
    """Synapse's key for an appservice ignores the user: the same remote id from two people gives two events."""
    room = await bridge.portal_room("net", "lobby")
    recorder = Recorder(bridge)
    both = [say("same", BOB, id=MessageId("1")), say("same", CAROL, id=MessageId("1"))]
    await receive(bridge, script, *both, *[say("same", who) for who in (BOB, CAROL)])
    assert (said(bridge, room, "bob"), said(bridge, room, "carol")) == (["same"] * 2, ["same"] * 2)
    assert len(_tries(recorder)) == 4


@example("a\x1fb\x1f", [2], [])
@given(st.text("a1:\x1f", max_size=8), st.lists(st.integers(0, 8)), st.lists(st.integers(0, 8)))
def test_ids_are_of_all_their_parts(text: str, cuts: list[int], others: list[int]) -> None:
    """However strangers choose their ids, separators included, no two sends have one transaction id."""

    def parts(places: list[int]) -> list[str]:
        at = [0, *sorted(places), 8]
        return [text[start:end].removesuffix("\x1f") for start, end in pairwise(at)]

    one, other = parts(cuts), parts(others)
    template = Template("_{network}_{id}")
    names = Names("hs.test", template, template, "@bot:hs.test", frozenset({"net"}), b"secret")  # type: ignore[arg-type]
    assert (names.send_id(*one) == names.send_id(*other)) == (one == other)


@pytest.fixture(name="basic")
async def _basic(tmp_path: Path, script: Script, gates: Gates) -> AsyncIterator[Harness]:
    harness = Harness(tmp_path, NETWORKS, {"scripted": script})
    harness.homeserver = FakeHomeserver(profile=FakeProfile.basic(), appservice=harness.appservice)
    async with harness:
        yield harness


async def test_without_devices_the_room_is_searched_before_resending(basic: Harness, script: Script) -> None:
    """A homeserver that forgets transaction ids with its restart still gets each message once."""
    room = await basic.portal_room("net", "lobby")
    await receive(basic, script, say("before"))
    basic.homeserver.faults.lose_answer(times=4, match="/send/")
    assert script.inbox is not None
    await script.inbox.receive([say("once", id=MessageId("1")), say("after")])
    await basic.until(lambda: "once" in said(basic, room, "bob"))
    await basic.homeserver.restart()
    await basic.homeserver.wait_message(room, "after")
    await basic.settled()
    assert said(basic, room, "bob") == ["before", "once", "after"]


async def test_a_room_is_made_once_when_the_answer_is_lost(bridge: Harness, script: Script) -> None:
    """createRoom has no transaction id: the reserved alias leads to the room that was made."""
    bridge.homeserver.faults.lose_answer(match="createRoom")
    await receive(bridge, script, say("hello"))
    (room,) = bridge.homeserver.rooms()
    assert said(bridge, room, "bob") == ["hello"]


async def test_a_room_made_half_way_is_finished(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A createRoom that failed after the create event left the alias in use: the room's state is brought up."""
    check = FakeRoom.check_send
    failed: list[str] = []

    def breaks(room: FakeRoom, sender: str, event_type: str, content: dict[str, Any], state_key: str | None) -> None:
        if event_type == "m.room.power_levels" and not failed:
            failed.append(room.id)
            raise MatrixError(500, "M_UNKNOWN", "half-way")
        check(room, sender, event_type, content, state_key)

    monkeypatch.setattr(FakeRoom, "check_send", breaks)
    await receive(bridge, script, say("hello"))
    assert bridge.homeserver.rooms() == failed
    room = bridge.homeserver.room(failed[0])
    assert room.content("m.room.name") == {"name": "The lobby"}
    assert room.content("m.room.history_visibility") == {"history_visibility": "joined"}
    assert room.content("m.room.join_rules") == {"join_rule": "public"}
    assert said(bridge, failed[0], "bob") == ["hello"]


async def test_a_media_address_is_stored_before_its_bytes_go(bridge: Harness, script: Script) -> None:
    """While the PUT is on its way the address is on the disk; the file is uploaded once, also over a restart."""
    assert script.host is not None and script.inbox is not None

    async def chunks() -> AsyncIterator[bytes]:
        yield b"bytes of a file"

    source = await script.host.blobs.put(chunks(), 1000)
    file = Attachment(MediaKind.FILE, "a.txt", source, "text/plain", 15)
    gate = bridge.homeserver.faults.hold(match="PUT .*/upload/")
    await script.inbox.receive([RemoteMessage(ChatId("lobby"), BOB, Content(attachments=(file,)))])
    await bridge.until(lambda: any("/upload/" in line for line in bridge.homeserver.requests))
    ((mxc,),) = rows(bridge, "SELECT mxc FROM media")
    assert bridge.homeserver.files() == [mxc]
    bridge.homeserver.faults.lose_answer(times=2, match="PUT .*/upload/")
    gate.set()
    await bridge.until(lambda: len(bridge.homeserver.rooms()) and said(bridge, bridge.homeserver.rooms()[0], "bob"))
    await bridge.settled()
    assert bridge.homeserver.files() == [mxc]
    assert bridge.homeserver.file(mxc) == b"bytes of a file"


async def test_a_message_is_stored_before_it_is_sent(bridge: Harness, script: Script, gates: Gates) -> None:
    """The final request is committed first: while that commit hangs the homeserver is asked for nothing."""
    await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    recorder = Recorder(bridge)
    gate = gates.hold("route.before_commit")
    assert script.inbox is not None
    await script.inbox.receive([say("held")])
    await gate.wait()
    await asyncio.sleep(0.05)
    assert recorder.of("/send/") == []
    gate.opened.set()
    await bridge.settled()
    assert len(recorder.of("/send/")) == 1
