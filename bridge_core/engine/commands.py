"""Commands in the management room and, after `!bridge`, in any room. Answers are stored like messages: said once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import EventId, NetworkId, RoomId, UserId
from bridge_core.api.optional import WatchesChats
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.private import PrivateChats
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One command as it was given."""

    room: RoomId
    sender: UserId
    event: EventId
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command: how it is written, what it does, and who may give it."""

    name: str
    arguments: tuple[str, ...]
    help: str
    level: Permission
    run: Callable[[Call], Awaitable[str]]

    @property
    def usage(self) -> str:
        """How to write it."""
        return " ".join((self.name, *self.arguments))


class Commands:
    """All commands."""

    def __init__(
        self,
        permissions: Permissions,
        networks: Networks,
        portals: PortalIndex,
        rooms: RoomMaker,
        private: PrivateChats,
        matrix: MatrixSide,
        status: Status,
    ) -> None:
        self._permissions = permissions
        self._networks = networks
        self._portals = portals
        self._rooms = rooms
        self._private = private
        self._matrix = matrix
        self._status = status
        user, admin = Permission.USER, Permission.ADMIN
        self._commands: Final = {
            command.name: command
            for command in (
                Command("help", (), "what I can do", Permission.RELAY, self._help),
                Command("status", (), "how the networks are", Permission.RELAY, self._show_status),
                Command("list", ("NETWORK",), "bridged chats of a network", user, self._list),
                Command("portal", ("NETWORK", "CHAT"), "make a room for a chat and invite you", admin, self._portal),
                Command("bridge", ("NETWORK", "CHAT"), "bridge this room to a chat", user, self._bridge),
                Command("unbridge", (), "end all bridging of this room", user, self._unbridge),
                Command("chat", ("NETWORK", "PERSON"), "open a private chat", user, self._chat),
            )
        }

    async def run(self, event: Mapping[str, Any], text: str) -> None:
        """Run a command and store its answer. Raises TransientError and RateLimitedError, to be run again."""
        room, sender, event_id = RoomId(event["room_id"]), UserId(event["sender"]), EventId(event["event_id"])
        level = self._permissions.of(sender)
        if level is Permission.BLOCKED:
            return
        answer = await self._answer(Call(room, sender, event_id, tuple(text.split()[1:])), level, text)
        await self._status.say(room, answer, about=event_id, key=f"answer\x1f{event_id}")

    async def _answer(self, call: Call, level: Permission, text: str) -> str:
        words = text.split()
        command = self._commands.get(words[0].lower()) if words else self._commands["help"]
        if command is None:
            return f"I do not know {words[0][:40]!r}. Say help for what I can do."
        if level < command.level:
            return f"You may not use {command.name}: it needs the level {command.level.name.lower()}."
        if len(call.words) != len(command.arguments):
            return f"Write it as: {command.usage}"
        try:
            return await command.run(call)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.info("command_failed", command=command.name, sender=call.sender, error=str(error))
            return f"That did not work: {error}"

    async def _help(self, call: Call) -> str:
        level = self._permissions.of(call.sender)
        return "\n".join(
            f"{command.usage} - {command.help}" for command in self._commands.values() if level >= command.level
        )

    async def _show_status(self, call: Call) -> str:
        lines = []
        for network in self._networks:
            meta, state = network.meta, network.states.get(None)
            how = f"{state.status.value} {state.reason}".strip() if state else "not connected yet"
            lines.append(f"{network.id} ({meta.name}): {how}; plaintext exists on the {meta.plaintext.value}")
        return "\n".join(lines) or "No networks are configured."

    async def _list(self, call: Call) -> str:
        (network,) = call.words
        rows = sorted(self._portals.of_network(NetworkId(network)), key=lambda row: row.chat)
        shown = [f"{row.chat}: {', '.join(row.rooms) or 'no room yet'}" for row in rows if row.receiver is None]
        more = [f"... and {len(shown) - 100} more"] if len(shown) > 100 else []
        return "\n".join(shown[:100] + more) or "None."

    async def _portal(self, call: Call) -> str:
        row = await self._ensure(call.words)
        room = await self._rooms.ensure(row)
        await self._matrix.invite(room, call.sender)
        return f"{row.chat} is in {room}; you are invited."

    async def _bridge(self, call: Call) -> str:
        await self._may_change(call)
        row = await self._ensure(call.words)
        await self._rooms.adopt(row, call.room)
        return f"This room is now bridged to {row.chat} on {row.network}."

    async def _unbridge(self, call: Call) -> str:
        await self._may_change(call)
        rows = self._portals.in_room(call.room)
        if not rows:
            return "This room is not bridged."
        for row in rows:
            left = await self._portals.remove_room(row, call.room)
            if left.rooms:
                continue
            await self._portals.delete(left)
            network = self._networks.get(row.network)
            if network is not None and isinstance(network.connector, WatchesChats):
                await network.connector.chat_removed(row.chat)
        return "This room is bridged no more."

    async def _chat(self, call: Call) -> str:
        network, person = call.words
        name = (await self._matrix.profile(call.sender)).name or call.sender
        room = await self._private.open(NetworkId(network), call.sender, name, person)
        return f"You are invited to {room}."

    async def _ensure(self, words: Sequence[str]) -> PortalRow:
        name, text = words
        chat = self._networks.chat(NetworkId(name), text)
        row = await self._portals.ensure(NetworkId(name), chat, name=text)
        network = self._networks.get(row.network)
        if network is not None and isinstance(network.connector, WatchesChats):
            await network.connector.chat_added(row.chat)
        return row

    async def _may_change(self, call: Call) -> None:
        """An admin of the bridge, or whoever may change this room's state, asked of the room itself each time."""
        if self._permissions.of(call.sender) is Permission.ADMIN:
            return
        if await self._matrix.may_change(call.room, call.sender):
            return
        raise RejectedError("you may not change this room's settings, so you may not change its bridging")
