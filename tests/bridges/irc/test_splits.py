"""Netsplits: people of a split stay while they may come back, and leave when they do not."""

import asyncio
from collections.abc import Iterator

import pytest

from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc.config.channels import Netsplit
from bridges.irc.splits import Gone, Splits
from tests.bridges.irc.rig import eventually

A, B = ChatId("#a"), ChatId("#b")
SPLIT = "hub.example leaf.example"


class Rooms:
    """What the splits tell."""

    def __init__(self, **config: float) -> None:
        self.left: list[str] = []
        self.settled: list[frozenset[ChatId]] = []
        self.splits = Splits(
            Netsplit(**{"hold": 60, "window": 0.01, "crowd": 5, **config})  # type: ignore[arg-type]
        )
        self.splits.tell(lambda gone: self.left.append(gone.nick), self.settled.append)

    def quit(self, nick: str, reason: str = "", *chats: ChatId, servers: tuple[str, str] | None = None) -> None:
        """Somebody quits."""
        sender = RemoteSender(RemoteUserId(nick), nick)
        self.splits.quit(
            nick, Gone(nick, sender, f"u@{nick}.example", dict.fromkeys(chats or (A,), 0), reason), servers
        )


@pytest.fixture(name="stopped")
def _stopped() -> Iterator[list[Rooms]]:
    made: list[Rooms] = []
    yield made
    for rooms in made:
        rooms.splits.stop()


async def test_few_who_quit_leave_soon(stopped: list[Rooms]) -> None:
    """An ordinary quit is one as soon as it is clear that it is not one of many."""
    rooms = Rooms()
    stopped.append(rooms)
    rooms.quit("bob", "Quit: bye")
    rooms.quit("eve", "Ping timeout: 240 seconds")
    await eventually(lambda: rooms.left == ["bob", "eve"])
    assert len(rooms.splits) == 0 and rooms.settled == []


@pytest.mark.parametrize("reason", [SPLIT, "*.net *.split", "a-1.irc.example b_2.irc.example"])
async def test_two_servers_are_a_reason_to_wait(stopped: list[Rooms], reason: str) -> None:
    """Even one whose quit names two servers is held, and back in the channel nothing has changed."""
    rooms = Rooms()
    stopped.append(rooms)
    rooms.quit("bob", reason, A, B)
    await asyncio.sleep(0.05)
    assert rooms.left == [] and {nick for nick, _ in rooms.splits.held(A)} == {"bob"}
    assert rooms.splits.came("bob", A, "u@bob.example")
    assert not rooms.splits.came("bob", A, "u@bob.example")
    assert rooms.splits.came("bob", B, "u@bob.example")
    assert len(rooms.splits) == 0


@pytest.mark.parametrize("reason", ["Quit: hub.example leaf.example", "hub leaf", "a.b", "see a.b c.d", "a.b c.d.", ""])
async def test_words_are_no_split(stopped: list[Rooms], reason: str) -> None:
    """What is not exactly two servers' names is somebody's own words."""
    rooms = Rooms()
    stopped.append(rooms)
    rooms.quit("bob", reason)
    await eventually(lambda: rooms.left == ["bob"])


async def test_many_at_once_are_held_whatever_they_say(stopped: list[Rooms]) -> None:
    """A crowd is a split, and the first of the crowd belong to it too."""
    rooms = Rooms(window=5)
    stopped.append(rooms)
    for number in range(5):
        rooms.quit(f"n{number}", "Connection reset")
    await asyncio.sleep(0.05)
    assert rooms.left == [] and len([*rooms.splits.held(A)]) == 5


async def test_the_wait_ends_though_nobody_returns(stopped: list[Rooms]) -> None:
    """The timer starts with the split: people who never return leave, all channels told at once."""
    rooms = Rooms(hold=0.05)
    stopped.append(rooms)
    rooms.quit("bob", SPLIT, A, B)
    rooms.quit("eve", SPLIT, B)
    rooms.quit("dan", servers=("x.example", "y.example"))
    assert rooms.splits.came("eve", B, "")
    await eventually(lambda: len(rooms.settled) == 2)
    assert sorted(rooms.settled, key=len) == [frozenset({A}), frozenset({A, B})]
    assert len(rooms.splits) == 0 and rooms.left == [] and not [*rooms.splits.held(B)]


async def test_another_under_a_held_nick_is_not_the_one_who_left(stopped: list[Rooms]) -> None:
    """Who takes the nick of somebody held from elsewhere makes them leave first."""
    rooms = Rooms()
    stopped.append(rooms)
    rooms.quit("bob", SPLIT, A, B)
    assert not rooms.splits.came("bob", A, "evil@elsewhere.example")
    assert rooms.left == ["bob"] and len(rooms.splits) == 0
    rooms.quit("eve", SPLIT)
    rooms.splits.dropped("eve")
    assert rooms.left == ["bob", "eve"]


async def test_without_a_wait_everybody_leaves_at_once(stopped: list[Rooms]) -> None:
    """Switched off, a split is a crowd of people leaving."""
    rooms = Rooms(hold=0)
    stopped.append(rooms)
    rooms.quit("bob", SPLIT)
    assert rooms.left == ["bob"]


async def test_a_channel_that_ends_holds_nobody(stopped: list[Rooms]) -> None:
    """People are held in the other channels only."""
    rooms = Rooms()
    stopped.append(rooms)
    rooms.quit("bob", SPLIT, A, B)
    rooms.quit("eve", SPLIT, A)
    rooms.splits.closed(A)
    assert len(rooms.splits) == 1 and not [*rooms.splits.held(A)]
