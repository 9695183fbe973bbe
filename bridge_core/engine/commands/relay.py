"""The command about whether the relay speaks in a room."""

from bridge_core.api.errors import RejectedError
from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import RELAY, Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import PortalRow

_SAID = {
    True: "the relay speaks for people without a login of their own",
    False: "only people with a login of their own are heard",
}


class RelayCommands:
    """relay."""

    def __init__(self, commands: Commands, networks: Networks, portals: PortalIndex, matrix: MatrixSide) -> None:
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        help_ = "whether the relay speaks in this room"
        commands.add(Command("relay", "[on|off]", help_, Permission.RELAY, self._relay, "Rooms"))

    async def _relay(self, call: Call) -> Answer:
        wanted, rows = call.get("on|off").lower(), self._portals.in_room(call.here())
        if not rows:
            return Answer("This room is not bridged.")
        if wanted not in ("", "on", "off"):
            raise UsageError("say relay on or relay off")
        if wanted:
            for row in rows:
                await self._allow(call, row, wanted == "on")
            for row in rows:
                await self._portals.set_option(row, RELAY, wanted == "on")
            rows = self._portals.in_room(call.here())
        shown = {f"{row.network} {row.chat}": self._relayed(row) for row in rows}
        text = "\n".join(f"{name}: {_SAID[relayed]}" for name, relayed in shown.items())
        return Answer(text, {name: "on" if relayed else "off" for name, relayed in shown.items()})

    def _relayed(self, row: PortalRow) -> bool:
        network = self._networks.get(row.network)
        return network is not None and network.relays(row)

    async def _allow(self, call: Call, row: PortalRow, wanted: bool) -> None:
        """An admin of the bridge; else whoever may change all rooms of the chat, within what the configuration gives.

        It holds for the chat, so the people of its other rooms are asked through their power there.
        """
        if call.level is Permission.ADMIN:
            return
        for room in row.rooms:
            if not await self._matrix.may_change(room, call.sender):
                raise RejectedError("you may not change the settings of all rooms of this chat, so not its relay")
        network = self._networks.get(row.network)
        if wanted and (network is None or not network.options.relay):
            raise RejectedError(f"there is no relay on {row.network}: ask the admin of the bridge")
