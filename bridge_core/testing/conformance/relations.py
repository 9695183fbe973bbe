"""Features of how Matrix and the network come together: the other side's consent, and logins of Matrix users there."""

from bridge_core.testing.conformance.basics import FeatureTests
from bridge_core.testing.conformance.bench import Bench, Place, eventually
from bridge_core.testing.conformance.subject import Feature

__all__ = ["ConsentTests", "LoginTests"]


class ConsentTests(FeatureTests):
    """A room is plumbed to a chat only when somebody there agrees. The subject's network asks, and waits."""

    feature = Feature.CONSENT

    async def test_plumbing_waits_until_somebody_agrees(self, bench: Bench) -> None:
        """Nothing crosses in either direction before, not even late; everything does from then on."""
        place = await _plumbed(bench)
        await bench.human.send(place.room, "too early")
        await place.told("has not agreed yet")
        await bench.subject.say("ann", place.chat, "unheard")
        await bench.bridge.settled()
        await bench.subject.consent("ann", place.chat, True)
        await _crosses(place, "welcome")
        assert await place.bodies("ann") == ["theirs: welcome"]
        assert not [text for text in await bench.subject.texts(place.chat) if "too early" in text]
        await bench.balances()

    async def test_the_question_is_kept_over_a_restart(self, bench: Bench) -> None:
        """A bridge that is started anew has not forgotten that nobody agreed."""
        place = await _plumbed(bench)
        await bench.restart(place)
        await bench.human.send(place.room, "still too early")
        await bench.subject.say("ann", place.chat, "still unheard")
        await place.told("has not agreed yet")
        await bench.subject.consent("ann", place.chat, True)
        await _crosses(place, "at last")
        assert await place.bodies("ann") == ["theirs: at last"]
        assert not [text for text in await bench.subject.texts(place.chat) if "too early" in text]

    async def test_consent_taken_back_ends_it(self, bench: Bench) -> None:
        """From that moment nothing crosses, over a restart too; given again, messages cross again."""
        place = await _plumbed(bench)
        await bench.subject.consent("ann", place.chat, True)
        await _crosses(place, "while we may")
        await bench.bridge.settled()
        await bench.subject.consent("ann", place.chat, False)
        await bench.subject.say("ann", place.chat, "no more of this")
        await place.told("does not want this chat to be bridged")
        await bench.human.send(place.room, "are you there?")
        await place.told("the other side does not want")
        await bench.restart(place)
        await bench.human.send(place.room, "hello?")
        await bench.answer(place.room, "!bridge help")  # the bridge has had what was said before this
        await bench.subject.say("ann", place.chat, "nor of that")
        await bench.bridge.settled()
        await bench.subject.consent("ann", place.chat, True)
        await _crosses(place, "again")
        assert await place.bodies("ann") == ["theirs: while we may", "theirs: again"]
        heard = await bench.subject.texts(place.chat)
        assert not [text for text in heard if "are you there?" in text or "hello?" in text]
        await bench.balances()


class LoginTests(FeatureTests):
    """A Matrix user logs in and out in the management room, by the way that the subject names."""

    feature = Feature.LOGINS

    async def test_a_login_is_asked_for_and_answered(self, bench: Bench) -> None:
        """Wrong answers are told and asked again, secrets are erased, and the login speaks, after a restart too."""
        way = bench.subject.login
        assert way is not None
        room = await _management_room(bench)
        place = await bench.place()
        _, first = await bench.answer(room, f"login {bench.network} {way.flow}")
        question = first.splitlines()[-1]
        answer, secrets = "", []
        for text in way.wrong:
            said, answer = await bench.answer(room, text)
            secrets += [said] * (text in way.secrets)
        assert "did not work" in answer and answer.splitlines()[-1] == question
        for text in way.right:
            said, answer = await bench.answer(room, text)
            secrets += [said] * (text in way.secrets)
        assert f"You are logged in to {bench.network}" in answer
        try:
            await self._redacted(bench, room, secrets)
            await bench.human.send(place.room, "in my own name")
            assert (await bench.subject.heard(place.chat, "in my own name")).by == way.name
            await bench.restart(place)
            await bench.human.send(place.room, "in my own name still")
            assert (await bench.subject.heard(place.chat, "in my own name still")).by == way.name
            _, listed = await bench.answer(room, "logins")
            assert "connected" in listed
        finally:
            _, ended = await bench.answer(room, f"logout {bench.network}")
        assert "logged out" in ended
        _, listed = await bench.answer(room, "logins")
        assert way.name not in listed  # one that the network provides may be there
        await bench.human.call("POST", f"rooms/{room}/leave", {})
        await bench.human.send(place.room, "by the relay")
        assert (await bench.subject.heard(place.chat, "by the relay")).by != way.name
        await bench.balances()

    async def test_a_login_is_given_up(self, bench: Bench) -> None:
        """After `cancel` what is said is no answer any more, and there is no login."""
        way = bench.subject.login
        assert way is not None
        room = await _management_room(bench)
        await bench.answer(room, f"login {bench.network} {way.flow}")
        _, answer = await bench.answer(room, "cancel")
        assert "Cancelled" in answer
        _, answer = await bench.answer(room, way.right[0])
        assert "I do not know that command" in answer
        _, listed = await bench.answer(room, "logins")
        assert way.name not in listed  # one that the network provides may be there
        await bench.human.call("POST", f"rooms/{room}/leave", {})

    async def test_a_login_is_not_begun_in_public(self, bench: Bench) -> None:
        """In a room with others no secret is asked for."""
        way = bench.subject.login
        assert way is not None
        place = await bench.place()
        await bench.human.send(place.room, f"!bridge login {bench.network} {way.flow}")
        await place.told("in your management room")

    async def _redacted(self, bench: Bench, room: str, events: list[str]) -> None:
        """Wait until the bot has erased these, and see that their words are nowhere in the room."""
        assert events
        way = bench.subject.login
        assert way is not None

        async def erased() -> bool:
            timeline = await bench.human.timeline(room)
            return not [event for event in timeline if event["event_id"] in events and "body" in event["content"]]

        await eventually(erased)
        said = " ".join(str(event["content"]) for event in await bench.human.timeline(room))
        assert not [secret for secret in way.secrets if secret in said]


async def _plumbed(bench: Bench) -> Place:
    """A room of the human's own that is plumbed to a chat, whose side was asked."""
    name = bench.name()
    chat = bench.chat(name)
    await bench.subject.prepare(chat)
    room = await bench.room_of_ones_own()
    place = Place(bench, chat, room)
    await bench.human.send(room, f"!bridge bridge {bench.network} {name}")
    await place.told("Nothing crosses until they agree")
    await bench.subject.enter(chat)
    return place


async def _crosses(place: Place, text: str) -> None:
    """Both directions carry messages now."""
    await place.told("allows that this chat is bridged")
    await place.bench.bridge.settled()
    await place.bench.human.send(place.room, f"mine: {text}")
    await place.bench.subject.heard(place.chat, f"mine: {text}")
    await place.bench.subject.say("ann", place.chat, f"theirs: {text}")
    await place.reads("ann", f"theirs: {text}")


async def _management_room(bench: Bench) -> str:
    """A new room of the human and the bot, where the bot may erase."""
    body = {"preset": "trusted_private_chat", "invite": [bench.bot], "is_direct": True}
    room = str((await bench.human.call("POST", "createRoom", body))["room_id"])

    def welcome(event: dict[str, object]) -> bool:
        content = event["content"]
        assert isinstance(content, dict)
        return event["sender"] == bench.bot and "management room" in str(content.get("body"))

    await bench.human.sees(room, welcome)
    return room
