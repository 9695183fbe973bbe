"""Puts together how the bridge is commanded and what it tells of itself: API, admin commands, states of logins."""

from collections.abc import Sequence

from aiohttp import web

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.app.engine import Engine
from bridge_core.config import Config
from bridge_core.engine.checkpoints import Push
from bridge_core.engine.commands.admin import AdminCommands
from bridge_core.engine.commands.everyday import EverydayCommands
from bridge_core.engine.loginstates import LoginStates
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.permissions import Permissions
from bridge_core.engine.ports import Direction
from bridge_core.engine.remarks import Remarks
from bridge_core.journal.desk import JournalDesk
from bridge_core.journal.journal import DurableJournal
from bridge_core.matrix.callers import Callers
from bridge_core.matrix.openid import OpenIdServers
from bridge_core.matrix.provisioning import Provisioning
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.database import Database


class Control:
    """All of it. `start` before the listeners, `stop` after them."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        permissions: Permissions,
        database: Database,
        journal: DurableJournal,
        matrix: MatrixSide,
        push: Push,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._config = config
        self._engine = engine
        self._permissions = permissions
        self._clock = clock
        servers = {config.homeserver.domain: str(config.homeserver.address), **config.api.openid_servers}
        self._openid = OpenIdServers(servers) if config.api.openid else None
        self.states = LoginStates(
            engine.networks,
            database.users,
            permissions,
            engine.status,
            database.kv,
            push,
            config.status.bridge_state_url,
            clock,
            tasks,
            config.status.notice_after,
        )
        self.remarks = Remarks(engine.networks, database.users, permissions, engine.status, clock, tasks)
        EverydayCommands(engine.commands, engine.networks, engine.portals, matrix, clock)
        desk = JournalDesk(database, journal, self._replayed)
        AdminCommands(engine.commands, desk, engine.links, database.users, engine.networks, permissions)

    def add_to(self, app: web.Application) -> None:
        """Serve the API in the appservice's application, when it is on."""
        api, engine = self._config.api, self._engine
        if not api.enabled:
            return
        callers = Callers(
            api.secret.get_secret_value() if api.secret is not None else None,
            self._openid,
            self._config.homeserver.domain,
            engine.names.is_ours,
            self._clock,
            api.requests_per_minute,
        )
        Provisioning(
            callers, engine.commands, engine.logins, engine.networks, self._permissions, self._is_member
        ).add_to(app)

    def _replayed(self, direction: Direction, lane: str, entries: Sequence[int]) -> None:
        lanes = self._engine.to_matrix if direction is Direction.TO_MATRIX else self._engine.to_network
        lanes.replayed(lane, entries)

    async def _is_member(self, room: RoomId, user: UserId) -> bool:
        return user in await self._engine.members.of(room)

    async def start(self) -> None:
        """Open pools."""
        if self._openid is not None:
            await self._openid.start()

    def halt(self) -> None:
        """Begin nothing new."""
        self.states.stop()

    async def stop(self) -> None:
        """Close them."""
        if self._openid is not None:
            await self._openid.stop()
