"""The fake homeserver's own habits: pushing, restarting, failing on order."""

import aiohttp
import pytest
from aiohttp import web

from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver, FakeProfile, MatrixError
from bridge_core.testing.homeserver.user import FakeUser


class Service:
    """An appservice that answers with the next of `statuses`, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.numbers: list[str] = []
        self.bodies: list[str] = []
        app = web.Application()
        app.router.add_put("/_matrix/app/v1/transactions/{txn}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            body = await request.json()
            self.numbers.append(request.match_info["txn"])
            self.bodies += [e["content"]["body"] for e in body["events"] if "body" in e["content"]]
        return web.json_response({}, status=status)


def bot_joins(hs: FakeHomeserver, room: str, by: FakeUser) -> None:
    """The bot is invited, and joins: from then on the room is the appservice's business."""
    if hs.room(room).membership(hs.bot) != "invite":
        by.invite(room, hs.bot)
    hs.user(hs.bot[1:].partition(":")[0]).join(room)


async def test_transactions_are_repeated_in_order_until_taken() -> None:
    """Nothing is lost or overtaken while the appservice fails."""
    service = Service(500, 503, 401)
    url = await service.start()
    async with FakeHomeserver(appservice=FakeAppservice(url=url, users="_.*")) as hs:
        alice = hs.user("alice")
        room = alice.create_room(preset="public_chat")
        bot_joins(hs, room, alice)
        for number in range(250):
            alice.send(room, str(number))
        await hs.wait_pushed()
        assert service.bodies == [str(number) for number in range(250)]
        assert hs.push_attempts == len(service.numbers) + 3
    await service.stop()


@pytest.mark.parametrize("durable", [False, True])
async def test_numbers_start_again_after_a_restart(durable: bool) -> None:
    """As Synapse's on SQLite; go on where the profile says so."""
    service = Service()
    profile = FakeProfile(durable_numbers=durable)
    async with FakeHomeserver(appservice=FakeAppservice(url=await service.start()), profile=profile) as hs:
        alice = hs.user("alice")
        room = alice.create_room(preset="public_chat")
        bot_joins(hs, room, alice)
        await hs.wait_pushed()
        before = int(service.numbers[-1])
        await hs.restart()
        alice.send(room, "after")
        await hs.wait_pushed()
        assert service.numbers[-1] == (str(before + 1) if durable else "1")
    await service.stop()


async def test_rooms_that_do_not_concern_the_appservice_stay_private() -> None:
    """No event of a room without our users or aliases is pushed."""
    service = Service()
    async with FakeHomeserver(appservice=FakeAppservice(url=await service.start())) as hs:
        alice = hs.user("alice")
        alice.send(alice.create_room(), "private")
        ours = alice.create_room(preset="public_chat")
        alice.invite(ours, hs.bot)
        alice.send(ours, "not heard: nobody is there yet")
        bot_joins(hs, ours, alice)
        alice.send(ours, "shared")
        await hs.wait_pushed()
        assert service.bodies == ["shared"]
    await service.stop()


async def test_people_do_only_what_they_may() -> None:
    """Membership and power count for humans as for ghosts."""
    async with FakeHomeserver() as hs:
        alice, bob = hs.user("alice"), hs.user("bob")
        room = alice.create_room()
        for act in (
            lambda: bob.send(room, "x"),
            lambda: bob.join(room),
            lambda: bob.invite(room, hs.bot),
            lambda: hs.user("alice"),
        ):
            with pytest.raises(MatrixError):
                act()
        alice.invite(room, bob.id)
        bob.join(room)
        with pytest.raises(MatrixError):
            bob.set_state(room, "m.room.name", {"name": "mine"})
        with pytest.raises(MatrixError):
            bob.kick(room, alice.id)
        event_id = bob.send(room, "x")
        alice.redact(room, event_id)
        assert hs.room(room).by_id[event_id]["content"] == {}
        alice.ban(room, bob.id)
        with pytest.raises(MatrixError):
            bob.join(room)


async def test_faults_come_in_the_order_given_and_end() -> None:
    """Each for the requests it matches, then all is well; what is held goes on when told."""
    async with FakeHomeserver() as hs, aiohttp.ClientSession(hs.url) as session:
        hs.faults.limit(10, match="versions")
        hs.faults.page(502, match="versions")
        hs.faults.lose_request(match="POST")
        seen = []
        for _ in range(3):
            async with session.get("/_matrix/client/versions") as response:
                seen.append(response.status)
        assert seen == [429, 502, 200]
        with pytest.raises(aiohttp.ClientError):
            await session.post("/_matrix/client/v3/register", json={"username": "x"})
        async with session.post("/_matrix/client/v3/register", json={"username": "x"}) as response:
            assert response.status == 200
        assert hs.faults.hits == 3


async def test_waiting_ends_with_a_timeout() -> None:
    """TimeoutError, rather than a test that hangs."""
    async with FakeHomeserver() as hs:
        room = hs.user("alice").create_room()
        with pytest.raises(TimeoutError):
            await hs.wait_message(room, "never", timeout=0.01)
