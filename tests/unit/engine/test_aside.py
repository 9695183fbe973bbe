"""Who gives way where there is no place left for messages that wait for their keys."""

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.aside import Kept, KeptRoom, KeptSession, gives_way

ONE, TWO = RoomId("!one:hs"), RoomId("!two:hs")
MALLORY, ALICE, BOB = (UserId(f"@{name}:hs") for name in ("mallory", "alice", "bob"))


def rooms_of(**of: UserId) -> dict[RoomId, KeptRoom]:
    """Entries by number (`e1`) or redactions (`r1`), odd ones in one room, even ones in another."""
    rooms = {ONE: KeptRoom(), TWO: KeptRoom()}
    for name, sender in of.items():
        number = int(name[1:])
        room = ONE if number % 2 else TWO
        session = rooms[room].sessions.setdefault(f"s{number}", KeptSession())
        session.kept[number] = Kept(EventId(f"${number}"), sender, name[0] == "r")
    return rooms


def test_the_oldest_of_who_has_most_goes() -> None:
    """Over all rooms that are looked at; who has nothing gets a place of who has more than one."""
    rooms = rooms_of(e1=ALICE, e2=MALLORY, e3=MALLORY, e4=MALLORY, e5=BOB)
    assert gives_way(rooms, ALICE) == (TWO, "s2", 2)
    assert gives_way({ONE: rooms[ONE]}, BOB) is None


def test_nobody_gives_way_to_who_would_have_as_many() -> None:
    """Else two would have each other refused for ever."""
    rooms = rooms_of(e1=ALICE, e2=MALLORY, e3=MALLORY)
    assert gives_way(rooms, ALICE) is None
    assert gives_way(rooms, MALLORY) is None
    assert gives_way(rooms, BOB) == (TWO, "s2", 2)


def test_a_redaction_gives_way_to_nobody() -> None:
    """What it takes back would be sent."""
    rooms = rooms_of(r1=MALLORY, r2=MALLORY, e3=MALLORY, e4=ALICE)
    assert gives_way(rooms, BOB) == (ONE, "s3", 3)
    assert gives_way(rooms_of(r1=MALLORY, r2=MALLORY, r3=MALLORY), BOB) is None
