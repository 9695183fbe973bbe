"""The order and pace of connections, in a time that the tests turn."""

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from bridges.irc.schedule import Schedule, Stage, Turn, Urgency


@dataclass
class World:
    """A schedule, its time, and who was let through when."""

    schedule: Schedule
    now: float = 0.0
    went: list[tuple[float, Turn]] = field(default_factory=list)

    def ask(
        self, address: str = "", urgency: Urgency = Urgency.NOW, used_at: float = 0.0, not_before: float = 0.0
    ) -> Turn:
        turn = Turn(address, urgency, used_at, lambda: None)
        assert self.schedule.ask(turn, not_before)
        return turn

    def turn(self, until: float, *, open_all: bool = True) -> list[Turn]:
        """Lets time pass as the timer would, opening at once whatever is let through; who went meanwhile."""
        before = len(self.went)
        for _ in range(100_000):
            for turn in self.schedule.due(self.now):
                self.went.append((self.now, turn))
                if open_all:
                    self.schedule.opened(turn, self.now)
            at = self.schedule.next_at(self.now)
            if at is None or at > until:
                break
            self.now = max(at, self.now + 1e-9)
        else:
            raise AssertionError("the timer never rests")
        self.now = until
        return [turn for _, turn in self.went[before:]]


def make(**how: float) -> World:
    """A world with wide limits, but for those given."""
    limits = {"most": 1000, "opening": 1000, "waiting": 1000, "rate": 0, "burst": 1, **how}
    return World(Schedule(**limits))  # type: ignore[arg-type]


def test_nobody_waits_for_anothers_back_off() -> None:
    """Who failed waits for a time of their own; whoever comes later goes first."""
    world = make(rate=1, burst=1)
    late = world.ask(not_before=50.0)
    others = [world.ask(used_at=float(number)) for number in range(5)]
    assert world.turn(10.0) == list(reversed(others))
    assert world.turn(60.0) == [late]


def test_nobody_waits_for_anothers_address() -> None:
    """A held address holds its own users only, and the tokens are for the others."""
    world = make(rate=1, burst=1)
    world.schedule.hold("held", 100.0)
    held = [world.ask("held", used_at=1000.0 + number) for number in range(3)]
    free = [world.ask("free", used_at=float(number)) for number in range(3)]
    assert world.turn(50.0) == list(reversed(free))
    assert world.turn(200.0) == list(reversed(held))


def test_active_ones_go_first() -> None:
    """A waiting message goes before a lost connection, that before an idle one; the latest before earlier ones."""
    world = make(rate=1, burst=1)
    idle = [world.ask(urgency=Urgency.LATER, used_at=float(number)) for number in range(3)]
    active = [world.ask(urgency=Urgency.ACTIVE, used_at=float(number)) for number in range(3)]
    now = world.ask(urgency=Urgency.NOW, used_at=1.0)
    assert world.turn(100.0) == [now, *reversed(active), *reversed(idle)]


def test_who_speaks_again_is_hurried() -> None:
    """A waiting user who speaks comes before those who do not."""
    world = make(rate=1, burst=1)
    world.ask(used_at=5.0)
    assert len(world.turn(0.5)) == 1
    turns = [world.ask(urgency=Urgency.LATER) for _ in range(5)]
    world.schedule.hurry(turns[3], Urgency.NOW, 9.0)
    assert world.turn(100.0)[0] is turns[3]


def test_the_rate_holds_for_all_and_for_each_address() -> None:
    """A burst at once, then one per period; an address has its own limit beside that of all."""
    world = make(rate=2, burst=4, address_rate=0.5, address_burst=2)
    for number in range(40):
        world.ask(f"a{number % 2}")
    world.turn(1000.0)
    times = [at for at, _ in world.went]
    assert len(times) == 40
    for own, rate, burst in [
        (times, 2.0, 4),
        ([at for at, turn in world.went if turn.address == "a0"], 0.5, 2),
        ([at for at, turn in world.went if turn.address == "a1"], 0.5, 2),
    ]:
        for place, start in enumerate(own):
            within = [at for at in own[place:] if at <= start + 10.0]
            assert len(within) <= burst + rate * 10.0 + 1e-6


def test_a_refused_address_is_tried_by_one_at_a_time() -> None:
    """After a hold one connection goes; the others follow once it is welcome, and not before."""
    world = make()
    turns = [world.ask() for _ in range(10)]
    world.schedule.hold("", 10.0)
    assert len(world.turn(20.0, open_all=False)) == 1
    probe = world.went[-1][1]
    world.schedule.hold("", 30.0)
    world.schedule.gone(probe, world.now)
    assert world.turn(29.0, open_all=False) == []
    assert len(world.turn(40.0, open_all=False)) == 1
    world.schedule.opened(world.went[-1][1], world.now)
    assert len(world.turn(41.0)) == 8
    assert sum(turn.stage is Stage.OPEN for turn in turns) == 9


def test_an_end_makes_room_in_a_full_class() -> None:
    """A class that is full is tried again when one of its connections ended, before the pause is over."""
    world = make()
    first = world.ask()
    world.turn(1.0)
    world.schedule.hold("", 1000.0, or_an_end=True)
    waiting = world.ask()
    assert world.turn(2.0) == []
    world.schedule.gone(first, world.now)
    assert world.turn(3.0) == [waiting]


def test_there_are_bounds() -> None:
    """No more wait, are being opened, or are open than allowed; a place that is given back is taken."""
    world = make(most=3, opening=2, waiting=5)
    turns = [world.ask() for _ in range(5)]
    assert not world.schedule.ask(Turn("", Urgency.NOW, 0.0, lambda: None))
    assert len(world.turn(1.0, open_all=False)) == 2
    for turn in turns[:2]:
        world.schedule.opened(turn, 1.0)
    assert len(world.turn(2.0)) == 1
    assert (world.schedule.waiting, world.schedule.opening, world.schedule.open) == (2, 0, 3)
    world.schedule.gone(turns[0], 2.0)
    world.schedule.gone(turns[0], 2.0)
    assert len(world.turn(3.0)) == 1


def test_nobody_goes_while_the_network_is_not_reachable() -> None:
    """While the observer is away there is no timer to wait for and nobody is let through."""
    world = make()
    world.schedule.reachable = False
    turn = world.ask()
    assert world.turn(100.0) == []
    assert world.schedule.next_at(100.0) is None
    world.schedule.reachable = True
    assert world.turn(101.0) == [turn]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_everybody_gets_their_turn_in_the_end(seed: int, limited: bool) -> None:
    """Whatever is refused, held, lost and asked again: no limit is passed, and nobody waits for ever."""
    chance = random.Random(seed)
    world = make(most=12, opening=4, waiting=40, rate=2, burst=3, address_rate=1 if limited else 0, address_burst=2)
    addresses = ["", "a", "b"]
    turns: list[Turn] = []
    for _ in range(60):
        world.now += chance.uniform(0.0, 3.0)
        match chance.randrange(6):
            case 0 | 1 if world.schedule.waiting < 40:
                turns.append(
                    world.ask(
                        chance.choice(addresses),
                        chance.choice(list(Urgency)),
                        world.now,
                        world.now + chance.uniform(0, 9),
                    )
                )
            case 2:
                world.schedule.hold(
                    chance.choice(addresses), world.now + chance.uniform(0, 20), or_an_end=chance.random() < 0.5
                )
            case 3 if turns:
                world.schedule.hurry(chance.choice(turns), Urgency.NOW, world.now)
            case _ if turns:
                turn = chance.choice(turns)
                if turn.stage is Stage.OPENING and chance.random() < 0.7:
                    world.schedule.opened(turn, world.now)
                else:
                    world.schedule.gone(turn, world.now)
        list(world.schedule.due(world.now))
        assert world.schedule.opening <= 4
        assert world.schedule.opening + world.schedule.open <= 12
        stages = [turn.stage for turn in turns]
        assert stages.count(Stage.WAITING) == world.schedule.waiting
        assert stages.count(Stage.OPENING) == world.schedule.opening
        assert stages.count(Stage.OPEN) == world.schedule.open
    for turn in turns:
        if turn.stage in (Stage.OPENING, Stage.OPEN):
            world.schedule.gone(turn, world.now)
    for _ in range(10):
        for turn in world.turn(world.now + 100.0):
            world.schedule.gone(turn, world.now)
    assert world.schedule.waiting == 0


def test_who_gives_their_turn_back_lets_the_next_one_try() -> None:
    """After a refusal one is chosen to try; when they do not want to any more, the next one tries in their place."""
    world = make(rate=0.01, burst=1)
    waiting = [world.ask("held", used_at=float(number)) for number in range(4)]
    world.schedule.hold("held", 10.0)
    world.ask("free")
    assert len(world.turn(11.0)) == 1  # the token is spent: who was chosen waits for the next
    for turn in waiting[:0:-1]:  # each one as they are chosen
        world.schedule.gone(turn, world.now)
        assert world.turn(world.now + 1.0) == []
    assert world.turn(250.0) == [waiting[0]]


def test_an_address_at_its_pace_goes_on_after_turns_that_were_given_back() -> None:
    """Who leaves the line of an address that opens one connection a second does not end it for the others."""
    world = make(rate=0.5, burst=1, address_rate=1, address_burst=1)
    turns = [world.ask("a", used_at=float(number)) for number in range(8)]
    world.turn(3.0)
    for turn in turns[::2]:
        world.schedule.gone(turn, world.now)
    world.turn(100.0)
    assert all(turn.stage in (Stage.OPEN, Stage.GONE) for turn in turns)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 0.5, 3]), st.integers(1, 25))
def test_no_lane_stalls(seed: int, address_rate: float, steps: int) -> None:
    """Whatever is refused and given back, and whoever: once nothing happens any more, time alone lets everybody in."""
    chance = random.Random(seed)
    world = make(most=100, opening=2, waiting=100, rate=0.2, burst=1, address_rate=address_rate, address_burst=1)
    addresses = ("", "a")
    turns = [world.ask(chance.choice(addresses), used_at=float(number)) for number in range(20)]
    for address in addresses:
        world.schedule.hold(address, chance.uniform(0, 5))
    for _ in range(steps):
        world.now += chance.uniform(0.0, 2.0)
        for turn in world.schedule.due(world.now):
            if chance.random() < 0.5:
                world.schedule.gone(turn, world.now)
        waiting = sorted(turn for turn in turns if turn.stage is Stage.WAITING)
        opening = [turn for turn in turns if turn.stage is Stage.OPENING]
        if waiting and chance.random() < 0.8:
            world.schedule.gone(waiting[0], world.now)
        elif waiting and chance.random() < 0.2:
            world.schedule.hurry(chance.choice(waiting), Urgency.NOW, world.now + 100.0)
        if opening and chance.random() < 0.5:
            chance.choice((world.schedule.opened, world.schedule.gone))(chance.choice(opening), world.now)
    for turn in turns:
        if turn.stage is Stage.OPENING:
            world.schedule.gone(turn, world.now)
    world.turn(world.now + 1000.0)
    assert all(turn.stage in (Stage.OPEN, Stage.GONE) for turn in turns)
