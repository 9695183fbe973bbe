"""The first message in an encrypted room into which somebody of ours was just invited."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine.firstreaders import FirstReaders
from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest
from tests.encrypted import MEGOLM, EncryptedClient
from tests.harness import Harness
from tests.scripted import Script
from tests.unit.app.test_encryption import GHOST, bridged, said

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
BOT = "@bridgebot:hs.test"


async def anna(harness: Harness, script: Script) -> None:
    """Anna has a ghost, which has spoken in a plain room only."""
    script.provided = True
    room = await harness.portal_room("net", "hall")
    await said(script, "hello")
    await harness.homeserver.wait_message(room, "hello")
    assert not harness.homeserver.keys.devices.get(GHOST)


async def to_nobody(alice: EncryptedClient, room: str, body: str) -> tuple[str, dict[str, object]]:
    """What alice says where nobody has a device yet: type and content."""
    await alice.machine.room_encrypted(RoomId(room), {"algorithm": MEGOLM})
    content = orjson.dumps({"msgtype": "m.text", "body": body})
    request = SendRequest(RoomId(room), "m.room.message", body, alice.owner.user, alice.owner.device, content)
    found = await alice.machine.encrypt(request, frozenset())
    return found.type, orjson.loads(found.body)


@pytest.mark.parametrize("known", [True, False])
async def test_who_is_invited_has_keys_before_they_speak(tmp_path: Path, known: bool) -> None:
    """A ghost that is invited into an encrypted room, where nobody else of ours is, reads the first message there.

    `known`: it has spoken before; else the invitation makes it.
    """
    async with bridged(tmp_path, encryption={"missing_key_wait": "600s"}) as (harness, script):
        script.provided = True
        await harness.until(lambda: harness.homeserver.keys.devices.get(BOT))
        if known:
            await anna(harness, script)
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            private = harness.alice.create_room(
                preset="private_chat",
                invite=[GHOST],
                initial_state=[ENCRYPTION],
                power_level_content_override={"invite": 100},
            )
            # Nobody else can be invited by the ghost: it is alone, and has keys when it joins.
            there = harness.homeserver.room(private)
            await harness.homeserver.wait_for(lambda: there.membership(GHOST) == "join")
            assert harness.homeserver.keys.devices.get(GHOST)
            await alice.says(private, "psst")
            await harness.until(lambda: script.texts() == ["psst"])
            assert BOT not in there.members()


async def test_who_was_too_early_is_told_at_once(tmp_path: Path) -> None:
    """What was said before anybody of ours had keys is not waited for: its sender is told to say it again."""
    async with bridged(tmp_path, encryption={"missing_key_wait": "600s"}) as (harness, script):
        await anna(harness, script)
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            private = harness.alice.create_room(preset="private_chat", initial_state=[ENCRYPTION])
            early = await to_nobody(alice, private, "too early")
            harness.alice.invite(private, GHOST)
            harness.alice.send_event(private, *early)
            words = await alice.sees_part(private, "send it again: no device of mine could read it")
            assert "has not been delivered to net yet" in words
            assert harness.homeserver.room(private).membership(GHOST) == "join"
            await alice.says(private, "again")
            await harness.until(lambda: script.texts() == ["again"])
            # Its key may still come.
            await harness.until(lambda: len(harness.running.engine.decrypting) == 1)


async def test_what_may_be_readable_is_not_taken_for_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after keys were made it is not known whether a client knew of them; before and later it is."""
    monkeypatch.setattr("bridge_core.engine.firstreaders._HEARD", 600_000)
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        private = harness.alice.create_room(
            preset="private_chat", invite=[GHOST], power_level_content_override={"invite": 100}
        )
        await harness.until(lambda: harness.running.engine.portals.in_room(RoomId(private)))
        harness.alice.set_state(private, "m.room.encryption", {"algorithm": MEGOLM})
        await harness.homeserver.wait_for(lambda: harness.homeserver.keys.devices.get(GHOST))
        await asyncio.gather(*(task for task in asyncio.all_tasks() if "first-keys" in task.get_name()))
        early, now = harness.running.engine.decrypting.early, time.time_ns() // 1_000_000
        assert await early({"room_id": private, "origin_server_ts": now - 600_000}) == 0
        assert 0 < (await early({"room_id": private, "origin_server_ts": now}) or 0) <= 600
        assert await early({"room_id": private, "origin_server_ts": now + 600_000}) is None


async def test_a_bug_in_one_room_costs_the_others_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens while somebody gets keys, who is invited next gets theirs without a wait."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        ready, failed = FirstReaders._ready, []

        async def fails(self: FirstReaders, room: RoomId, user: UserId | None, *, encrypted: bool) -> None:
            if not failed:
                failed.append(room)
                # A second room comes into the queue behind the one at work, and none after it.
                self._want(RoomId("!next:hs.test"), None, encrypted=False)
                monkeypatch.setattr(FirstReaders, "_want", lambda *_, **__: None)
                raise ZeroDivisionError
            await ready(self, room, user, encrypted=encrypted)
            done.append(room)

        done: list[RoomId] = []
        monkeypatch.setattr(FirstReaders, "_ready", fails)
        room = harness.alice.create_room(preset="private_chat", invite=[GHOST], initial_state=[ENCRYPTION])
        await harness.until(lambda: done)
        assert failed == [room] and done == ["!next:hs.test"]


async def test_what_was_said_before_the_join_is_heard(tmp_path: Path) -> None:
    """Homeservers send a bridge nothing of a room that none of its users has joined yet: it is read there, once.

    What was said before the invitation is not for the network.
    """
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.send(private, "before")
        harness.alice.invite(private, GHOST)
        harness.alice.send(private, "at once")
        await harness.until(lambda: script.texts())
        harness.alice.send(private, "later")
        await harness.until(lambda: len(script.texts()) > 1)
        admin = harness.homeserver.user("admin")
        desk = admin.create_room(preset="private_chat", invite=[BOT])
        admin.send(desk, "list net")
        await harness.homeserver.wait_event(desk, lambda event: "hall: " in str(event["content"].get("body")))
        await harness.settled()
        assert script.texts() == ["at once", "later"]


async def test_all_that_was_said_before_the_join_is_heard(tmp_path: Path) -> None:
    """However much that is, in its order: after an outage the join comes late."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.invite(private, GHOST)
        texts = [f"m{number}" for number in range(130)]
        for text in texts:
            harness.alice.send(private, text)
        await harness.until(lambda: texts[-1] in script.texts())
        assert script.texts() == texts


def lost(harness: Harness, room: str) -> list[str]:
    """What the room was told to be lost."""
    return [body for _, body in harness.homeserver.messages(room) if "is lost" in body]


def asked_for_pages(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], Exception | None]
) -> list[object]:
    """From now on pages of rooms are counted, and the n-th fails as `fails(n)` says."""
    homeserver, pages = harness.running.matrix._rooms._hs, []  # type: ignore[attr-defined]
    get = homeserver.get

    async def counted(*path: Any, **more: Any) -> Any:
        if path[-1] == "messages":
            pages.append(path)
            if (error := fails(len(pages))) is not None:
                raise error
        return await get(*path, **more)

    monkeypatch.setattr(homeserver, "get", counted)
    return pages


@pytest.mark.parametrize("end", ["bound", "refused"])
async def test_what_cannot_be_read_before_the_join_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """What is beyond the bound, or refused, is lost, and the room is told so; what was read before it is heard."""
    monkeypatch.setattr("bridge_core.matrix.rooms._PAGE", "10")
    monkeypatch.setattr("bridge_core.engine.roomevents._PAGES", 2 if end == "bound" else 100)
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        refused = MatrixRejectedError("M_UNKNOWN", "no", 400)
        asked_for_pages(harness, monkeypatch, lambda page: refused if end == "refused" and page == 3 else None)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.invite(private, GHOST)
        for number in range(40):
            harness.alice.send(private, f"m{number}")
        await harness.homeserver.wait_event(private, lambda event: "is lost" in str(event["content"].get("body")))
        await harness.until(lambda: "m19" in script.texts())
        assert script.texts() == [f"m{number}" for number in range(20)]


async def test_a_later_try_reads_what_was_said_before_the_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the homeserver gives no pages the room goes on: what was said before the join is not behind all that."""
    monkeypatch.setattr("bridge_core.matrix.rooms._PAGE", "5")
    monkeypatch.setattr("bridge_core.engine.roomevents._PAGES", 2)
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        down = True
        error = TransientError("the homeserver answered 502")
        pages = asked_for_pages(harness, monkeypatch, lambda _: error if down else None)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.invite(private, GHOST)
        harness.alice.send(private, "before")
        await harness.until(lambda: pages)
        for number in range(40):
            harness.alice.send(private, f"m{number}")
        await harness.homeserver.wait_pushed()
        down = False
        await harness.until(lambda: "before" in script.texts() and "m39" in script.texts())
        assert lost(harness, private) == []


@pytest.mark.parametrize("visibility", ["invited", "joined"])
async def test_a_history_for_who_has_joined_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visibility: str
) -> None:
    """Where the room's history is not for who was invited, nothing is asked for, and nothing is said to be lost."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        pages = asked_for_pages(harness, monkeypatch, lambda _: None)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.set_state(private, "m.room.history_visibility", {"history_visibility": visibility})
        harness.alice.invite(private, GHOST)
        harness.alice.send(private, "at once")
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(private).membership(GHOST) == "join")
        await harness.until(lambda: harness.running.engine.portals.in_room(RoomId(private)))
        harness.alice.send(private, "later")
        await harness.until(lambda: "later" in script.texts())
        await harness.settled()
        closed = visibility == "joined"
        assert bool(pages) is not closed and ("at once" in script.texts()) is not closed
        assert lost(harness, private) == []


async def test_a_room_where_somebody_of_ours_is_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bridged room all comes with transactions: whoever is invited there costs no page, which could fail."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        room = await harness.portal_room("net", "hall")
        matrix = harness.running.matrix
        open_history = {"history_visibility": "shared"}
        await matrix.set_state(RoomId(room), "m.room.history_visibility", "", open_history, matrix.bot)
        bob = RemoteSender(RemoteUserId("bob"), "Bob")
        ghost = (await harness.running.engine.ghosts.ensure(NetworkId("net"), bob)).user
        pages = asked_for_pages(harness, monkeypatch, lambda _: TransientError("the homeserver answered 500"))
        harness.alice.invite(room, ghost)
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(ghost) == "join")
        harness.alice.send(room, "later")
        await harness.until(lambda: "later" in script.texts())
        assert pages == []


async def test_a_full_journal_loses_nothing_said_before_the_join(tmp_path: Path) -> None:
    """The invitation is in the journal until all of it is stored: it does not wait for room that it takes itself."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        await harness.settled()
        settings = harness.running.journal._settings
        object.__setattr__(settings, "max_pending", 5)
        object.__setattr__(settings, "full_timeout", 0.1)
        private = harness.alice.create_room(preset="private_chat")
        harness.alice.invite(private, GHOST)
        texts = [f"m{number}" for number in range(20)]
        for text in texts:
            harness.alice.send(private, text)
        await harness.until(lambda: script.texts() == texts)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_who_is_not_needed_gets_no_keys(tmp_path: Path, encrypted: bool) -> None:
    """A ghost that is invited where the bot reads already, or where nothing is encrypted, costs nothing."""
    async with bridged(tmp_path) as (harness, script):
        await anna(harness, script)
        await harness.until(lambda: harness.homeserver.keys.devices.get(BOT))
        invite = [BOT] if encrypted else []
        room = harness.alice.create_room(
            preset="private_chat", invite=invite, initial_state=[ENCRYPTION] if encrypted else []
        )
        if encrypted:
            await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(BOT) == "join")
            await harness.settled()
        harness.alice.invite(room, GHOST)
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(room).membership(GHOST) == "join")
        await harness.settled()
        tasks = [task for task in asyncio.all_tasks() if "first-keys" in task.get_name()]
        await asyncio.gather(*tasks)
        assert not harness.homeserver.keys.devices.get(GHOST)


async def test_a_ghost_alone_in_a_room_that_becomes_encrypted_has_keys(tmp_path: Path) -> None:
    """A private chat without the bot goes on when its user turns encryption on, from the first message."""
    async with bridged(tmp_path, encryption={"missing_key_wait": "600s"}) as (harness, script):
        await anna(harness, script)
        private = harness.alice.create_room(
            preset="private_chat", invite=[GHOST], power_level_content_override={"invite": 100}
        )
        await harness.until(lambda: harness.running.engine.portals.in_room(RoomId(private)))
        async with EncryptedClient(harness.homeserver, harness.alice) as alice:
            harness.alice.set_state(private, "m.room.encryption", {"algorithm": MEGOLM})
            await harness.homeserver.wait_for(lambda: harness.homeserver.keys.devices.get(GHOST))
            await alice.says(private, "psst")
            await harness.until(lambda: script.texts() == ["psst"])


async def test_who_may_not_invite_costs_no_keys(tmp_path: Path) -> None:
    """Whom the bridge does not serve cannot make it upload keys, however many ghosts they invite."""
    async with bridged(tmp_path, permissions={"local": "relay"}) as (harness, script):
        await anna(harness, script)
        room = harness.alice.create_room(preset="private_chat", invite=[GHOST], initial_state=[ENCRYPTION])
        await harness.settled()
        tasks = [task for task in asyncio.all_tasks() if "first-keys" in task.get_name()]
        await asyncio.gather(*tasks)
        assert not harness.homeserver.keys.devices.get(GHOST)
        assert harness.homeserver.room(room).membership(GHOST) == "invite"
