"""Whose line it is: nicks that our connections had, have, or lost without knowing it."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from bridge_core.api.events import RemoteEvent, RemoteMessage
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.content import to_plain
from bridge_core.engine.clock import SystemClock
from bridges.irc.batches import Batches
from bridges.irc.codec.message import parse
from bridges.irc.config import IrcConfig
from bridges.irc.flight import Flight
from bridges.irc.hearing import Hearing
from bridges.irc.identity import Identity
from bridges.irc.joins import Places
from bridges.irc.state import NetworkState
from tests.bridges.irc.rig import StartRig, StartServer, eventually

ANNA = UserId("@anna:hs.test")


class Observed:
    """The observer's ear alone: lines in, texts out. `read` is the observer's answer to all barriers so far."""

    def __init__(self) -> None:
        self.state = NetworkState(NetworkId("irc"), IrcConfig(server="irc.test"))
        self.state.host = SimpleNamespace(clock=SystemClock())
        self.state.bridge([ChatId("#a")])
        self.state.barrier = self._barrier
        self._barriers: list[Callable[[], None]] = []
        self._events: list[RemoteEvent] = []
        places = Places()
        places.want([ChatId("#a")])
        places.joined(ChatId("#a"), "#a")
        session: Any = SimpleNamespace(
            own=self.state.claim("relay", Flight(), None, by_observer=False),
            nick="relay",
            parse=parse,
            common=lambda line: False,
            identity=Identity(),
            caps=SimpleNamespace(enabled=frozenset()),
            batches=Batches(),
        )
        self.hearing = Hearing(self.state, session, places, self)

    def _barrier(self, passed: Callable[[], None]) -> bool:
        self._barriers.append(passed)
        return True

    def read(self) -> None:
        """The observer has read everything up to now."""
        barriers, self._barriers = self._barriers, []
        for passed in barriers:
            passed()

    def hears(self, *lines: str) -> list[str]:
        """The texts that were bridged of these lines."""
        self._events.clear()
        self.hearing.heard([line.encode() for line in lines])
        return [to_plain(event.content.text) for event in self._events if isinstance(event, RemoteMessage)]

    def offer(self, event: RemoteEvent) -> None:
        self._events.append(event)

    def entered(self, chat: ChatId) -> None:
        raise AssertionError

    async def commit(self, events: Sequence[RemoteEvent]) -> None:
        raise AssertionError

    def retry(self, chat: ChatId) -> None:
        raise AssertionError

    def thrown_out(self, chat: ChatId, reason: str) -> None:
        raise AssertionError

    def refused(self, chat: ChatId, reason: str) -> None:
        raise AssertionError


def puppet(observed: Observed) -> Any:
    """A puppet called anna, in the channel; the observer has read its beginning."""
    own = observed.state.claim("anna", Flight(), ANNA, by_observer=False)
    observed.read()
    assert observed.hears(":anna!a@bridge JOIN #a", ":anna!a@bridge PRIVMSG #a :mine") == []
    return own


def test_whoever_takes_the_nick_a_puppet_had_is_bridged() -> None:
    """Once the observer has read that a puppet was renamed, its old nick is anybody's."""
    observed = Observed()
    own = puppet(observed)
    assert observed.hears(":anna!a@bridge NICK guest", ":guest!a@bridge PRIVMSG #a :mine") == []
    observed.state.renamed(own, "guest")  # its own connection reads it later
    said = ":anna!b@home PRIVMSG #a :not mine"
    assert observed.hears(":bob!b@home JOIN #a", ":bob!b@home NICK anna", said) == ["not mine"]
    assert observed.hears(":anna!b@home QUIT :x", ":anna!b@home JOIN #a", said) == ["not mine"]
    observed.read()
    assert observed.hears(said, ":guest!a@bridge PRIVMSG #a :mine") == ["not mine"]
    assert (observed.state.nick_of(ANNA), observed.state.user_of("anna")) == ("guest", None)


def test_the_old_nick_is_ours_until_the_observer_has_read_on() -> None:
    """A puppet that knows of its new nick first does not hear itself from the observer."""
    observed = Observed()
    own = puppet(observed)
    observed.state.renamed(own, "guest")
    assert observed.hears(":anna!a@bridge PRIVMSG #a :mine", ":anna!a@bridge NICK guest") == []
    assert observed.hears(":guest!a@bridge PRIVMSG #a :mine") == []
    assert observed.hears(":anna!b@home PRIVMSG #a :not mine") == ["not mine"]


def test_a_rename_that_the_observer_does_not_see_ends_at_the_barrier() -> None:
    """Without a channel in common there is no NICK line; with no observer there is nothing to wait for."""
    observed = Observed()
    own = puppet(observed)
    observed.state.renamed(own, "guest")
    observed.read()
    assert observed.hears(":anna!b@home PRIVMSG #a :not mine") == ["not mine"]
    observed.state.barrier = None
    observed.state.renamed(own, "other")
    assert observed.hears(":guest!b@home PRIVMSG #a :not mine") == ["not mine"]


def test_a_nick_taken_from_a_dead_connection_is_the_strangers() -> None:
    """A puppet whose connection died unnoticed does not make its nick's next owner unheard, however they took it."""
    said = ":anna!b@home PRIVMSG #a :not mine"
    for lines in (
        (":anna!a@bridge QUIT :gone", ":anna!b@home JOIN #a", said),
        (":anna!a@bridge QUIT :gone", ":bob!b@home NICK anna", said),
        (":anna!a@bridge QUIT :gone", said),
        (":bob!b@home NICK anna", said),
    ):
        observed = Observed()
        puppet(observed)
        assert observed.hears(*lines) == ["not mine"], lines


def test_a_puppet_that_comes_back_after_a_split_is_still_ours() -> None:
    """QUIT in a netsplit and JOIN after it: what the puppet says does not come back as another's."""
    observed = Observed()
    puppet(observed)
    assert observed.hears(":anna!a@bridge QUIT :one.test two.test") == []
    assert observed.state.user_of("anna") is None
    assert observed.hears(":anna!a@bridge JOIN #a", ":anna!a@bridge PRIVMSG #a :mine") == []
    assert observed.state.user_of("anna") == ANNA


def test_the_end_of_a_nicks_last_owner_is_not_that_of_a_new_puppet() -> None:
    """An observer that lags reads of the nick's former owners after the puppet has it."""
    observed = Observed()
    observed.state.claim("anna", Flight(), ANNA, by_observer=False)
    assert observed.hears(":bob!b@home NICK anna", ":anna!b@home QUIT :x") == []
    assert observed.hears(":anna!a@bridge JOIN #a", ":anna!a@bridge PRIVMSG #a :mine") == []


async def test_the_owner_of_a_nick_speaks_after_a_puppet_lost_it(rig: StartRig, serve: StartServer) -> None:
    """Over real connections: a puppet is renamed, a person takes the nick, both are heard where they should be."""
    server = await serve()
    adapter = await rig(server.port)
    anna = await adapter.puppet(ANNA)
    session = anna._session
    assert session is not None
    session.tell("NICK", "guest")
    await eventually(lambda: session.nick == "guest")
    person = await adapter.witness("anna", "#a")
    person.privmsg("#a", "I am anna")
    assert (await adapter.inbox.text("I am anna")).sender.id == "anna"
    await adapter.say(anna, "and I was")
    await person.wait_text("and I was")
    person.privmsg("#a", "last")
    await adapter.inbox.text("last")
    assert adapter.inbox.texts == ["I am anna", "last"]
