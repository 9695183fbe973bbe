"""The past of chats: what is fetched, what is shown of it, in which order, and never twice."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import RemoteConsent, RemoteEvent, RemoteMessage, RemoteReaction, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.network import History, Login, LoginStatus, Sent
from bridge_core.engine.clients import LoggedIn
from bridge_core.engine.consents import CONSENT
from tests.harness import Harness
from tests.scripted import Script, TellingClient

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
NOW = int(time.time() * 1000)


def said(text: str, *, ago: float = 0, chat: str = "hall", known_as: str = "") -> RemoteMessage:
    """Bob's message, said some seconds ago; its id is its text."""
    timestamp = int((time.time() - ago) * 1000)
    return RemoteMessage(ChatId(chat), BOB, Content((Plain(text),)), MessageId(known_as or text), timestamp)


class Keeper:
    """A network that keeps everything: its cursor is the id of the last message told."""

    def __init__(self, *events: RemoteEvent, public: bool = True) -> None:
        self.events = list(events)
        self.public = public
        self.most = 100
        self.failures: list[BaseException] = []

    def __call__(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        if self.failures:
            raise self.failures.pop(0)
        there = [event for event in self.events if event.chat == chat]  # type: ignore[union-attr]
        ids = [event.id for event in there]  # type: ignore[union-attr]
        limit = min(limit, self.most)
        start = ids.index(MessageId(after.decode())) + 1 if after is not None else max(0, len(there) - limit)
        told = there[start : start + limit]
        cursor = ids[start + len(told) - 1].encode() if start + len(told) else None  # type: ignore[union-attr]
        return History(tuple(told), cursor, more=start + len(told) < len(there), public=self.public)


class Scene:
    """A bridge to a network that tells history, and the room of one chat with alice in it."""

    def __init__(self, tmp_path: Path, keeper: Callable[..., History], **backfill: Any) -> None:
        self.script = Script()
        self.script.tell = keeper
        networks = {"net": {"type": "scripted", "portals": ["hall", "den"], "backfill": {"rate": 1000, **backfill}}}
        self.harness = Harness(tmp_path, networks, adapters={"scripted": self.script})

    async def __aenter__(self) -> "Scene":
        await self.harness.__aenter__()
        self.room = await self.harness.portal_room("net", "hall")
        await self.harness.settled()
        await self.idle()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.harness.__aexit__(*error)

    @property
    def engine(self) -> Any:
        return self.harness.running.engine

    async def receive(self, *events: RemoteEvent) -> None:
        """The network says something now."""
        assert self.script.inbox is not None
        await self.script.inbox.receive(events)

    async def idle(self) -> None:
        """Nothing is being fetched, and all of it has arrived."""
        await self.harness.until(lambda: not self.engine.backfill.busy())
        await self.harness.until(lambda: not self.engine.to_matrix.busy())
        await self.harness.running.journal.settled()

    def away(self) -> None:
        """The connection breaks."""
        self.script.status(LoginStatus.DISCONNECTED)

    async def back(self) -> None:
        """The connection is there again, and what was missed is fetched."""
        self.script.status(LoginStatus.CONNECTED)
        await self.idle()

    def bodies(self) -> list[str]:
        """What was said in the room by ghosts and bot, in order."""
        return [body for sender, body in self.harness.homeserver.messages(self.room) if sender != "@alice:hs.test"]

    def count(self, outcome: str) -> int:
        """How many events of the past ended so."""
        return self.harness.running.metrics.counter("backfill", "", ("network", "outcome")).value("net", outcome)


async def test_the_first_to_enter_sees_the_latest(tmp_path: Path) -> None:
    """When a room is first entered, the configured number of the chat's latest messages is shown, with their times."""
    keeper = Keeper(*(said(f"m{number}", ago=60 - number) for number in range(10)))
    async with Scene(tmp_path, keeper, initial=3) as at:
        assert at.bodies() == ["m7", "m8", "m9"]
        times = [e["origin_server_ts"] for e in at.harness.homeserver.room(at.room).timeline if e["sender"] != "@alice"]
        assert keeper.events[-1].timestamp in times  # type: ignore[union-attr]
        asked = len(at.script.asked)
        at.harness.homeserver.user("carol").join(at.room)
        await at.harness.settled()
        await at.idle()
        assert (at.bodies(), len(at.script.asked)) == (["m7", "m8", "m9"], asked)


async def test_nothing_old_is_fetched_by_default(tmp_path: Path) -> None:
    """Without being told to, a bridge asks nothing when a room is entered, and shows nothing of before later."""
    keeper = Keeper(said("before", ago=60))
    async with Scene(tmp_path, keeper) as at:
        assert at.script.asked == []
        at.away()
        keeper.events.append(said("meanwhile"))
        await at.back()
        assert at.bodies() == ["meanwhile"]


async def test_what_was_missed_comes_once_and_in_order(tmp_path: Path) -> None:
    """After an outage what was said meanwhile is shown, before what is said now, and nothing of it twice."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        keeper.events = [said("one"), said("two"), said("three"), said("four"), said("five")]
        await at.receive(keeper.events[0])
        at.away()
        await at.harness.settled()
        at.script.status(LoginStatus.CONNECTED)
        await at.receive(keeper.events[3], keeper.events[4])  # live, ahead of the history
        await at.idle()
        assert at.bodies() == ["one", "two", "three", "four", "five"]


async def test_live_chats_go_on_from_where_they_are(tmp_path: Path) -> None:
    """What came live is not asked for again: the mark follows it without a statement for each message."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        for number in range(20):
            keeper.events.append(said(f"m{number}"))
            await at.receive(keeper.events[-1])
        at.away()
        await at.harness.until(lambda: not at.engine.backfill._latest)
        keeper.events.append(said("missed"))
        await at.back()
        assert at.script.asked[-1][:2] == ("hall", b"m19")
        assert at.bodies() == [*(f"m{number}" for number in range(20)), "missed"]


async def test_a_mark_does_not_pass_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an outage is not made up for, what comes live does not hide it: the next connection asks from before."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        keeper.events = [said("one"), said("missed"), said("live")]
        await at.receive(keeper.events[0])
        at.away()
        await at.harness.until(lambda: not at.engine.backfill._latest)
        monkeypatch.setattr("bridge_core.engine.filling._TRIES", 1)
        keeper.failures = [TransientError("later")]
        at.script.status(LoginStatus.CONNECTED)
        await at.receive(keeper.events[2])
        await at.idle()
        await at.engine.backfill.note()
        at.away()
        await at.back()
        assert at.script.asked[-1][1] == b"one"
        assert sorted(at.bodies()) == ["live", "missed", "one"]


async def test_own_messages_do_not_come_back(tmp_path: Path) -> None:
    """What Matrix users said is in the network's history too, and known there by its id."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        at.script.answer = lambda message, attempt: Sent((MessageId("from-matrix"),))
        at.harness.alice.send(at.room, "hello")
        await at.harness.settled()
        keeper.events = [said("hello", known_as="from-matrix"), said("hi alice")]
        at.away()
        await at.back()
        assert at.bodies() == ["hi alice"]
        assert at.count("known") == 1


async def test_nobody_is_shown_what_was_said_before_they_came(tmp_path: Path) -> None:
    """Where the network's history is not everybody's, what is older than the last member's join stays out, and the
    others are told of the gap."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        at.away()
        keeper.events = [said("one"), said("before carol")]
        await asyncio.sleep(0.002)  # times are milliseconds: hers is to be a later one
        at.harness.homeserver.user("carol").join(at.room)
        await at.harness.settled()
        await asyncio.sleep(0.002)
        keeper.events.append(said("after carol"))
        await at.back()
        first, gap, last = at.bodies()
        assert (first, last) == ("one", "after carol")
        assert "may be missing here: somebody came since" in gap


async def test_who_comes_while_it_is_on_its_way_is_not_shown_it_either(tmp_path: Path) -> None:
    """What was fetched is asked about again right before it is sent: a new member stops what is older than them."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        at.away()
        keeper.events = [said("one"), said("secret")]
        past, checked = at.engine.conversion._past, []

        async def check(entry: Any, event: Any) -> None:
            if not checked:
                checked.append(event)
                await asyncio.sleep(0.002)
                at.harness.homeserver.user("carol").join(at.room)
                await at.harness.homeserver.wait_pushed()
            await past(entry, event)

        at.engine.conversion.guard_past(check)
        await at.back()
        assert checked
        assert at.bodies() == ["one"]
        assert at.count("hidden") == 1


async def test_who_comes_when_it_is_ready_to_be_sent_is_not_shown_it_either(tmp_path: Path) -> None:
    """What was prepared together is asked about one by one: it ends rejected, and not in front of a new member."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        await at.idle()
        at.away()
        keeper.events = [said("one"), said("two"), said("secret")]
        faults = at.harness.homeserver.faults
        on_its_way = faults.hold(match="/send/m.room.message")
        at.script.status(LoginStatus.CONNECTED)
        await at.harness.until(lambda: faults.hits)
        await asyncio.sleep(0.002)
        at.harness.homeserver.user("carol").join(at.room)
        await at.harness.homeserver.wait_pushed()
        on_its_way.set()
        await at.idle()
        assert at.bodies() == ["one", "two"]
        assert at.count("hidden") == 1


async def test_what_was_said_before_consent_is_never_shown(tmp_path: Path) -> None:
    """Nothing is asked for while nobody has agreed, and later only what was said since counts, whoever may read it."""
    keeper = Keeper(public=True)
    async with Scene(tmp_path, keeper) as at:
        portals = at.engine.portals
        await portals.set_option(portals.get(PortalKey(NetworkId("net"), ChatId("hall"))), CONSENT, "asked")
        keeper.events = [said("secret")]
        at.away()
        at.script.asked.clear()
        await at.back()
        assert ChatId("hall") not in [chat for chat, _, _ in at.script.asked]
        await asyncio.sleep(0.002)  # times are milliseconds
        await at.receive(RemoteConsent(ChatId("hall"), BOB, True))
        await at.idle()
        at.away()
        await asyncio.sleep(0.002)
        keeper.events.append(said("open"))
        await at.back()
        assert [text for text in at.bodies() if "allows" not in text] == ["open"]
        assert at.count("before") == 1


async def test_a_room_is_not_shown_what_was_said_before_it_was_bridged(tmp_path: Path) -> None:
    """Of what was missed each room gets what was said since it is one of the chat's: the others may get more."""
    keeper = Keeper(public=True)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("live"))
        await at.idle()
        at.away()
        keeper.events = [said("live"), said("before")]
        await asyncio.sleep(0.002)
        alice = at.harness.alice
        room = alice.create_room(invite=[at.harness.homeserver.bot])
        portal = at.engine.portals.get(PortalKey(NetworkId("net"), ChatId("hall")))
        await at.engine.rooms.adopt(portal, RoomId(room), by=alice.id)
        await asyncio.sleep(0.002)
        keeper.events.append(said("after"))
        await at.back()
        ghost = "@_net_bob:hs.test"
        heard = [text for sender, text in at.harness.homeserver.messages(room) if sender == ghost]
        assert (at.bodies(), heard) == (["live", "before", "after"], ["after"])
        audit = await at.harness.running.journal.audit()
        assert audit.holds and audit.balances["net", 1].rejected == 1


async def test_a_room_with_nobody_in_it_gets_nothing(tmp_path: Path) -> None:
    """Nobody there, nobody who may be shown anything: it is held back, not passed on."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        at.away()
        at.harness.alice.leave(at.room)
        keeper.events = [said("one"), said("secret")]
        await at.harness.settled()
        await at.back()
        assert "secret" not in at.bodies()
        assert at.count("hidden") == 1


async def test_unknown_members_are_no_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the homeserver does not say who is there, nothing of a past that is not public is shown."""
    monkeypatch.setattr("bridge_core.engine.filling._TRIES", 1)
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        at.away()
        keeper.events = [said("one"), said("held")]

        async def unknown(room: Any) -> Any:
            raise TransientError("no answer")

        monkeypatch.setattr(at.engine.members, "joined_at", unknown)
        await at.back()
        assert at.bodies() == ["one"]


async def test_the_owner_reads_their_private_chat(tmp_path: Path) -> None:
    """In a private chat's room the owner's own coming hides nothing: they could always read it."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        network = at.engine.networks.get("net")
        past = at.engine.backfill._filling._past
        portal = replace(at.engine.portals.in_room(at.room)[0], receiver=LoginId("alice-login"))
        with pytest.raises(TransientError):
            await past.floor(portal)
        network.login_of = lambda login: type("L", (), {"user": "@alice:hs.test"})
        assert await past.floor(portal) == 0
        network.login_of = lambda login: type("L", (), {"user": "@other:hs.test"})
        assert await past.floor(portal) > 0


async def test_more_than_the_bound_is_a_gap(tmp_path: Path) -> None:
    """At most so many messages are fetched; that there were more is told in the room, after them."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper, catch_up=3) as at:
        keeper.most = 2
        keeper.events = [said(f"m{number}") for number in range(6)]
        await at.receive(keeper.events[0])
        at.away()
        await at.harness.until(lambda: not at.engine.backfill._latest)
        await at.back()
        assert at.bodies()[:4] == ["m0", "m1", "m2", "m3"]
        assert "may be missing here: more was said than the 3 messages" in at.bodies()[4]
        assert len(at.bodies()) == 5


async def test_old_things_stay_out_and_do_not_use_up_the_bound(tmp_path: Path) -> None:
    """What is older than `max_age` is left out and told as one gap, however much it is."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper, catch_up=3, max_age="1h") as at:
        mark = at.engine.backfill._marks
        portal = at.engine.portals.in_room(at.room)[0]
        mark.put(portal, None, replace(mark.get(portal, None), since=0, at=NOW - 86_400_000))
        keeper.most = 2
        keeper.events = [said(f"old{number}", ago=7200 - number) for number in range(7)] + [said("new")]
        mark.put(portal, None, replace(mark.get(portal, None), cursor=b"old0"))
        at.away()
        await at.back()
        gap, new = at.bodies()
        assert "what is older than" in gap
        assert new == "new"
        assert at.count("old") == 6


async def test_what_cannot_be_had_is_a_gap(tmp_path: Path) -> None:
    """A network that refuses, or says that something is missing, leaves a notice of the time in between."""
    keeper = Keeper(said("one"))
    async with Scene(tmp_path, keeper) as at:
        await at.receive(keeper.events[0])
        at.away()
        keeper.failures = [RejectedError("the archive is closed")]
        await at.back()
        at.away()
        at.script.tell = lambda chat, after, limit: History((said("late"),), b"late", missing="the archive was purged")
        await at.back()
        one, refused, purged, late = at.bodies()
        assert (one, late) == ("one", "late")
        assert "may be missing here: the archive is closed" in refused
        assert "may be missing here: the archive was purged" in purged


async def test_networks_that_hesitate_are_asked_again(tmp_path: Path) -> None:
    """A passing error, or a wish to wait, costs time only."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        at.away()
        keeper.events = [said("missed")]
        keeper.failures = [TransientError("hiccup"), RateLimitedError("slowly", 0.01)]
        await at.back()
        assert at.bodies() == ["missed"]


async def test_only_messages_of_the_chat_are_taken(tmp_path: Path) -> None:
    """What an adapter tells of other chats, or other things than messages, is left out and counted."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        at.away()
        other = said("elsewhere", chat="den")
        at.script.tell = lambda chat, after, limit: History((other, said("here")), b"x", public=True)
        await at.back()
        assert at.bodies() == ["here"]
        assert at.count("foreign") == 1


async def test_a_network_that_says_more_for_ever_is_left(tmp_path: Path) -> None:
    """An adapter whose cursor stands still, or that never ends, is not asked for ever."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper, catch_up=200) as at:
        at.away()
        at.script.tell = lambda chat, after, limit: History((), b"same", more=True)
        await at.back()
        assert len(at.script.asked) <= 2
        at.away()
        numbers = iter(range(10**6))
        at.script.tell = lambda chat, after, limit: History((), str(next(numbers)).encode(), more=True)
        await at.back()
        assert next(numbers) <= 201


async def test_reactions_of_the_past_find_their_messages(tmp_path: Path) -> None:
    """What was done to messages meanwhile comes with them."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        at.away()
        later = int(time.time() * 1000) + 5000
        reaction = RemoteReaction(ChatId("hall"), BOB, MessageId("missed"), "+", id=MessageId("r"), timestamp=later)
        at.script.tell = lambda chat, after, limit: History((said("missed"), reaction), b"r", public=True)
        await at.back()
        kinds = [event["type"] for event in at.harness.homeserver.room(at.room).timeline]
        assert kinds[-2:] == ["m.room.message", "m.reaction"]


async def test_a_chat_that_takes_long_does_not_hold_the_others(tmp_path: Path) -> None:
    """While one chat's past is being fetched its lane waits; the others go on."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        den = await at.harness.portal_room("net", "den")
        await at.harness.settled()
        at.away()
        gate = asyncio.Event()
        client = at.engine.networks.get("net").main
        told = client.history

        async def history(chat: ChatId, after: bytes | None, limit: int) -> History:
            if chat == "hall":
                await gate.wait()
            result: History = await told(chat, after, limit)
            return result

        client.history = history
        keeper.events = [said("missed")]
        at.script.status(LoginStatus.CONNECTED)
        await at.receive(said("live"), said("in the den", chat="den"))
        await at.harness.homeserver.wait_message(den, "in the den")
        assert at.bodies() == []
        gate.set()
        await at.idle()
        assert at.bodies() == ["missed", "live"]


async def test_nothing_waits_longer_than_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the bound, what is said now goes first; the past comes all the same, late."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        monkeypatch.setattr("bridge_core.engine.backfill._KEPT", 0.05)
        at.away()
        gate = asyncio.Event()
        client = at.engine.networks.get("net").main
        told = client.history

        async def history(chat: ChatId, after: bytes | None, limit: int) -> History:
            await gate.wait()
            result: History = await told(chat, after, limit)
            return result

        client.history = history
        keeper.events = [said("missed")]
        at.script.status(LoginStatus.CONNECTED)
        await at.receive(said("live"))
        await at.harness.homeserver.wait_message(at.room, "live")
        gate.set()
        await at.idle()
        assert at.bodies() == ["live", "missed"]


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was said while the bridge was stopped comes after its start, and nothing that it knew."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        keeper.events = [said("one"), said("two")]
        await at.receive(keeper.events[0])
        await at.idle()
        await at.harness.stop_bridge()
        await at.harness.start_bridge()
        await at.idle()
        assert at.script.asked[-1][1] == b"one"
        assert at.bodies() == ["one", "two"]


async def test_what_waited_before_the_outage_goes_first(tmp_path: Path) -> None:
    """What the homeserver could not take before the connection broke is older than what was missed, and goes first."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        keeper.events = [said(text) for text in ("one", "two", "missed", "live")]
        async with at.harness.homeserver.outage():
            await at.receive(*keeper.events[:2])
            await at.harness.until(lambda: at.engine.to_matrix._waiting)
            at.away()
            await at.harness.until(lambda: not at.engine.backfill._latest)
            at.script.status(LoginStatus.CONNECTED)
            await at.receive(keeper.events[3])
            await at.harness.until(lambda: not at.engine.backfill.busy())
        at.engine.to_matrix.wake()
        await at.idle()
        assert at.bodies() == ["one", "two", "missed", "live"]


async def test_what_is_fetched_goes_first_after_a_restart_too(tmp_path: Path) -> None:
    """History that was stored and not shown yet when the bridge ended is shown before what was said after it."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        keeper.events = [said("missed"), said("live")]
        at.away()
        async with at.harness.homeserver.outage():
            at.script.status(LoginStatus.CONNECTED)
            await at.receive(keeper.events[1])
            await at.harness.until(lambda: not at.engine.backfill.busy())
            await at.harness.stop_bridge()
        await at.harness.start_bridge()
        await at.idle()
        assert at.bodies() == ["missed", "live"]


async def test_a_connection_that_breaks_while_it_is_made_up_for(tmp_path: Path) -> None:
    """Broken and back while history is fetched: what is said now still waits for all that was missed."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        gate = asyncio.Event()
        client = at.engine.networks.get("net").main
        told = client.history
        at.away()

        async def history(chat: ChatId, after: bytes | None, limit: int) -> History:
            result: History = await told(chat, after, limit)
            await gate.wait()
            return result

        client.history = history
        at.script.status(LoginStatus.CONNECTED)
        await at.harness.until(lambda: at.script.asked)
        at.away()
        keeper.events = [said("missed"), said("live")]
        at.script.status(LoginStatus.CONNECTED)
        await at.receive(keeper.events[1])
        gate.set()
        await at.idle()
        assert at.bodies() == ["missed", "live"]


async def test_a_login_tells_its_own_history(tmp_path: Path) -> None:
    """A user's other login is asked for what it was told, not the preferred one."""
    async with Scene(tmp_path, Keeper()) as at:
        network = at.harness.running.networks.get(NetworkId("net"))
        assert network is not None
        network._clients.add(LoggedIn(Login(LoginId("work"), UserId("@a:hs.test"), "Work"), _teller(at, "work")))
        network._clients.add(LoggedIn(Login(LoginId("home"), UserId("@a:hs.test"), "Home"), _teller(at, "home")))
        for login in (LoginId("work"), LoginId("home")):
            assert at.engine.backfill._client(network.id, login) is network.client_with(login)


def _teller(at: Scene, login: str) -> TellingClient:
    assert at.script.inbox is not None
    return TellingClient(at.script, Login(LoginId(login), UserId("@a:hs.test"), login), at.script.inbox)


async def test_a_chat_that_fails_is_tried_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a connection comes and goes, one timer waits for a chat that cannot be filled."""
    keeper = Keeper()
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        monkeypatch.setattr("bridge_core.engine.filling._TRIES", 1)
        later, put_off = at.engine.backfill._later, []

        def noted(seconds: float, what: Any, *arguments: Any) -> None:
            put_off.extend(arguments[1:])
            later(seconds, what, *arguments)

        monkeypatch.setattr(at.engine.backfill, "_later", noted)
        for _ in range(3):
            at.away()
            keeper.failures = [TransientError("later")] * 2
            await at.back()
        assert len(put_off) == len(set(put_off)) > 0
