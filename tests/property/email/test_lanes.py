"""Whatever comes, is put off and ends in whichever order: each mail has its turn, and nothing overtakes it."""

from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.addresses import Address
from bridges.email.lanes import Lanes
from bridges.email.spooled import Waiting

BOXES = [Address("a", "example.org"), Address("b", "example.org"), Address("c", "example.org")]
BOXES_OF_ONE = st.lists(st.sampled_from(BOXES), min_size=1, max_size=3, unique=True)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 50), BOXES_OF_ONE),
    st.tuples(st.just("put off"), st.integers(0, 5), st.integers(1, 30)),
    st.tuples(st.just("over"), st.integers(0, 5), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
def test_each_mail_has_its_turn(steps: list[tuple[str, int, object]]) -> None:
    """All mails end; one that is begun is the oldest of those of its mailboxes that are not over."""
    lanes = Lanes(lambda waiting: frozenset(str(one) for one in waiting.recipients))
    there: dict[str, Waiting] = {}
    under_way: list[str] = []
    now = 0

    def begin() -> None:
        while (key := lanes.take(now)) is not None:
            mine = there[key]
            for other in there.values():
                shared = set(other.recipients) & set(mine.recipients)
                busy = other.key in under_way
                assert not shared or not busy
                assert not shared or (other.received_at, other.key) >= (mine.received_at, mine.key)
            under_way.append(key)

    for number, (what, first, second) in enumerate(steps):
        if what == "add":
            assert isinstance(second, list)
            waiting = Waiting(f"{number}", first, 0, tuple(second))
            there[waiting.key] = waiting
            lanes.add(waiting)
        elif under_way:
            key = under_way.pop(first % len(under_way))
            if what == "over":
                lanes.over(key)
                del there[key]
            else:
                assert isinstance(second, int)
                lanes.put_off(key, now + second)
        now += 1
        begin()
    for _ in range(4 * len(steps)):
        now = max(now, lanes.next_due() or now)
        begin()
        while under_way:
            key = under_way.pop()
            lanes.over(key)
            del there[key]
    assert there == {}
