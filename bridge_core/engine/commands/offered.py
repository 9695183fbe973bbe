"""Commands that networks offer themselves, among the bridge's own."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.api.optional import OffersCommands
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)
_LONGEST: Final = 30.0
"""Seconds that a network's command may take: its room waits."""


class OfferedCommands:
    """What the networks' connectors offer, each as `NETWORK NAME`."""

    def __init__(self, commands: Commands, networks: Networks, portals: PortalIndex, matrix: MatrixSide) -> None:
        self._portals = portals
        self._matrix = matrix
        commands.bridged(lambda room: {row.network for row in portals.in_room(room)})
        for network in networks:
            if isinstance(network.connector, OffersCommands):
                for offered in network.connector.commands():
                    self._add(commands, network, offered)

    def _add(self, commands: Commands, network: Network, offered: AdapterCommand) -> None:
        if len(offered.name.split()) != 1:
            raise ValueError(f"{offered.name!r} is no name for a command of a network: it is one word")

        async def run(call: Call) -> Answer:
            return await self._run(network, offered, call)

        level = Permission(offered.level)
        full = f"{network.id} {offered.name}"
        command = Command(
            full,
            offered.arguments,
            offered.help,
            level,
            run,
            f"Network {network.id}",
            private=offered.private,
            secret=offered.secret,
        )
        commands.add_of(network.id, offered.name, command)

    async def _run(self, network: Network, offered: AdapterCommand, call: Call) -> Answer:
        row = self._portal(network.id, call.room)
        if offered.moderates:
            await self._may(network, row, call)
        chat = row.chat if row is not None else None
        login = network.login_in(call.sender, row)
        told = CommandCall(call.sender, CommandLevel(call.level), call.arguments, chat, login)
        try:
            async with asyncio.timeout(_LONGEST):
                return Answer(await offered.run(told))
        except TimeoutError:
            raise RejectedError(f"{network.id} did not answer in time") from None
        except RejectedError:
            raise
        except BridgeError as error:
            # To be run again later, it would hold up its room for as long as the network is away.
            raise RejectedError(str(error)) from error
        except Exception as error:  # an adapter's bug; what waits in the room goes on
            log.exception("offered_command_failed", network=network.id, command=offered.name)
            raise RejectedError("the bridge made a mistake, which its log describes") from error

    def _portal(self, network: NetworkId, room: RoomId | None) -> PortalRow | None:
        rows = self._portals.in_room(room) if room is not None else ()
        return next((row for row in rows if row.network == network), None)

    async def _may(self, network: Network, row: PortalRow | None, call: Call) -> None:
        if row is None or call.room is None:
            raise RejectedError(f"say this in a room that is bridged to {network.id}")
        if call.level is not Permission.ADMIN and not await self._matrix.may_change(call.room, call.sender):
            raise RejectedError("you may not change this room's settings")
