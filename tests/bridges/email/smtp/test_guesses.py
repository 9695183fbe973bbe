"""Guessing passwords gets slow, for who guesses."""

from bridges.email.smtp.guesses import Guesses
from bridges.email.smtp.masks import masks


class Clock:
    """Stands still until it is turned."""

    now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_peer_waits_longer_each_time() -> None:
    """Five are free, then 10 s, doubled each time, 15 minutes at most; an hour of peace forgets them."""
    clock = Clock()
    guesses = Guesses(clock)
    for number in range(4):
        guesses.wrong("192.0.2.1", f"user{number}")
        assert guesses.wait("192.0.2.1", "other") == 0
    pauses = []
    for number in range(12):
        guesses.wrong("192.0.2.1", f"user{number}")
        pauses.append(guesses.wait("192.0.2.1", "other"))
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-1] == 900
    assert guesses.wait("192.0.2.2", "other") == 0
    assert guesses.wait("", "other") == 0
    clock.now += 3601
    guesses.wrong("192.0.2.1", "user")
    assert guesses.wait("192.0.2.1", "other") == 0


def test_others_do_not_keep_the_owner_out() -> None:
    """An account that many guess at is slow for strangers, not for who was there before."""
    guesses = Guesses(Clock())
    guesses.wrong("198.51.100.1", "alice")
    guesses.right("198.51.100.1", "alice")
    for number in range(20):
        guesses.wrong(f"192.0.2.{number}", "Alice")
    assert guesses.wait("203.0.113.1", "alice") > 0
    assert guesses.wait("198.51.100.1", "alice") == 0
    assert guesses.wait("198.51.100.1", "bob") == 0


def test_right_passwords_are_no_guesses() -> None:
    """A script that logs in a hundred times makes its account slow for nobody; nor does an outage."""
    guesses = Guesses(Clock())
    for number in range(100):
        guesses.wrong("198.51.100.1", "alice")
        if number % 2:
            guesses.right("198.51.100.1", "alice")
        else:
            guesses.unknown("198.51.100.1", "alice")
    assert guesses.wait("203.0.113.1", "alice") == 0
    assert guesses.wait("198.51.100.1", "alice") == 0


def test_a_peer_is_its_network() -> None:
    """Whoever has a /64 has one address."""
    guesses = Guesses(Clock())
    for number in range(6):
        guesses.wrong(f"2001:db8:1:1::{number}", "alice")
    assert guesses.wait("2001:db8:1:1:ffff::1", "bob") > 0
    assert guesses.wait("2001:db8:1:2::1", "bob") == 0
    assert masks("2001:db8:1:1::5") == ("2001:db8:1:1::/64", "2001:db8:1::/48", "2001:db8::/32")
    assert masks("192.0.2.7") == ("192.0.2.7/32", "192.0.2.0/24", "192.0.0.0/16")
