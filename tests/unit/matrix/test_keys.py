"""The key endpoints where answers are bad: errors by class, and one user who cannot be read."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from bridge_core.api.errors import RateLimitedError, TransientError
from bridge_core.api.ids import UserId
from bridge_core.crypto.ports import Claimed, Owner, Queried
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.keys import Keys
from bridge_core.matrix.requests import UnreadableAnswerError
from tests.unit.matrix.doubles import GHOST, fake_with_side

OWNER = Owner(GHOST, "MATRIXBRIDGE")
USERS = [UserId(f"@user{number}:hs.test") for number in range(40)]
BAD = USERS[17]


class Asked:
    """Answers queries and claims, except those that name the bad user."""

    def __init__(self) -> None:
        self.calls = 0

    async def post(self, *path: str, content: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        self.calls += 1
        kind = "device_keys" if path[-1] == "query" else "one_time_keys"
        if BAD in content[kind]:
            raise UnreadableAnswerError("half a character")
        more = {"failures": {"other.test": {}}, "master_keys": None}
        return {kind: {user: {"DEVICE": {"user": user}} for user in content[kind]}, **more}


async def test_one_unreadable_user_hides_nobody_else() -> None:
    """All others are queried and claimed from, in a number of calls that grows with the logarithm of the users."""
    asked = Asked()
    keys = Keys(cast(Homeserver, asked))
    found = await keys.query_keys(OWNER, USERS)
    assert set(found.devices) == set(USERS) - {BAD}
    assert (found.masters, found.failed) == ({}, frozenset({"other.test"}))
    assert asked.calls <= 13
    claimed = await keys.claim_keys(OWNER, {user: {"DEVICE": "signed_curve25519"} for user in USERS})
    assert set(claimed.keys) == set(USERS) - {BAD}
    assert claimed.failed == frozenset({"other.test"})
    assert await keys.query_keys(OWNER, [BAD]) == Queried({}, {}, {}, {})
    assert await keys.claim_keys(OWNER, {BAD: {}}) == Claimed({})


async def test_nothing_is_asked_for_nobody() -> None:
    """Without users there is no request."""
    asked = Asked()
    keys = Keys(cast(Homeserver, asked))
    assert await keys.query_keys(OWNER, []) == Queried({}, {}, {}, {})
    assert await keys.claim_keys(OWNER, {}) == Claimed({})
    assert asked.calls == 0


async def test_errors_are_told_apart() -> None:
    """429 comes with its delay, 5xx and lost answers may be tried again, and nothing was retried inside."""
    async with fake_with_side() as (fake, side):
        await side.ensure_registered(GHOST)
        fake.faults.limit(1500, match="keys/claim")
        with pytest.raises(RateLimitedError) as limited:
            await side.keys.claim_keys(OWNER, {GHOST: {"MATRIXBRIDGE": "signed_curve25519"}})
        assert limited.value.retry_after == 1.5
        fake.faults.answer(502, match="keys/query")
        with pytest.raises(TransientError):
            await side.keys.query_keys(OWNER, [GHOST])
        fake.faults.lose_answer(match="keys/upload")
        with pytest.raises(TransientError):
            await side.keys.upload_keys(OWNER, {})
        assert sum("/keys/" in line for line in fake.requests) == 3
