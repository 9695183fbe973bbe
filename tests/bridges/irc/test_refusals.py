"""Refusals: in which words servers say that a message went nowhere, with labels and without, is no matter."""

import asyncio

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId
from bridge_core.api.network import Proof, Sent
from bridges.irc.answers import Answers
from bridges.irc.codec.message import parse
from bridges.irc.config import IrcConfig
from bridges.irc.flight import Flight, Outbound
from bridges.irc.state import NetworkState

REFUSALS = [
    # numerics with the target behind our nick: moderated, banned, quieted, colours, not registered, too fast, spam
    ("404 anna #a :Cannot send to channel (+m)", "Cannot send to channel (+m)"),
    ("404 anna #a :You cannot send messages to this channel whilst banned.", "whilst banned"),
    ("404 anna #A :Your message to #a was blocked: spam", "was blocked: spam"),
    ("408 anna #a :You cannot use control codes on this channel.", "control codes"),
    ("477 anna #a :You need a registered nick to speak", "registered nick"),
    ("492 anna #a :Can't send CTCP to channel", "CTCP"),
    ("403 anna #a :No such channel", "No such channel"),
    ("442 anna #a :You're not on that channel", "not on that channel"),
    ("415 anna #a :Cannot send message to channel (+R)", "+R"),
    ("531 anna #a :You are not permitted to send private messages to this user", "not permitted"),
    # standard replies: with their target, or with nothing that says which line it was
    ("FAIL PRIVMSG CANNOT_SEND #a :You cannot speak here", "cannot speak here"),
    ("FAIL PRIVMSG INVALID_UTF8 :Message rejected, your IRC software MUST use UTF-8", "UTF-8"),
]


class Wire:
    """The answers to one message on its way."""

    def __init__(self, *, labelled: bool, echoes: bool = True) -> None:
        state = NetworkState(NetworkId("irc"), IrcConfig(server="irc.test"))
        self.flight = Flight()
        self.answers = Answers(state, self.flight, lambda: echoes)
        self.outbound = Outbound(asyncio.get_running_loop().create_future(), 1)
        self.label = self.flight.add(self.outbound, 0, "PRIVMSG", "#a", "hello", labelled=labelled)

    def hears(self, *lines: str) -> None:
        """Takes lines as a session does; an unanswered message is proved by the PONG at the end."""
        token = self.flight.ping()
        for raw in lines:
            line = parse(raw.replace("LABEL", self.label).encode())
            if line.tags and self.answers.labelled(line):
                continue
            if line.command == "BATCH":
                self.answers.batch(line)
            elif line.command == "FAIL":
                self.answers.failed(line)
            elif line.command[0] in "45":
                assert self.answers.error(line)
        self.flight.pong(token or "")

    @property
    def result(self) -> Sent:
        """What became of it."""
        return self.outbound.future.result()


@pytest.mark.parametrize(("line", "words"), REFUSALS)
@pytest.mark.parametrize("how", ["bare", "label", "batch"])
async def test_the_senders_are_told_in_the_servers_words(line: str, words: str, how: str) -> None:
    """Whichever way it is said, the message ends as refused, and its reason is what the server said."""
    wire = Wire(labelled=how != "bare")
    match how:
        case "bare":
            wire.hears(f":irc.test {line}")
        case "label":
            wire.hears(f"@label=LABEL :irc.test {line}")
        case _:
            wire.hears(
                "@label=LABEL :irc.test BATCH +1 labeled-response",
                "@batch=1 :irc.test NOTICE anna :a word before",
                f"@batch=1 :irc.test {line}",
                ":irc.test BATCH -1",
            )
    with pytest.raises(RejectedError) as caught:
        _ = wire.result
    assert words in str(caught.value)


@pytest.mark.parametrize("batch", [True, False])
async def test_a_word_of_the_server_is_no_echo(batch: bool) -> None:
    """Where echoes are promised and only a NOTICE of the server answers the label, the message was swallowed."""
    notice = ":irc.test NOTICE anna :*** Your message was blocked by a filter"
    lines = (
        ("@label=LABEL :irc.test BATCH +1 labeled-response", f"@batch=1 {notice}", ":irc.test BATCH -1")
        if batch
        else (f"@label=LABEL {notice}",)
    )
    wire = Wire(labelled=True)
    wire.hears(*lines)
    with pytest.raises(RejectedError, match="blocked by a filter"):
        _ = wire.result
    plain = Wire(labelled=True, echoes=False)
    plain.hears(*lines)
    assert plain.result.proof is Proof.ACCEPTED


async def test_an_echo_counts_whatever_the_server_adds() -> None:
    """The echo in a batch with a notice, or with the other's away message, is the proof and gives the id."""
    for more in (":irc.test NOTICE anna :by the way", ":irc.test 301 anna bob :out"):
        wire = Wire(labelled=True)
        wire.hears(
            "@label=LABEL :irc.test BATCH +1 labeled-response",
            f"@batch=1 {more}",
            "@batch=1;msgid=m1 :anna!a@h PRIVMSG #a :hello",
            ":irc.test BATCH -1",
        )
        assert (wire.result.proof, wire.result.ids) == (Proof.ECHOED, ("m1",))
