"""The Matrix side of crash tests of email: a homeserver, and a member of the mailbox who writes and reads there."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.demo.ports import free_port
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from tests.crash.site import TOKENS, Site

T = TypeVar("T")
Event = dict[str, Any]


class Side(Protocol):
    """A homeserver as the rig needs it. `port` is where it sends to, `member` who has the mailbox."""

    url: str
    port: int
    tokens: tuple[str, str]
    member: str

    async def start(self) -> None:
        """Be there."""

    async def stop(self) -> None:
        """Be gone."""

    async def enter(self) -> str:
        """The room that the member is invited to, joined."""

    async def say(self, room: str, text: str) -> None:
        """The member says something."""

    async def events(self, room: str) -> list[Event]:
        """All that is in the room now, the oldest first."""

    async def file(self, mxc: str) -> bytes:
        """The bytes behind an address."""


class FakeSide:
    """The fake homeserver, where a real one adds nothing."""

    member = "@alice:hs.test"

    def __init__(self) -> None:
        self.port = free_port()
        self._appservice = FakeAppservice(url=f"http://127.0.0.1:{self.port}")
        self.tokens = (self._appservice.as_token, self._appservice.hs_token)
        self._homeserver = FakeHomeserver(appservice=self._appservice)
        self.url = ""

    async def start(self) -> None:
        await self._homeserver.start()
        self.url = self._homeserver.url
        self._alice = self._homeserver.user("alice")

    async def stop(self) -> None:
        await self._homeserver.stop()

    async def enter(self) -> str:
        def invited() -> str | None:
            rooms = self._homeserver.rooms()
            return next((one for one in rooms if self._homeserver.room(one).membership(self.member) == "invite"), None)

        room = str(await self._homeserver.wait_for(invited))
        self._alice.join(room)
        return room

    async def say(self, room: str, text: str) -> None:
        self._alice.send(room, text)

    async def events(self, room: str) -> list[Event]:
        return list(self._homeserver.room(room).timeline)

    async def file(self, mxc: str) -> bytes:
        return self._homeserver.file(mxc) or b""


class SynapseSide:
    """The Synapse of all crash tests, and a new user there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._name = f"mailer{next(site.numbers)}"
        self.url, self.port, self.tokens = site.synapse.url, site.port, TOKENS
        self.member = f"@{self._name}:hs.test"

    async def start(self) -> None:
        self._client = MatrixClient(self.url, await self._site.synapse.register_user(self._name, "a-password"))
        await self._client.open()

    async def stop(self) -> None:
        await self._client.close()

    async def enter(self) -> str:
        return await self._client.join(await self._client.wait_for_invite())

    async def say(self, room: str, text: str) -> None:
        await self._client.send_text(room, text)

    async def events(self, room: str) -> list[Event]:
        return await self._client.messages(room)

    async def file(self, mxc: str) -> bytes:
        return await self._client.download(mxc)


async def until(found: Callable[[], T], what: str, timeout: float = 120) -> T:
    """Ask again until it is true; raises TimeoutError naming `what`."""
    try:
        async with asyncio.timeout(timeout):
            while not (one := found()):
                await asyncio.sleep(0.05)
            return one
    except TimeoutError:
        raise TimeoutError(f"not within {timeout:g} s: {what}") from None
