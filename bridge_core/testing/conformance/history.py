"""Features of networks that keep what was said: it is fetched, once, in order, and shown only to those who may see it.

The subject's section has `backfill: {initial: 10, rate: 1000}`, and less `history` of its own cuts nothing here.
"""

import asyncio
import time

from bridge_core.testing.conformance.basics import FeatureTests
from bridge_core.testing.conformance.bench import Bench, Place
from bridge_core.testing.conformance.subject import Feature

__all__ = ["HistoryTests", "PublicHistoryTests"]


class HistoryTests(FeatureTests):
    """What was said while the bridge was away is made up for. In these chats nobody reads what was before them."""

    feature = Feature.HISTORY

    async def test_what_was_missed_comes_before_what_is_said_now(self, bench: Bench) -> None:
        """After an outage: what was known, what was missed, what came since, each once and in order."""
        place = await bench.place()
        await _stopped_after(place, "said before")
        missed = [f"missed {number}." for number in range(5)]
        for text in missed:
            await bench.subject.say_away("ann", place.chat, text)
        await bench.bridge.start_bridge()
        await bench.subject.enter(place.chat)
        await bench.subject.say("ann", place.chat, "said since")
        await place.reads("ann", "said since")
        await _filled(bench)
        assert await place.bodies("ann") == ["said before", *missed, "said since"]
        await bench.balances()

    async def test_what_is_known_comes_no_second_time(self, bench: Bench) -> None:
        """Two starts with nothing new in between show nothing again, of what Matrix said neither."""
        place = await bench.place()
        await bench.human.send(place.room, "mine, once")
        await bench.subject.heard(place.chat, "mine, once")
        await bench.subject.say("ann", place.chat, "theirs, once")
        await place.reads("ann", "theirs, once")
        await bench.bridge.settled()
        before = [event["event_id"] for event in await bench.human.timeline(place.room) if _is_text(event)]
        for _ in range(2):
            await bench.restart(place)
            await _filled(bench)
        after = [event["event_id"] for event in await bench.human.timeline(place.room) if _is_text(event)]
        assert after == before

    async def test_who_enters_is_not_shown_what_was_before(self, bench: Bench) -> None:
        """What was said before anybody of Matrix was there stays there."""
        name = bench.name()
        chat = bench.chat(name)
        await bench.subject.prepare(chat)
        await bench.subject.say_away("ann", chat, "among ourselves")
        place = await bench.bridged(name)
        await bench.subject.say("ann", chat, "welcome")
        await place.reads("ann", "welcome")
        await _filled(bench)
        assert await place.bodies("ann") == ["welcome"]

    async def test_a_newcomer_is_not_shown_what_was_missed(self, bench: Bench) -> None:
        """Of what was said before the last one came nothing is shown, and a notice says that something is missing."""
        place = await bench.place()
        await _stopped_after(place, "said before")
        await bench.subject.say_away("ann", place.chat, "not for strangers")
        newcomer = await bench.homeserver.human()
        await newcomer.join(place.room)
        await _later_than_the_entry(place, newcomer.id)
        await bench.subject.say_away("ann", place.chat, "for all of you")
        await bench.bridge.start_bridge()
        await bench.subject.enter(place.chat)
        await place.reads("ann", "for all of you")
        await place.told("somebody came since")
        await _filled(bench)
        assert await place.bodies("ann") == ["said before", "for all of you"]
        seen = [event["content"].get("body") for event in await newcomer.timeline(place.room)]
        assert "not for strangers" not in seen


class PublicHistoryTests(FeatureTests):
    """Where everybody who enters may read what was said before, they can on Matrix."""

    feature = Feature.PUBLIC_HISTORY

    async def test_who_enters_first_sees_what_was_before(self, bench: Bench) -> None:
        """The latest messages are there, once, in order, before what is said now, and as old as they are."""
        name = bench.name()
        chat = bench.chat(name)
        await bench.subject.prepare(chat)
        await bench.subject.publish(chat)
        past = [f"past {number}." for number in range(5)]
        for text in past:
            await bench.subject.say_away("ann", chat, text)
        place = await bench.bridged(name)
        old = await place.reads("ann", past[-1])
        await bench.subject.say("ann", chat, "said now")
        await place.reads("ann", "said now")
        await _filled(bench)
        assert await place.bodies("ann") == [*past, "said now"]

        def made(event: dict[str, object]) -> bool:
            return event["type"] == "m.room.member" and event.get("state_key") == bench.human.id

        joined = await bench.human.sees(place.room, made)
        assert old["origin_server_ts"] <= joined["origin_server_ts"]

    async def test_a_newcomer_sees_what_was_missed(self, bench: Bench) -> None:
        """What was missed is not kept from anybody."""
        place = await bench.place()
        await bench.subject.publish(place.chat)
        await _stopped_after(place, "said before")
        await bench.subject.say_away("ann", place.chat, "for everybody")
        newcomer = await bench.homeserver.human()
        await newcomer.join(place.room)
        await bench.bridge.start_bridge()
        await bench.subject.enter(place.chat)
        await place.reads("ann", "for everybody")
        await _filled(bench)
        assert await place.bodies("ann") == ["said before", "for everybody"]


async def _stopped_after(place: Place, text: str) -> None:
    """Ann says something, and the bridge, which knows that the human is there, is stopped."""
    bench = place.bench
    await bench.human.send(place.room, "here I am")
    await bench.subject.heard(place.chat, "here I am")
    await _filled(bench)
    await bench.subject.say("ann", place.chat, text)
    await place.reads("ann", text)
    await bench.bridge.settled()
    await bench.bridge.stop_bridge()


async def _later_than_the_entry(place: Place, user: str) -> None:
    """Wait for the next millisecond: what was said in the one in which somebody came is not shown either."""

    def entered(event: dict[str, object]) -> bool:
        return event["type"] == "m.room.member" and event.get("state_key") == user

    event = await place.bench.human.sees(place.room, entered)
    await asyncio.sleep(max(0.0, event["origin_server_ts"] / 1000 + 0.001 - time.time()))


async def _filled(bench: Bench) -> None:
    """Wait until no chat is being filled, and all of it is in its room."""
    engine = bench.bridge.running.engine
    await bench.bridge.until(lambda: not engine.backfill.busy())
    await bench.bridge.settled()


def _is_text(event: dict[str, object]) -> bool:
    return event["type"] == "m.room.message"
