"""Proofs: what confirms a line, what refuses it, and which line that is."""

import asyncio

import pytest

from bridge_core.api.errors import RejectedError, UnknownOutcomeError
from bridge_core.api.ids import MessageId
from bridge_core.api.network import Proof, Sent
from bridges.irc.flight import LINES_AT_MOST, Flight, Outbound


class Sky:
    """A flight with what was put on it."""

    def __init__(self) -> None:
        self.flight = Flight()

    def send(self, *texts: str, target: str = "#a", labelled: bool = False) -> "tuple[asyncio.Future[Sent], list[str]]":
        """Puts one message on its way: its future and its labels."""
        outbound = Outbound(asyncio.get_running_loop().create_future(), len(texts))
        outbound.future.add_done_callback(lambda future: future.exception())
        labels = [
            self.flight.add(outbound, index, "PRIVMSG", target, text, labelled=labelled)
            for index, text in enumerate(texts)
        ]
        return outbound.future, labels


async def test_a_pong_proves_only_what_was_written_before_its_ping() -> None:
    """Lines behind the PING wait for the next one; only one PING is on its way."""
    sky = Sky()
    first, _ = sky.send("one")
    token = sky.flight.ping()
    assert token is not None and sky.flight.ping() is None
    second, _ = sky.send("two")
    assert sky.flight.pong(token)
    assert first.result() == Sent((), Proof.ACCEPTED)
    assert not second.done()
    token = sky.flight.ping()
    assert token is not None and not sky.flight.pong(token)
    assert second.done() and len(sky.flight) == 0


async def test_a_pong_before_the_echo_that_is_due_is_no_proof() -> None:
    """The server took the line and did not say it: that is told as of unknown fate, not as delivered."""
    sky = Sky()
    outbound = Outbound(asyncio.get_running_loop().create_future(), 2)
    said, _ = [
        sky.flight.add(outbound, index, "PRIVMSG", "#a", text, labelled=True, echo=True)
        for index, text in enumerate(("one", "two"))
    ]
    sky.flight.answered(said, message=MessageId("m1"))
    token = sky.flight.ping()
    assert token is not None
    sky.flight.pong(token)
    with pytest.raises(UnknownOutcomeError, match="no sign"):
        outbound.future.result()


async def test_a_pong_nobody_asked_for_proves_nothing() -> None:
    """A token that is not the last one is passed over."""
    sky = Sky()
    future, _ = sky.send("one")
    sky.flight.pong("mb1")
    sky.flight.ping()
    sky.flight.pong("mb2")
    sky.flight.pong("")
    assert not future.done()


async def test_ids_of_lines_keep_their_order_whatever_the_order_of_echoes() -> None:
    """A message ends with its last echo, its ids in the order of its lines."""
    sky = Sky()
    future, labels = sky.send("one", "two", labelled=True)
    assert sky.flight.answered(labels[1], message=MessageId("m2"))
    assert not future.done()
    assert sky.flight.answered(labels[0], message=MessageId("m1"))
    assert future.result() == Sent((MessageId("m1"), MessageId("m2")), Proof.ECHOED)
    assert not sky.flight.answered(labels[0])
    assert not sky.flight.answered("unknown")


async def test_an_error_refuses_the_oldest_line_to_its_target() -> None:
    """Three errors for three lines of one message leave the next message alone."""
    sky = Sky()
    elsewhere, _ = sky.send("x", target="#b")
    refused, _ = sky.send("one", "two", "three")
    later, _ = sky.send("four")
    for reason in ("first", "second", "third"):
        assert sky.flight.refused_target("#a", reason)
    with pytest.raises(RejectedError, match="first"):
        refused.result()
    assert not later.done() and not elsewhere.done()
    assert not sky.flight.refused_target("#c", "nobody")


async def test_the_observer_proves_the_line_it_saw() -> None:
    """Same text twice is two lines; another target or text is none of ours; spaces at the end do not count."""
    sky = Sky()
    first, _ = sky.send("same")
    second, _ = sky.send("same ")
    assert not sky.flight.seen("PRIVMSG", "#b", "same", None)
    assert not sky.flight.seen("NOTICE", "#a", "same", None)
    assert not sky.flight.seen("PRIVMSG", "#a", "other", None)
    assert sky.flight.seen("PRIVMSG", "#a", "same", MessageId("m1"))
    assert first.done() and not second.done()
    assert sky.flight.seen("PRIVMSG", "#a", "same", MessageId("m2"))
    assert second.result().ids == ("m2",)


async def test_a_loss_leaves_only_the_unproved_unknown() -> None:
    """What was proved stays proved; the rest is of unknown fate, refused lines or not."""
    sky = Sky()
    proved, labels = sky.send("one", labelled=True)
    sky.flight.answered(labels[0])
    half, labels = sky.send("two", "three", labelled=True)
    sky.flight.refused(labels[0], "no")
    sky.flight.lost("gone")
    assert proved.result().proof is Proof.ECHOED
    with pytest.raises(UnknownOutcomeError, match="gone"):
        half.result()
    assert sky.flight.ended and len(sky.flight) == 0


async def test_labels_of_lines_that_a_pong_proved_are_used_up() -> None:
    """However long a server leaves labels unanswered, they do not pile up."""
    sky = Sky()
    for _ in range(3):
        for _ in range(LINES_AT_MOST):
            future, _ = sky.send("x", labelled=True)
        assert sky.flight.full
        token = sky.flight.ping()
        assert token is not None
        sky.flight.pong(token)
        assert future.done() and not sky.flight.full


async def test_whoever_waits_for_room_goes_on_when_there_is_some_or_none_will_come() -> None:
    """`room` returns after a proof, and after the end of the connection."""
    sky = Sky()
    for _ in range(LINES_AT_MOST):
        sky.send("x")
    waiting = asyncio.ensure_future(sky.flight.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert sky.flight.seen("PRIVMSG", "#a", "x", None)
    await asyncio.wait_for(waiting, 60)
    sky.send("y")
    waiting = asyncio.ensure_future(sky.flight.room())
    await asyncio.sleep(0)
    sky.flight.lost("gone")
    await asyncio.wait_for(waiting, 60)
