"""Users of the own homeserver are asked for seldom, and never more than it should bear."""

from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.engine import localusers
from bridge_core.engine.localusers import LocalUsers
from tests.unit.engine.test_host import Stopped


class Names:
    """One server, whose ghosts begin with `_`."""

    server = "hs.test"

    def is_ours(self, user: str) -> bool:
        return user.startswith("@_")


class Matrix:
    """A homeserver with two users."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def exists(self, user: str) -> bool:
        self.asked.append(user)
        return user in {"@alice:hs.test", "@_ghost:hs.test"}


def _users() -> tuple[LocalUsers, Matrix, Stopped]:
    matrix, clock = Matrix(), Stopped()
    names: Any = Names()
    there: Any = matrix
    return LocalUsers(there, names, clock), matrix, clock


async def test_answers_are_remembered_for_a_while() -> None:
    """Who is there and who is not: asked once, and again when they may have been made or be gone."""
    users, matrix, clock = _users()
    for _ in range(3):
        assert await users.find("alice") == "@alice:hs.test"
        assert await users.find("eve") is None
    assert len(matrix.asked) == 2
    clock.now = 301.0
    await users.find("eve")
    await users.find("alice")
    assert len(matrix.asked) == 3


@pytest.mark.parametrize("localpart", ["_ghost", "", "Alice", "a b", "a:b", "a/../b\n", "x" * 300, "\u00e4"])
async def test_what_is_no_user_is_not_asked_for(localpart: str) -> None:
    """Ghosts of the bridge and names that no user has are nobody."""
    users, matrix, _ = _users()
    assert await users.find(localpart) is None
    assert matrix.asked == []


async def test_strangers_cannot_ask_without_end() -> None:
    """Above the rate nobody is asked for and nobody waits; what is remembered is bounded, and still told."""
    users, matrix, clock = _users()
    assert await users.find("alice") is not None
    with pytest.raises(TransientError):
        for number in range(1000):
            await users.find(f"u{number}")
    assert len(matrix.asked) <= localusers._RATE[1]
    assert await users.find("alice") is not None
    clock.now = 10.0
    assert await users.find("v") is None
    assert len(users._known) <= localusers._MOST
