"""A bridge with the echo network in this process, before a homeserver of any kind, behind one face."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge_core.api.ids import UserId
from tests.conformance.homeservers import SERVER, Event, Homeserver, Human
from tests.harness import InProcess
from tests.scripted import Script

ECHO = f"@_echo_echo:{SERVER}"
BOT = f"@bridgebot:{SERVER}"
ENTRANCES = tuple(f"hall{number}" for number in range(30))


@dataclass
class Bridged:
    """One running bridge and a human; each test takes a chat of its own."""

    homeserver: Homeserver
    bridge: InProcess
    script: Script
    human: Human
    _free: list[str] = field(default_factory=lambda: list(reversed(ENTRANCES)))

    @classmethod
    async def start(
        cls,
        homeserver: Homeserver,
        folder: Path,
        *,
        script: Script | None = None,
        sections: Any = None,
        echo: Any = None,
        beside: Any = None,
        **options: Any,
    ) -> "Bridged":
        """Starts the bridge on a new database, with `echo` and the scripted network `net`, which has these options.

        `sections` are further sections of the configuration, `echo` further options of `echo`, `beside`
        further networks.
        """
        script, human = script or Script(), await homeserver.human()
        networks = {
            "echo": {"type": "echo", "portals": list(ENTRANCES), **(echo or {})},
            "net": {"type": "scripted", "portals": list(ENTRANCES), **options},
            **(beside or {}),
        }
        bridge = InProcess(
            folder,
            networks,
            address=homeserver.url,
            port=homeserver.port,
            tokens=(homeserver.as_token, homeserver.hs_token),
            adapters={"scripted": script},
            permissions={human.id: "admin"},
            **{"relay": {"reactions": True, "polls": True}, **(sections or {})},
        )
        await bridge.start_bridge()
        return cls(homeserver, bridge, script, human)

    def chat(self) -> str:
        """A configured chat that nobody has entered yet."""
        return self._free.pop()

    async def enter(self, network: str = "echo", chat: str = "") -> str:
        """The human joins the room of a chat by its alias, for which the homeserver asks the bridge; its id."""
        return await self.human.join(f"#_{network}_{chat or self.chat()}:{SERVER}")

    async def leave_desk(self) -> None:
        """The human leaves the management room that an earlier test made: a user has one."""
        row = await self.bridge.running.database.users.get(UserId(self.human.id))
        if row is not None and row.management_room:
            await self.human.call("POST", f"rooms/{row.management_room}/leave", {})

    async def private_room(self, *invited: str) -> str:
        """A room of the human that only the invited may join."""
        if invited == (BOT,):
            await self.leave_desk()
        body = {"preset": "private_chat", "invite": list(invited), "name": secrets.token_hex(4)}
        return str((await self.human.call("POST", "createRoom", body))["room_id"])

    async def echoed(self, room: str, body: str) -> Event:
        """The ghost's message with this body."""
        return await self.human.sees(room, lambda e: e["sender"] == ECHO and e["content"].get("body") == body)

    async def by_echo(self, room: str) -> list[Event]:
        """All messages of the ghost."""
        return [e for e in await self.human.timeline(room) if e["sender"] == ECHO and e["type"] == "m.room.message"]

    async def told(self, room: str, text: str) -> Event:
        """The bot's notice that holds `text`."""
        return await self.human.sees(room, lambda e: e["sender"] == BOT and text in str(e["content"].get("body", "")))
