"""Features of messages: replies, edits, redactions, reactions, files, polls. Each class tests both directions."""

import struct

from bridge_core.testing.conformance.basics import FeatureTests
from bridge_core.testing.conformance.bench import Bench
from bridge_core.testing.conformance.subject import Feature

__all__ = [
    "EditTests",
    "FileTests",
    "PollTests",
    "ReactionRemovalTests",
    "ReactionTests",
    "RedactionTests",
    "ReplyTests",
]

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 64, 48) + bytes(range(256)) * 40


class ReplyTests(FeatureTests):
    """Answers stay answers."""

    feature = Feature.REPLIES

    async def test_an_answer_of_matrix_is_one_there(self, bench: Bench) -> None:
        """It names what it answers."""
        place = await bench.place()
        question = await bench.subject.say("ann", place.chat, "a question")
        asked = await place.reads("ann", "a question")
        await bench.bridge.settled()
        relation = {"m.in_reply_to": {"event_id": asked["event_id"]}}
        answer = {"msgtype": "m.text", "body": "an answer", "m.relates_to": relation}
        await bench.human.send_event(place.room, answer)
        heard = await bench.subject.heard(place.chat, "an answer")
        assert heard.reply_to == question

    async def test_an_answer_of_the_network_is_one_here(self, bench: Bench) -> None:
        """It points at the Matrix event that it answers."""
        place = await bench.place()
        event = await bench.human.send(place.room, "what time is it?")
        heard = await bench.subject.heard(place.chat, "what time is it?")
        await bench.bridge.settled()
        await bench.subject.say("ann", place.chat, "half past nine", reply_to=heard.id)
        answer = await place.reads("ann", "half past nine")
        assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == event

    async def test_an_answer_to_nothing_known_is_a_message(self, bench: Bench) -> None:
        """What it answers may be older than the bridge."""
        place = await bench.place()
        await bench.subject.say("ann", place.chat, "as I said", reply_to="never-seen")
        assert "m.relates_to" not in (await place.reads("ann", "as I said"))["content"]


class EditTests(FeatureTests):
    """What was said can be changed."""

    feature = Feature.EDITS

    async def test_an_edit_of_matrix_changes_the_message(self, bench: Bench) -> None:
        """Also the second one, and after a restart."""
        place = await bench.place()
        event = await bench.human.send(place.room, "frist")
        heard = await bench.subject.heard(place.chat, "frist")
        await bench.human.edit(place.room, event, "first")
        await bench.subject.edited(place.chat, heard.id, "first")
        await bench.restart(place)
        await bench.human.edit(place.room, event, "first of all")
        await bench.subject.edited(place.chat, heard.id, "first of all")

    async def test_an_edit_of_the_network_replaces_the_event(self, bench: Bench) -> None:
        """As an edit of the same ghost."""
        place = await bench.place()
        said = await bench.subject.say("ann", place.chat, "secnod")
        event = await place.reads("ann", "secnod")
        await bench.subject.edit("ann", place.chat, said, "second")
        edit = await place.sees("ann", lambda e: "m.new_content" in e["content"])
        assert edit["content"]["m.new_content"]["body"] == "second"
        assert edit["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": event["event_id"]}

    async def test_nobody_changes_what_another_said(self, bench: Bench) -> None:
        """CVE-2022-29166: an edit by somebody else is none."""
        place = await bench.place()
        said = await bench.subject.say("ann", place.chat, "ann's own words")
        await place.reads("ann", "ann's own words")
        await bench.subject.edit("bob", place.chat, said, "put into ann's mouth")
        await bench.subject.say("bob", place.chat, "done")
        await place.reads("bob", "done")
        assert "put into ann's mouth" not in str(await bench.human.timeline(place.room))


class RedactionTests(FeatureTests):
    """What was said can be taken back."""

    feature = Feature.REDACTIONS

    async def test_a_redaction_of_matrix_takes_the_message_back(self, bench: Bench) -> None:
        """It is gone on the network."""
        place = await bench.place()
        event = await bench.human.send(place.room, "a slip")
        heard = await bench.subject.heard(place.chat, "a slip")
        await bench.bridge.settled()
        await bench.human.redact(place.room, event)
        await bench.subject.taken_back(place.chat, heard.id)

    async def test_a_redaction_of_the_network_redacts(self, bench: Bench) -> None:
        """The event is empty, and its neighbours are as they were."""
        place = await bench.place()
        await bench.subject.say("ann", place.chat, "kept")
        said = await bench.subject.say("ann", place.chat, "regretted")
        event = await place.reads("ann", "regretted")
        await bench.subject.take_back("ann", place.chat, said)
        await bench.human.sees(place.room, lambda e: e["event_id"] == event["event_id"] and "body" not in e["content"])
        assert await place.bodies("ann") == ["kept"]


class ReactionTests(FeatureTests):
    """What was said can be reacted to."""

    feature = Feature.REACTIONS

    async def test_a_reaction_of_matrix_is_one_there(self, bench: Bench) -> None:
        """It is on the message."""
        place = await bench.place()
        await bench.introduce(place)
        said = await bench.subject.say("ann", place.chat, "good news")
        event = await place.reads("ann", "good news")
        await bench.bridge.settled()
        await bench.human.react(place.room, event["event_id"], "🎉")
        await bench.subject.reacted(place.chat, said, "🎉")

    async def test_a_reaction_of_the_network_comes_and_goes(self, bench: Bench) -> None:
        """On the Matrix event, as the ghost's."""
        place = await bench.place()
        event = await bench.human.send(place.room, "bad news")
        heard = await bench.subject.heard(place.chat, "bad news")
        await bench.bridge.settled()
        await bench.subject.react("ann", place.chat, heard.id, "😢")
        reaction = await place.sees("ann", lambda e: e["type"] == "m.reaction" and bool(e["content"]))
        relation = {"rel_type": "m.annotation", "event_id": event, "key": "😢"}
        assert reaction["content"]["m.relates_to"] == relation
        await bench.bridge.settled()
        await bench.subject.react("ann", place.chat, heard.id, "😢", removed=True)
        await place.sees("ann", lambda e: e["event_id"] == reaction["event_id"] and not e["content"])


class ReactionRemovalTests(FeatureTests):
    """A reaction can be taken off again from Matrix."""

    feature = Feature.REACTION_REMOVALS

    async def test_a_reaction_of_matrix_is_taken_off(self, bench: Bench) -> None:
        """When it is redacted it is off the message there, and the message stays."""
        place = await bench.place()
        await bench.introduce(place)
        said = await bench.subject.say("ann", place.chat, "mixed news")
        event = await place.reads("ann", "mixed news")
        await bench.bridge.settled()
        reaction = await bench.human.react(place.room, event["event_id"], "🤷")
        await bench.subject.reacted(place.chat, said, "🤷")
        await bench.bridge.settled()
        await bench.human.redact(place.room, reaction)
        await bench.subject.reacted(place.chat, said, "🤷", removed=True)
        assert "mixed news" in await place.bodies("ann")


class FileTests(FeatureTests):
    """Files cross."""

    feature = Feature.FILES

    async def test_a_file_of_matrix_can_be_had(self, bench: Bench) -> None:
        """With its name, byte for byte."""
        place = await bench.place()
        mxc = await bench.human.upload(PNG, "image/png", "two cats.png")
        info = {"mimetype": "image/png", "size": len(PNG)}
        await bench.human.send(place.room, "two cats.png", "m.image", url=mxc, info=info)
        assert await bench.subject.got_file(place.chat, "two cats.png") == PNG

    async def test_a_file_of_the_network_is_on_the_homeserver(self, bench: Bench) -> None:
        """Under the ghost's message, as what it is. Networks whose people send links instead of files send one."""
        place = await bench.place()
        await bench.subject.send_file("ann", place.chat, PNG, "cat.png")
        event = await place.sees("ann", lambda e: "cat.png" in str(e["content"].get("body")))
        if "url" in event["content"]:
            assert await bench.human.download(event["content"]["url"]) == PNG
            assert event["content"]["info"]["mimetype"] == "image/png"


class PollTests(FeatureTests):
    """Questions with answers to choose from (MSC3381)."""

    feature = Feature.POLLS

    async def test_a_poll_of_matrix_is_one_there(self, bench: Bench) -> None:
        """With its answers; a Matrix user's vote counts there, and a person's here."""
        place = await bench.place()
        answers = [{"id": "t", "org.matrix.msc1767.text": "Tea"}, {"id": "c", "org.matrix.msc1767.text": "Coffee"}]
        poll = {
            "org.matrix.msc1767.text": "Tea or coffee?",
            "org.matrix.msc3381.poll.start": {
                "kind": "org.matrix.msc3381.poll.disclosed",
                "max_selections": 1,
                "question": {"org.matrix.msc1767.text": "Tea or coffee?"},
                "answers": answers,
            },
        }
        event = await bench.human.send_event(place.room, poll, "org.matrix.msc3381.poll.start")
        there, names = await bench.subject.polled(place.chat, "Tea or coffee?")
        assert names == ["Tea", "Coffee"]
        await bench.bridge.settled()
        relation = {"rel_type": "m.reference", "event_id": event}
        vote = {"m.relates_to": relation, "org.matrix.msc3381.poll.response": {"answers": ["c"]}}
        await bench.human.send_event(place.room, vote, "org.matrix.msc3381.poll.response")
        await bench.subject.voted(place.chat, there, 1)
        await bench.subject.vote("ann", place.chat, there, 0)
        response = await place.sees("ann", lambda e: "poll.response" in e["type"])
        assert response["content"]["m.relates_to"] == relation
        assert response["content"]["org.matrix.msc3381.poll.response"]["answers"] == ["t"]

    async def test_a_poll_of_the_network_is_one_here(self, bench: Bench) -> None:
        """With its answers, and in words for clients without polls."""
        place = await bench.place()
        await bench.subject.poll("ann", place.chat, "Red or blue?", ["Red", "Blue"])
        event = await place.sees("ann", lambda e: "poll.start" in e["type"])
        start = event["content"]["org.matrix.msc3381.poll.start"]
        assert start["question"]["org.matrix.msc1767.text"] == "Red or blue?"
        assert [answer["org.matrix.msc1767.text"] for answer in start["answers"]] == ["Red", "Blue"]
