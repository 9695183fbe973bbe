"""Features of people and chats: who is there, who may what, what a chat is about, who types and who has read."""

import asyncio

from bridge_core.testing.conformance.basics import FeatureTests
from bridge_core.testing.conformance.bench import Bench, eventually
from bridge_core.testing.conformance.subject import Feature

__all__ = ["InfoTests", "MemberTests", "ModerationTests", "ReceiptTests", "TypingTests"]


class MemberTests(FeatureTests):
    """People of the network come and go in the room. The subject's section has `members: eager`, `leave_grace: 0s`."""

    feature = Feature.MEMBERS

    async def test_people_come_and_go(self, bench: Bench) -> None:
        """Whoever enters the chat is in the room without a word, and is gone when they have left."""
        place = await bench.place()
        await bench.subject.join("bob", place.chat)
        await place.member("bob", "join")
        await bench.subject.leave("bob", place.chat)
        await place.member("bob", "leave")
        await bench.subject.say("bob", place.chat, "back again")
        await place.reads("bob", "back again")
        await place.member("bob", "join")

    async def test_a_kick_of_the_network_is_one_here(self, bench: Bench) -> None:
        """The ghost is out of the room."""
        place = await bench.place()
        await bench.subject.join("bob", place.chat)
        await place.member("bob", "join")
        await bench.subject.kick("bob", place.chat, "ann")
        await place.member("bob", "leave")

    async def test_who_left_meanwhile_is_gone_after_a_restart(self, bench: Bench) -> None:
        """What happened while the bridge was away is made up for."""
        place = await bench.place()
        await bench.subject.join("bob", place.chat)
        await place.member("bob", "join")
        await bench.bridge.settled()
        await bench.bridge.stop_bridge()
        await bench.subject.leave("bob", place.chat)
        await bench.bridge.start_bridge()
        await bench.subject.enter(place.chat)
        await place.member("bob", "leave")


class ModerationTests(FeatureTests):
    """What moderators do in the room happens on the network."""

    feature = Feature.MODERATION

    async def test_a_kick_of_matrix_is_one_there(self, bench: Bench) -> None:
        """Whose ghost is thrown out of the room is thrown out of the chat."""
        place = await bench.place()
        await bench.subject.trust(place.chat, await bench.introduce(place))
        await bench.empower(place)
        await bench.subject.say("bob", place.chat, "I misbehave")
        await place.reads("bob", "I misbehave")
        await bench.subject.present(place.chat, "bob")
        await bench.human.call(
            "POST", f"rooms/{place.room}/kick", {"user_id": bench.ghost("bob"), "reason": "misbehaved"}
        )
        await bench.subject.present(place.chat, "bob", absent=True)
        await bench.balances()


class InfoTests(FeatureTests):
    """What a chat is about."""

    feature = Feature.INFO

    async def test_a_topic_of_matrix_is_the_chats(self, bench: Bench) -> None:
        """And it stays the room's."""
        place = await bench.place()
        await bench.subject.trust(place.chat, await bench.introduce(place))
        await bench.empower(place)
        state = f"rooms/{place.room}/state/m.room.topic"
        await bench.human.call("PUT", state, {"topic": "cats and dogs"})
        await bench.subject.has_topic(place.chat, "cats and dogs")
        await bench.bridge.settled()
        assert (await bench.human.call("GET", state))["topic"] == "cats and dogs"

    async def test_a_topic_of_the_network_is_the_rooms(self, bench: Bench) -> None:
        """Each change of it, also back to what it was."""
        place = await bench.place()
        for topic in ("weather", "climate", "weather"):
            await bench.subject.set_topic("ann", place.chat, topic)
            await place.has_state("m.room.topic", "topic", topic)


class TypingTests(FeatureTests):
    """Who is typing."""

    feature = Feature.TYPING

    async def test_typing_of_matrix_is_seen_there(self, bench: Bench) -> None:
        """By the people of the chat."""
        place = await bench.place()
        await bench.introduce(place)
        for last in (False, False, False, False, True):
            await bench.human.type(place.room)
            try:
                async with asyncio.timeout(None if last else 8):
                    await bench.subject.types(place.chat)
                    break
            except TimeoutError:
                # Synapse drops signals in the moments in which it takes the bridge for away.
                await bench.human.type(place.room, 0)
        await bench.human.type(place.room, 0)

    async def test_typing_of_the_network_is_seen_here(self, bench: Bench) -> None:
        """As the ghost's, until it ends."""
        place = await bench.place()
        await bench.subject.say("ann", place.chat, "wait a moment")
        await place.reads("ann", "wait a moment")
        ghost = bench.ghost("ann")
        for typing in (True, False):
            await bench.subject.type("ann", place.chat, typing)

            async def is_so(typing: bool = typing) -> bool:
                return (ghost in await bench.homeserver.typists(bench.human, place.room)) is typing

            await eventually(is_so)


class ReceiptTests(FeatureTests):
    """People of the network have read what Matrix said."""

    feature = Feature.RECEIPTS

    async def test_a_receipt_of_the_network_is_the_ghosts(self, bench: Bench) -> None:
        """On the Matrix event."""
        place = await bench.place()
        await bench.subject.say("ann", place.chat, "I listen")
        await place.reads("ann", "I listen")
        event = await bench.human.send(place.room, "listen well")
        heard = await bench.subject.heard(place.chat, "listen well")
        await bench.bridge.settled()
        await bench.subject.read("ann", place.chat, heard.id)
        ghost = bench.ghost("ann")

        async def is_so() -> bool:
            return (await bench.homeserver.readers(bench.human, place.room)).get(ghost) == event

        await eventually(is_so)
