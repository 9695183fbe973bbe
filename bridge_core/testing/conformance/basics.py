"""What every adapter must do, whatever its network can: carry text both ways, each once, in order, and lose nothing."""

from typing import Any, ClassVar

from bridge_core.api.network import Level
from bridge_core.api.optional import (
    Backfills,
    ChangesInfo,
    Consents,
    Edits,
    LogsIn,
    Moderates,
    Polls,
    Reacts,
    Redacts,
)
from bridge_core.testing.conformance.bench import Bench
from bridge_core.testing.conformance.subject import Feature, Subject

__all__ = ["AdapterConformance", "FeatureTests"]

_PARTS: dict[Feature, type] = {
    Feature.EDITS: Edits,
    Feature.REDACTIONS: Redacts,
    Feature.REACTIONS: Reacts,
    Feature.POLLS: Polls,
    Feature.MODERATION: Moderates,
    Feature.INFO: ChangesInfo,
    Feature.HISTORY: Backfills,
    Feature.CONSENT: Consents,
    Feature.LOGINS: LogsIn,
}
"""The optional parts of the contract that stand for a feature. Others are told by capabilities, for each chat."""
_HOSTILE = ("a\r\nQUIT :b", "c\0d", "\u202ereversed\u202c", "\x01ACTION x\x01", "<script>alert(1)</script>", "\ud7ff e")


class FeatureTests:
    """Tests of one feature, to be inherited beside AdapterConformance by adapters that have it."""

    feature: ClassVar[Feature]


class AdapterConformance:
    """Inherit it, name the `subject`, and inherit the tests of each feature that the adapter has.

    A fixture `bench` of the class gives each test a running bridge with the subject's network. What an adapter lacks
    is not skipped: that users are told is tested here.
    """

    subject: ClassVar[type[Subject]]

    async def test_its_features_are_tested(self) -> None:
        """The subject declares the features whose tests are inherited, no more and no fewer."""
        tested = {base.__dict__["feature"] for base in type(self).__mro__ if "feature" in base.__dict__}
        assert tested == self.subject.features

    async def test_what_it_has_is_declared(self, bench: Bench) -> None:
        """Optional parts of the contract that client or connector have are features that are tested."""
        network = bench.bridge.running.networks.get(bench.network)
        for feature, part in _PARTS.items():
            if isinstance(network.main, part) or isinstance(network.connector, part):
                assert feature in self.subject.features or not _can(network.connector, network.main, feature), feature

    async def test_what_a_matrix_user_says_is_heard(self, bench: Bench) -> None:
        """A message is seen on the network, once, and the books balance."""
        place = await bench.place()
        await bench.human.send(place.room, "hello over there")
        await bench.subject.heard(place.chat, "hello over there")
        await bench.balances()
        heard = [text for text in await bench.subject.texts(place.chat) if "hello over there" in text]
        assert len(heard) == 1

    async def test_what_a_person_says_is_seen(self, bench: Bench) -> None:
        """A person of the network is a ghost with a name, and what they say is theirs."""
        place = await bench.place()
        await bench.subject.say("ann", place.chat, "hello from ann")
        event = await place.reads("ann", "hello from ann")
        assert event["content"]["msgtype"] == "m.text"
        ghost = bench.ghost("ann")
        members = (await bench.human.call("GET", f"rooms/{place.room}/joined_members"))["joined"]
        assert members[ghost]["display_name"]
        assert (await bench.human.call("GET", f"profile/{ghost}"))["displayname"]

    async def test_order_is_kept_both_ways(self, bench: Bench) -> None:
        """What is said quickly arrives in order, each once."""
        place = await bench.place()
        mine = [f"mine {number}." for number in range(12)]
        theirs = [f"theirs {number}." for number in range(12)]
        for one, other in zip(mine, theirs, strict=True):
            await bench.human.send(place.room, one)
            await bench.subject.say("ann", place.chat, other)
        await bench.subject.heard(place.chat, mine[-1])
        await place.reads("ann", theirs[-1])
        await bench.bridge.settled()
        assert [text for text in await place.bodies("ann") if text.startswith("theirs")] == theirs
        heard = [text for text in await bench.subject.texts(place.chat) if "mine " in text]
        assert [text[text.index("mine ") :] for text in heard] == mine

    async def test_emotes_and_formatted_text_can_be_read(self, bench: Bench) -> None:
        """Whatever the network makes of them, the words are there."""
        place = await bench.place()
        await bench.human.send(place.room, "waves a hand", "m.emote")
        await bench.subject.heard(place.chat, "waves a hand")
        html = "<b>strong words</b> and <i>weak</i> ones"
        more = {"format": "org.matrix.custom.html", "formatted_body": html}
        await bench.human.send(place.room, "strong words and weak ones", **more)
        await bench.subject.heard(place.chat, "strong words")

    async def test_long_text_arrives_whole(self, bench: Bench) -> None:
        """In as many messages as the network needs, or its sender is told why not."""
        place = await bench.place()
        words = [f"w{number}" for number in range(1200)]
        can = _main(bench).capabilities(place.chat)
        await bench.human.send(place.room, " ".join(words))
        if can.max_text is not None and can.max_text < len(" ".join(words)):
            await place.told("too long")
            return
        await bench.subject.heard(place.chat, words[-1])
        said = " ".join(await bench.subject.texts(place.chat)).split()
        assert [word for word in said if word in set(words)] == words

    async def test_hostile_text_breaks_nothing(self, bench: Bench) -> None:
        """Line ends, control characters and mark-up stay within the message, or it is refused; the next one crosses."""
        place = await bench.place()
        for number, text in enumerate(_HOSTILE):
            await bench.human.send(place.room, f"{text} h{number}.")
        await bench.human.send(place.room, "all is well")
        await bench.subject.heard(place.chat, "all is well")
        await bench.subject.say("ann", place.chat, "here too")
        await place.reads("ann", "here too")
        await bench.balances()

    async def test_a_stopped_bridge_loses_nothing(self, bench: Bench) -> None:
        """What Matrix says while the bridge is away is heard once, in order, when it is back; and both ways go on."""
        place = await bench.place()
        await bench.human.send(place.room, "before 0.")
        await bench.subject.heard(place.chat, "before 0.")
        await bench.subject.say("ann", place.chat, "before 1.")
        await place.reads("ann", "before 1.")
        await bench.bridge.stop_bridge()
        said = [f"meanwhile {number}." for number in range(8)]
        for text in said:
            await bench.human.send(place.room, text)
        await bench.bridge.start_bridge()
        await bench.subject.enter(place.chat)
        await bench.subject.heard(place.chat, said[-1])
        heard = [text for text in await bench.subject.texts(place.chat) if "meanwhile " in text]
        assert [text[text.index("meanwhile ") :] for text in heard] == said
        await bench.subject.say("ann", place.chat, "after 1.")
        await place.reads("ann", "after 1.")
        assert [text for text in await place.bodies("ann") if text.startswith("before")].count("before 1.") == 1
        await bench.balances()

    async def test_what_cannot_be_carried_is_said(self, bench: Bench) -> None:
        """Of what a chat refuses or drops the sender is told in words; whatever happens to it is counted."""
        place = await bench.place()
        can = _main(bench).capabilities(place.chat)
        event = await bench.human.send(place.room, "first words")
        await bench.subject.heard(place.chat, "first words")
        await bench.bridge.settled()
        acts: dict[str, Any] = {
            "edit": lambda: bench.human.edit(place.room, event, "second words"),
            "react": lambda: bench.human.react(place.room, event, "👍"),
            "redact": lambda: bench.human.redact(place.room, event),
        }
        for feature, act in acts.items():
            await act()
            await bench.bridge.settled()
            if can.level(feature) is Level.REJECTED:
                await place.told("not")
        await bench.balances()


def _main(bench: Bench) -> Any:
    """The network-wide client."""
    return bench.bridge.running.networks.get(bench.network).main


_LEVELS = {
    Feature.EDITS: "edit",
    Feature.REDACTIONS: "redact",
    Feature.REACTIONS: "react",
    Feature.POLLS: "vote",
    Feature.MODERATION: "member",
    Feature.INFO: "topic",
}


def _can(connector: Any, client: Any, feature: Feature) -> bool:
    """Whether some chat would carry it for real: a part that only says `not here` in words is none."""
    if feature is Feature.LOGINS:
        return bool(connector.meta.login_flows)
    if feature is Feature.HISTORY:
        return client is None or client.remembers()
    name = _LEVELS.get(feature)
    return name is None or client is None or client.capabilities("").level(name) >= Level.PARTIAL
