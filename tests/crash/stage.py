"""A bridge with the network of `tests.crash.staged`, for tests that kill it at a step and count what there is then."""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, func, select

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, MessageId
from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.store.engines import parse
from bridge_core.store.tables import ENTRY_PENDING, journal_entry
from registration.namespaces import Template
from tests.crash.forked import ForkedProcess
from tests.crash.rig import Rig
from tests.crash.site import TOKENS, Site
from tests.crash.staged import Tape
from tests.harness import write_config

BOT = "@bridgebot:hs.test"
Event = dict[str, Any]


class Stage(Rig):
    """One bridge, one shared chat (`channel`), and alice, who has the network's one login when `login` is set.

    With `puppet` it is twin in her place, as whom the bridge may act, who has the login.
    `options` are the network's, `sections` further ones of the configuration.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        login: bool = False,
        puppet: bool = False,
        sections: Any = None,
        **options: Any,
    ) -> None:
        self._options, self._sections = options, dict(sections or {})
        super().__init__(site, folder, network="stage")
        self.tape = Tape(self.folder / "network")
        if puppet:
            self.alice = MatrixClient(site.synapse.url, site.twin)
        if login or puppet:
            (self.folder / "login").write_text(f"@{'twin' if puppet else 'alice'}:hs.test")
        config = str(self.folder / "config.yaml")
        self.child = ForkedProcess(["tests.crash.staged", config], log=self.folder / "bridge.log")
        self.root = MatrixClient(site.synapse.url, site.admin)
        self._said = 0

    def _write(self, busy_timeout: str) -> None:
        network = {"type": "stage", "folder": str(self.folder / "network"), "portals": [self.channel], **self._options}
        write_config(
            self.folder,
            self.site.synapse.url,
            {"stage": network},
            port=self.site.port,
            tokens=TOKENS,
            **{
                "health": {"listen": f"127.0.0.1:{self.health_port}"},
                "logging": {"level": "info"},
                **self._sections,
            },
        )

    async def __aenter__(self) -> "Stage":
        await super().__aenter__()
        await self.root.open()
        return self

    async def close(self) -> None:
        """Ends everything that belongs to this stage."""
        await super().close()
        await self.root.close()

    async def bot(self, method: str, path: str) -> Event:
        """A request as the bridge's bot."""
        return await self.root.request(method, path, headers={"Authorization": f"Bearer {TOKENS[0]}"})

    # What happens

    def says(
        self,
        text: str,
        who: RemoteSender,
        *,
        chat: str = "",
        receiver: LoginId | None = None,
        **content: Any,
    ) -> MessageId:
        """Somebody says something on the network; its id there."""
        self._said += 1
        number = MessageId(f"{self.channel}-{self._said}")
        said = Content((Plain(text),) if text else (), **content)
        message = RemoteMessage(
            ChatId(chat or self.channel), who, said, number, int(time.time() * 1000), receiver=receiver
        )
        self.tape.happens(message)
        return number

    async def killed_and_back(self) -> None:
        """The bridge kills itself at its fault point and is started again."""
        await self.wait_killed()
        await self.start()

    async def at_rest(self) -> None:
        """Everything that happened has ended, in good order; the bridge is stopped then, and its books are read."""
        await self.until(self._tape_read, "the tape is read")
        await self.stop()
        for key, balance in self.books().audit.balances.items():
            assert balance.holds, f"{key} does not balance: {balance}"
            assert balance.pending == balance.waiting == balance.dead == 0, f"{key} is not at rest: {balance}"
        assert not self.failures(), self.failures()

    async def _tape_read(self) -> bool:
        return not self._pending()

    def _pending(self) -> int:
        engine = create_engine(parse(self.database))
        try:
            with engine.connect() as connection:
                return connection.scalar(select(func.count()).where(journal_entry.c.state == ENTRY_PENDING)) or 0
        finally:
            engine.dispose()

    # What there is

    async def until(self, reached: Callable[[], Any], what: str, timeout: float = 60) -> Any:
        """Waits for `reached()` to give something true, which is returned."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := await reached()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"not in {timeout:g} s: {what}; {self.child.tail()}") from None
        return found

    async def seen(self, text: str, room: str = "") -> Event:
        """The event of the room whose body is this text, waiting for it."""

        async def look() -> Event | None:
            return next((one for one in await self.events(room) if one["content"].get("body") == text), None)

        found: Event = await self.until(look, f"{text!r} on Matrix")
        return found

    async def events(self, room: str = "") -> list[Event]:
        """The room's events, oldest first."""
        return await self.alice.messages(room or self.room)

    async def bodies(self, room: str = "") -> list[str]:
        """What others than alice and the bot say in the room, in order."""
        return [
            event["content"].get("body", "")
            for event in await self.events(room)
            if event["type"] == "m.room.message" and event["sender"] not in (BOT, self.alice.user_id)
        ]

    async def rooms(self, name: str) -> list[Event]:
        """All rooms of the homeserver that have this name or an alias of it."""

        async def listed(term: str) -> list[Event]:
            found = await self.root.request("GET", "/_synapse/admin/v1/rooms", query={"search_term": term})
            return [room for room in found["rooms"] if room["name"] == term]

        # Synapse's list lags behind, in the order in which things happened: with this one all others are in it.
        last = f"last {secrets.token_hex(8)}"
        await self.root.create_room(name=last)
        await self.until(lambda: listed(last), "a new room in the list")
        return await listed(name)

    async def uploads(self, user: str) -> list[Event]:
        """The files that a user has uploaded."""
        path = f"/_synapse/admin/v1/users/{quote(user, safe='')}/media"
        return [file for file in (await self.root.request("GET", path))["media"] if file["media_length"]]

    async def joins(self, user: str, room: str = "") -> list[Event]:
        """How often somebody came into the room: changes of name or picture do not count."""
        found = []
        before = "leave"
        for event in await self.events(room):
            if event["type"] == "m.room.member" and event.get("state_key") == user:
                now = event["content"]["membership"]
                if now == "join" != before:
                    found.append(event)
                before = now
        return found

    def ghost(self, name: str) -> str:
        """Somebody's ghost."""
        return f"@{Template('_{network}_{id}').localpart('stage', name, 'hs.test')}:hs.test"
