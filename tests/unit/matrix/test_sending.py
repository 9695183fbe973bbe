"""Sending while the homeserver fails."""

import secrets

import orjson
import pytest

from bridge_core.api.errors import NotConnectedError, RateLimitedError, TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, RoomSpec, SendRequest
from bridge_core.matrix.side import AppserviceSide
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile
from tests.unit.matrix.doubles import GHOST, Clock, fake_with_side, side_of


async def prepared(fake: FakeHomeserver, side: AppserviceSide) -> SendRequest:
    """A message of a ghost that is in a room."""
    device = await side.ensure_registered(GHOST)
    room = await side.ensure_room(RoomSpec(f"_r{secrets.token_hex(3)}", "Room", join_rule="public"))
    await side.join(room, GHOST)
    txn = secrets.token_hex(8)
    body = orjson.dumps({"msgtype": "m.text", "body": "hi", "dev.matrix_bridge.id": txn})
    return SendRequest(room, "m.room.message", txn, GHOST, device, body)


@pytest.mark.parametrize("profile", [FakeProfile(), FakeProfile.basic()], ids=["devices", "basic"])
async def test_an_answer_lost_after_the_act_doubles_nothing(profile: FakeProfile) -> None:
    """The retry gives the event that was made; also after a restart of the homeserver."""
    async with fake_with_side(profile) as (fake, side):
        request = await prepared(fake, side)
        # An idempotent request on a kept connection is repeated once by the client itself.
        fake.faults.lose_answer(times=3, match="/send/")
        with pytest.raises(TransientError):
            await side.send(request, 0)
        await fake.restart()
        event_id = await side.send(request, Clock().now)
        assert fake.messages(request.room) == [(GHOST, "hi")]
        assert fake.room(request.room).by_id[event_id]["content"]["body"] == "hi"


async def test_500_after_the_act_doubles_nothing() -> None:
    """As a lost answer."""
    async with fake_with_side() as (fake, side):
        request = await prepared(fake, side)
        fake.faults.fail_after(500, match="/send/")
        with pytest.raises(TransientError):
            await side.send(request, 0)
        await side.send(request, Clock().now)
        assert fake.messages(request.room) == [(GHOST, "hi")]


async def test_429_tells_the_delay() -> None:
    """RateLimitedError; nothing was sent."""
    async with fake_with_side() as (fake, side):
        request = await prepared(fake, side)
        fake.faults.limit(1234, match="/send/")
        with pytest.raises(RateLimitedError) as caught:
            await side.send(request, 0)
        assert caught.value.retry_after == pytest.approx(1.234)
        assert fake.messages(request.room) == []


async def test_a_homeserver_that_is_away_is_not_connected() -> None:
    """NotConnectedError: nothing was written; afterwards all goes on over new connections."""
    async with fake_with_side() as (fake, side):
        request = await prepared(fake, side)
        async with fake.outage():
            with pytest.raises(NotConnectedError):
                await side.send(request, 0)
        await side.send(request, 0)
        assert fake.messages(request.room) == [(GHOST, "hi")]


@pytest.mark.parametrize("status", [404, 502])
async def test_a_proxy_in_front_loses_nothing(status: int) -> None:
    """Its error page is a matter of the moment, whatever the status."""
    async with fake_with_side() as (fake, side):
        request = await prepared(fake, side)
        fake.faults.page(status, match="/send/")
        with pytest.raises(TransientError):
            await side.send(request, 0)
        await side.send(request, 0)


async def test_a_homeserver_that_never_answers_is_given_up() -> None:
    """Every wait has an end."""
    async with FakeHomeserver() as fake:
        side = AppserviceSide(
            address=fake.url,
            as_token=fake.appservice.as_token,
            bot=UserId(fake.bot),
            media_keys=_NoKeys(),
            clock=Clock(),
            timeout=0.05,
        )
        await side.start()
        gate = fake.faults.hold(match="versions")
        with pytest.raises(TransientError, match="too long"):
            await side.check()
        gate.set()
        await side.stop()


class _NoKeys:
    async def get(self, key: str) -> str | None:
        return None

    async def put(self, key: str, mxc: str) -> None:
        return None


async def test_the_token_is_in_no_error_and_in_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither when connecting fails, nor when the homeserver refuses, nor in a repr."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        fake.faults.answer(403, errcode="M_FORBIDDEN", times=2, match="profile")
        with pytest.raises(MatrixRejectedError) as refused:
            await side.set_profile(UserId(fake.bot), "x", None)
        async with fake.outage():
            with pytest.raises(NotConnectedError) as away:
                await side.members(RoomId("!r"))
    output = capsys.readouterr()
    for text in (str(refused.value), str(away.value), output.out, output.err, repr(fake.appservice)):
        assert fake.appservice.as_token not in text


async def test_looking_goes_through_pages() -> None:
    """An event some hundreds back is found; the search ends at events older than the first attempt."""
    async with fake_with_side(FakeProfile.basic()) as (fake, side):
        request = await prepared(fake, side)
        first = await side.send(request, 0)
        for number in range(250):
            body = orjson.dumps({"body": str(number), "dev.matrix_bridge.id": str(number)})
            await side.send(SendRequest(request.room, request.type, f"n{number}", GHOST, None, body), 0)
        await fake.restart()
        fake.requests.clear()
        assert await side.send(request, 1) == first
        assert sum(line.endswith("/messages") for line in fake.requests) == 3
        fake.requests.clear()
        body = orjson.dumps({"body": "new", "dev.matrix_bridge.id": "new"})
        # The attempt was made in this clock's time, long after all that is in the room.
        await side.send(SendRequest(request.room, request.type, "new", GHOST, None, body), 99_000_000_000_000)
        assert sum(line.endswith("/messages") for line in fake.requests) == 1


async def test_looking_works_where_the_bot_is_not() -> None:
    """In a room without the bot the sender looks for itself."""
    async with fake_with_side(FakeProfile.basic()) as (fake, side):
        human = fake.user("human")
        room = RoomId(human.create_room(preset="public_chat"))
        await side.ensure_registered(GHOST)
        await side.join(room, GHOST)
        body = orjson.dumps({"body": "hi", "dev.matrix_bridge.id": "i"})
        request = SendRequest(room, "m.room.message", "t", GHOST, None, body)
        first = await side.send(request, 0)
        await fake.restart()
        assert await side.send(request, 5) == first
        assert fake.messages(room) == [(GHOST, "hi")]
