"""Puts together how the bridge is commanded: the HTTP API."""

from aiohttp import web

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.app.engine import Engine
from bridge_core.config import Config
from bridge_core.engine.permissions import Permissions
from bridge_core.matrix.callers import Callers
from bridge_core.matrix.openid import OpenIdServers
from bridge_core.matrix.provisioning import Provisioning


class Control:
    """All of it. `start` before the listeners, `stop` after them."""

    def __init__(self, config: Config, engine: Engine, permissions: Permissions, clock: Clock) -> None:
        self._config = config
        self._engine = engine
        self._permissions = permissions
        self._clock = clock
        servers = {config.homeserver.domain: str(config.homeserver.address), **config.api.openid_servers}
        self._openid = OpenIdServers(servers) if config.api.openid else None

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

    async def _is_member(self, room: RoomId, user: UserId) -> bool:
        return user in await self._engine.members.of(room)

    async def start(self) -> None:
        """Open pools."""
        if self._openid is not None:
            await self._openid.start()

    async def stop(self) -> None:
        """Close them."""
        if self._openid is not None:
            await self._openid.stop()
