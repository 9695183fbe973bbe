"""Puts together what a network's staff may do: blocks at the gate, links, stops, and what is written down of it."""

import contextlib

from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.api.staff import Staff
from bridge_core.app.engine import Engine
from bridge_core.app.whomay import WhoMay
from bridge_core.engine.commands.staff import StaffCommands
from bridge_core.engine.staffblocks import StaffBlocks
from bridge_core.engine.staffroom import FileOf, StaffAudit, StaffRoom
from bridge_core.engine.store_ports import Stores
from bridge_core.matrix.side import AppserviceSide
from bridge_core.observe.metrics import Metrics


class StaffDesks:
    """A desk for the staff of each network. `load` before anybody is asked about."""

    def __init__(
        self,
        engine: Engine,
        whomay: WhoMay,
        matrix: AppserviceSide,
        stores: Stores,
        file_of: FileOf,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._whomay = whomay
        self._matrix = matrix
        self._messages = stores.messages
        self._file_of = file_of
        networks = engine.networks
        self.blocks = StaffBlocks(stores.kv, networks, clock, engine.names.server)
        self.audit = StaffAudit(stores.kv, stores.users, whomay.permissions, engine.status, clock)
        engine.gate.add(self.blocks)
        engine.logins.check(self.blocks.new_login)
        for network in networks:
            network.bar(lambda user, name=network.id: bool(self.blocks.why(name, user)))  # type: ignore[misc]
        metrics.gauge("staff_blocks", "Blocks by networks' staff in force.", self.blocks.count)
        StaffCommands(engine.commands, networks, self.blocks, self.audit)

    async def load(self) -> None:
        """Read whom staff block."""
        await self.blocks.load()

    def of(self, network: NetworkId) -> Staff:
        """The desk of one network."""
        engine = self._engine

        async def leave(user: UserId) -> None:
            found = engine.networks.get(network)
            for login in found.logins(user) if found is not None else ():
                client = found.client_with(login.id) if found is not None else None
                if login.provided and found is not None:
                    await found.remove(login.id)
                elif client is not None:
                    with contextlib.suppress(Exception):  # it is of no use any more, whatever becomes of it
                        await client.disconnect()

        return StaffRoom(
            network,
            engine.networks,
            engine.portals,
            engine.members,
            self._matrix,
            self.blocks,
            self._whomay.stops,
            engine.links,
            self._messages,
            self._file_of,
            self.audit,
            leave,
        )
