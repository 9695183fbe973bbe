"""Commands about moderation policy lists."""

from bridge_core.api.ids import RoomId
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.permissions import Permission
from bridge_core.engine.policies import Policies

TOPIC = "Moderation"


class PolicyCommands:
    """policy subscribe, policy unsubscribe, policy list."""

    def __init__(self, commands: Commands, policies: Policies, matrix: MatrixSide) -> None:
        self._policies = policies
        self._matrix = matrix
        admin = Permission.ADMIN
        commands.add(
            Command("policy subscribe", "ROOM", "follow a moderation policy list", admin, self._subscribe, TOPIC),
            Command("policy unsubscribe", "ROOM", "follow it no more", admin, self._unsubscribe, TOPIC),
            Command("policy list", "", "the lists that are followed", admin, self._list, TOPIC),
        )

    async def _subscribe(self, call: Call) -> Answer:
        room = await self._room(call)
        number = await self._policies.subscribe(room, call.sender)
        return Answer(f"{room} is followed: {number} rules.", {"room": room, "rules": number})

    async def _unsubscribe(self, call: Call) -> Answer:
        room = await self._room(call)
        await self._policies.unsubscribe(room, call.sender)
        return Answer(f"{room} is followed no more.", {"room": room})

    async def _list(self, call: Call) -> Answer:
        lists = self._policies.all()
        lines = [f"{one.room}: {number} rules, by {one.by}" for one, number in lists]
        data = [{"room": one.room, "by": one.by, "at": one.at, "rules": number} for one, number in lists]
        return Answer("\n".join(lines) or "No list is followed.", {"lists": data})

    async def _room(self, call: Call) -> RoomId:
        name = call["room"]
        return await self._matrix.room_of(name) if name.startswith("#") else RoomId(name)
