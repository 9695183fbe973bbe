"""The fake homeserver itself: HTTP in front of the world, start, stop, restart, and what tests look at."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from bridge_core.testing.homeserver.accounts_api import AccountsApi
from bridge_core.testing.homeserver.backups import BackupsApi
from bridge_core.testing.homeserver.events_api import EventsApi
from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.faults import Faults
from bridge_core.testing.homeserver.keys import KeyBook
from bridge_core.testing.homeserver.keys_api import KeysApi
from bridge_core.testing.homeserver.media_api import MediaApi
from bridge_core.testing.homeserver.openid_api import OpenIdApi
from bridge_core.testing.homeserver.profile import FakeAppservice, FakeProfile
from bridge_core.testing.homeserver.push import Pusher
from bridge_core.testing.homeserver.room import Event, FakeRoom
from bridge_core.testing.homeserver.rooms_api import RoomsApi
from bridge_core.testing.homeserver.user import FakeUser
from bridge_core.testing.homeserver.world import World

__all__ = ["FakeHomeserver"]


class FakeHomeserver:
    """A homeserver in this process, for tests: `async with FakeHomeserver() as hs`.

    It behaves as Synapse does where bridges notice (measured; the same tests run on both), pushes transactions to
    `appservice.url` as soon as that is set, and fails as `faults` is told to. No federation; its /sync has no rooms.
    `puppet_token` is that of a second appservice, which may act as every user.
    """

    def __init__(
        self,
        *,
        server_name: str = "hs.test",
        profile: FakeProfile | None = None,
        appservice: FakeAppservice | None = None,
        port: int = 0,
        puppet_token: str | None = None,
    ) -> None:
        self.server_name = server_name
        self.appservice = appservice or FakeAppservice()
        self.faults = Faults()
        self.requests: list[str] = []
        """`METHOD path` of every request, in order, those that failed included."""
        self.bodies: list[bytes] | None = None
        """The bodies of all requests, once a test has set this to a list."""
        self._world = World(server_name, profile or FakeProfile(), self.appservice)
        self._world.puppet_token = puppet_token
        self._pusher = Pusher(self._world)
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens on loopback; the port stays the same over `stop` and `start`."""
        # Without a waiting time, so that connections kept open do not delay `stop`.
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        await self._pusher.start()

    async def stop(self) -> None:
        """Refuses connections from now on; all data stays."""
        self.faults.clear()
        await self._pusher.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Stops and starts: transaction ids without a device are forgotten, numbers start from 1 (see the profile)."""
        await self.stop()
        self._world.memory_txns.clear()
        if not self._world.profile.durable_numbers:
            self._pusher.forget_numbers()
        await self.start()

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Is not there for a while."""
        await self.stop()
        try:
            yield
        finally:
            await self.start()

    @property
    def url(self) -> str:
        """The client-server API's address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def bot(self) -> str:
        """The appservice's own user."""
        return f"@{self.appservice.bot or self.appservice.sender_localpart}:{self.server_name}"

    @property
    def accounts(self) -> list[str]:
        """All users that were registered."""
        return list(self._world.accounts)

    @property
    def transactions(self) -> list[tuple[str, dict[str, Any]]]:
        """Transactions the appservice answered with 200: id and body."""
        return self._pusher.delivered

    @property
    def push_attempts(self) -> int:
        """How often a transaction was sent, tries that failed included."""
        return self._pusher.attempts

    @property
    def keys(self) -> KeyBook:
        """What there is of encryption: keys by device, to-device messages."""
        return self._world.keys

    def user(self, localpart: str, server: str = "") -> FakeUser:
        """Registers a human, of another server where one is named (who acts here all the same)."""
        return FakeUser(self._world, self._world.register(localpart, token=secrets.token_urlsafe(16), server=server))

    def room(self, room_or_alias: str) -> FakeRoom:
        """A room by id or alias, to look into: `timeline`, `content(type, key)`, `membership(user)`, `members()`."""
        return self._world.rooms[self._world.aliases.get(room_or_alias, room_or_alias)]

    def rooms(self) -> list[str]:
        """Ids of all rooms."""
        return list(self._world.rooms)

    def messages(self, room: str) -> list[tuple[str, Any]]:
        """(sender, body) of each m.room.message, in order."""
        return [
            (event["sender"], event["content"].get("body"))
            for event in self.room(room).timeline
            if event["type"] == "m.room.message"
        ]

    def file(self, mxc: str) -> bytes | None:
        """The bytes behind an address, None while they are not there."""
        return self._world.file(mxc).data

    def files(self) -> list[str]:
        """All media addresses, reserved ones included."""
        return list(self._world.files)

    def lose_file(self, mxc: str) -> None:
        """Lets a media address expire."""
        del self._world.files[mxc]

    def displayname(self, user: str) -> str | None:
        """A user's name."""
        return self._world.accounts[user].displayname

    async def wait_for(self, look: Callable[[], Any], timeout: float = 60) -> Any:
        """Returns the first truthy value `look()` has; asked again whenever something changes. Raises TimeoutError."""
        return await self._world.wait(lambda: look() or None, timeout)

    async def wait_event(self, room: str, match: Callable[[Event], bool], timeout: float = 60) -> Event:
        """Returns the first event of the room that matches, waiting for it. Raises TimeoutError."""
        found = await self.wait_for(lambda: next((e for e in self.room(room).timeline if match(e)), None), timeout)
        event: Event = found
        return event

    async def wait_message(self, room: str, body: str, timeout: float = 60) -> Event:
        """Returns the message with exactly this body, waiting for it."""
        return await self.wait_event(room, lambda event: event["content"].get("body") == body, timeout)

    async def wait_pushed(self, timeout: float = 60) -> None:
        """Returns when the appservice has everything there is for it."""
        await self.wait_for(lambda: self._pusher.idle, timeout)

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=self._world.profile.max_upload + 1024, middlewares=[self._middleware])
        for api in (
            AccountsApi(self._world),
            OpenIdApi(self._world),
            RoomsApi(self._world, self._pusher),
            EventsApi(self._world, self._pusher),
            MediaApi(self._world),
            KeysApi(self._world),
            BackupsApi(self._world),
        ):
            api.add_to(app.router, _as_json)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.bodies is not None:
            self.bodies.append(str(request.rel_url).encode() + b"\n" + await request.read())
        return await self.faults.apply(request, lambda given: _answered(given, handler))


async def _answered(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except MatrixError as error:
        return web.json_response(error.body, status=error.status)
    except web.HTTPNotFound:
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, status=404)
    except web.HTTPMethodNotAllowed:
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, status=405)
    return response


def _as_json(
    handler: Callable[[web.Request], Awaitable[Any]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answered(request: web.Request) -> web.StreamResponse:
        value = await handler(request)
        if isinstance(value, web.StreamResponse):
            return value
        return web.Response(body=orjson.dumps(value), content_type="application/json")

    return answered
