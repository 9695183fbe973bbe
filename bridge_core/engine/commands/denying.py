"""Commands that keep people out and stop what goes wrong: bans and emergency stops."""

from datetime import UTC, datetime

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.engine.bans import Bans
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.stops import Stop, Stops

TOPIC = "Moderation"


class DenyingCommands:
    """ban, unban, bans, stop, start, stops."""

    def __init__(
        self,
        commands: Commands,
        bans: Bans,
        stops: Stops,
        networks: Networks,
        portals: PortalIndex,
        matrix: MatrixSide,
    ) -> None:
        self._bans = bans
        self._stops = stops
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        relay, admin = Permission.RELAY, Permission.ADMIN
        commands.add(
            Command("ban", "MASK [REASON...]", "ban users, ghosts or servers here", admin, self._ban, TOPIC),
            Command("unban", "MASK", "end a ban", admin, self._unban, TOPIC),
            Command("bans", "", "who is banned", admin, self._list_bans, TOPIC),
            Command("stop", "[NETWORK] [REASON...]", "stop this room (here), or a network", relay, self._stop, TOPIC),
            Command("start", "[NETWORK]", "let it go on", relay, self._start, TOPIC),
            Command("stops", "", "what is stopped", admin, self._list_stops, TOPIC),
        )

    async def _ban(self, call: Call) -> Answer:
        ban = await self._bans.add(call["mask"], call.sender, call.get("reason"))
        return Answer(f"{ban.mask} is banned: nothing of them crosses.", {"mask": ban.mask})

    async def _unban(self, call: Call) -> Answer:
        await self._bans.remove(call["mask"], call.sender)
        return Answer(f"{call['mask']} is not banned any more.", {"mask": call["mask"]})

    async def _list_bans(self, call: Call) -> Answer:
        bans = self._bans.all()
        lines = [f"{ban.mask}, by {ban.by} at {_time(ban.at)}{f': {ban.reason}' if ban.reason else ''}" for ban in bans]
        data = [{"mask": ban.mask, "by": ban.by, "at": ban.at, "reason": ban.reason} for ban in bans]
        return Answer("\n".join(lines) or "Nobody is banned.", {"bans": data})

    async def _stop(self, call: Call) -> Answer:
        what = await self._meant(call)
        stop = await self._stops.stop(what, call.sender, call.get("reason"), admin=call.level is Permission.ADMIN)
        undo = "here" if stop.what.startswith("!") else stop.what
        return Answer(f"{_name(stop)} is stopped{stop.because}. Say !bridge start {undo} to let it go on.", _data(stop))

    async def _start(self, call: Call) -> Answer:
        stop = await self._stops.start(await self._meant(call), call.sender, admin=call.level is Permission.ADMIN)
        return Answer(f"{_name(stop)} goes on.", _data(stop))

    async def _list_stops(self, call: Call) -> Answer:
        stops = self._stops.all()
        lines = [f"{stop.what}, by {stop.by} since {_time(stop.at)}{stop.because}" for stop in stops]
        return Answer("\n".join(lines) or "Nothing is stopped.", {"stops": [_data(stop) for stop in stops]})

    async def _meant(self, call: Call) -> NetworkId | RoomId:
        """The network or room that the caller means and may stop. Raises RejectedError."""
        name = call.get("network", "here")
        if name != "here":
            if call.level is not Permission.ADMIN:
                raise RejectedError("only admins stop networks; in a room, stop here stops that room")
            if self._networks.get(NetworkId(name)) is None:
                known = ", ".join(sorted(network.id for network in self._networks))
                raise RejectedError(f"there is no network {name}; there are: {known}")
            return NetworkId(name)
        room = call.here()
        if not self._portals.in_room(room) and room not in {stop.what for stop in self._stops.all()}:
            raise RejectedError("this room is not bridged; for a network, say which one")
        if call.level is not Permission.ADMIN and not await self._matrix.may_change(room, call.sender):
            raise RejectedError("you may not change this room's settings, so you may not stop it")
        return room


def _name(stop: Stop) -> str:
    return "Bridging of this room" if stop.what.startswith("!") else stop.what


def _data(stop: Stop) -> dict[str, object]:
    return {"what": stop.what, "by": stop.by, "at": stop.at, "reason": stop.reason}


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
