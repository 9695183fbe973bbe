"""Commands about rooms: what they are bridged to."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.plumbing import Plumbing, waits_for_consent
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.private import PrivateChats
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.unbridging import Unbridging


class RoomCommands:
    """portal, bridge, unbridge, chat."""

    def __init__(
        self,
        commands: Commands,
        networks: Networks,
        portals: PortalIndex,
        rooms: RoomMaker,
        private: PrivateChats,
        matrix: MatrixSide,
        plumbing: Plumbing,
        unbridging: Unbridging,
        status: Status,
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._rooms = rooms
        self._private = private
        self._matrix = matrix
        self._plumbing = plumbing
        self._unbridging = unbridging
        self._status = status
        user, admin, topic = Permission.USER, Permission.ADMIN, "Rooms"
        commands.add(
            Command("portal", "NETWORK CHAT...", "make a room for a chat and invite you", admin, self._portal, topic),
            Command("bridge", "NETWORK CHAT...", "bridge this room to a chat", user, self._bridge, topic),
            Command("unbridge", "", "end all bridging of this room", user, self._unbridge, topic),
            Command("chat", "NETWORK PERSON...", "open a private chat", user, self._chat, topic),
        )

    async def _portal(self, call: Call) -> Answer:
        row = await self._ensure(call)
        room = await self._rooms.ensure(row)
        await self._matrix.invite(room, call.sender)
        text = f"{row.chat} is in {room}; you are invited."
        if waits_for_consent(row):
            text += f" I have asked {row.chat} on {row.network}: nothing crosses until they agree."
        return Answer(text, {"chat": row.chat, "room": room, "waits": waits_for_consent(row)})

    async def _bridge(self, call: Call) -> Answer:
        room = call.here()
        if call.plain:
            # Bridged, this room would take what is a command now, with its secrets, for messages.
            raise RejectedError(
                "this is your management room: say it in the room that is to be bridged (there as !bridge bridge ...)"
            )
        await self._may_change(call)
        row = await self._ensure(call, into=room)
        self._plumbing.room_for_one(row, room)
        row = await self._rooms.adopt(row, room, by=call.sender)
        text = f"This room is now bridged to {row.chat} on {row.network}."
        if waits_for_consent(row):
            text = f"I have asked {row.chat} on {row.network}. Nothing crosses until they agree."
        text += self._rooms.remarks(row, room)
        if call.private and call.event is not None:
            text += " Commands here begin with !bridge from now on: all else is said to the chat."
        return Answer(text, {"chat": row.chat, "room": room, "waits": waits_for_consent(row)})

    async def _unbridge(self, call: Call) -> Answer:
        room = call.here()
        await self._may_change(call)
        rows = self._portals.in_room(room)
        if not rows:
            return Answer("This room is not bridged.")
        for row in rows:
            await self._unbridging.end(row, room)
        answer = "This room is bridged no more."
        if call.event is not None:
            # Said before the bot leaves, under the key of the command's answer: it is not said again.
            await self._status.say(room, answer, about=call.event, key=f"answer\x1f{call.event}")
        await self._unbridging.leave(room)
        return Answer(answer)

    async def _chat(self, call: Call) -> Answer:
        name = (await self._matrix.profile(call.sender)).name or call.sender
        room = await self._private.open(NetworkId(call["network"]), call.sender, name, call["person"])
        return Answer(f"You are invited to {room}.", {"room": room})

    async def _ensure(self, call: Call, *, into: RoomId | None = None) -> PortalRow:
        name, text = NetworkId(call["network"]), call["chat"]
        return await self._plumbing.portal(call.sender, name, self._networks.chat(name, text), text, into=into)

    async def _may_change(self, call: Call) -> None:
        """An admin of the bridge, or whoever may change this room's state, asked of the room itself each time."""
        if call.level is Permission.ADMIN:
            return
        if await self._matrix.may_change(call.here(), call.sender):
            return
        raise RejectedError("you may not change this room's settings, so you may not change its bridging")
