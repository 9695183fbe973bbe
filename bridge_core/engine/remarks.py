"""What networks want people to know: told to the user of the login, or to the admins."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId
from bridge_core.api.network import LoginState
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import Users
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)
_HOUR: Final = 3600.0
_PER_HOUR: Final = 10
"""Remarks of one login that are told in an hour, each text once: servers say what they like."""
_LOGINS_AT_MOST: Final = 10_000
_WAITING_AT_MOST: Final = 1000
_LONGEST: Final = 500


class Remarks:
    """Tells them in management rooms, in order. Nobody is held up; what is too much, or has no room, is dropped."""

    def __init__(
        self, networks: Networks, users: Users, permissions: Permissions, status: Status, clock: Clock, tasks: TaskOwner
    ) -> None:
        self._networks = networks
        self._users = users
        self._permissions = permissions
        self._status = status
        self._clock = clock
        self._tasks = tasks
        self._waiting: deque[tuple[LoginState, str]] = deque(maxlen=_WAITING_AT_MOST)
        self._telling = False
        self._told: OrderedDict[tuple[NetworkId, LoginId | None], deque[tuple[float, str]]] = OrderedDict()

    def take(self, state: LoginState) -> None:
        """A client reported a remark. Does not block."""
        key, now = (state.network, state.login), self._clock.monotonic()
        told = self._told.setdefault(key, deque(maxlen=_PER_HOUR))
        self._told.move_to_end(key)
        while len(self._told) > _LOGINS_AT_MOST:
            self._told.popitem(last=False)
        while told and told[0][0] < now - _HOUR:
            told.popleft()
        text = " ".join(state.remark.split())[:_LONGEST]
        fresh = len(told) < _PER_HOUR and all(text != before for _, before in told)
        if fresh:
            log.info("network_remark", network=state.network, login=state.login)
            told.append((now, text))
            self._waiting.append((state, text))
            if not self._telling:
                self._telling = True
                self._tasks.start(self._tell_all(), "network-remarks")

    async def _tell_all(self) -> None:
        try:
            while self._waiting:
                await self._tell(*self._waiting.popleft())
        finally:
            self._telling = False

    async def _tell(self, state: LoginState, text: str) -> None:
        network = self._networks.get(state.network)
        login = network.login_of(state.login) if network is not None and state.login is not None else None
        if network is None or (login is None and state.login is not None):
            return
        concerns: Callable[[str], bool] = (
            (lambda user: user == login.user)
            if login is not None
            else (lambda user: self._permissions.of(user) is Permission.ADMIN)  # type: ignore[arg-type]
        )
        try:
            for row in await self._users.with_rooms():
                if row.management_room is not None and concerns(row.id):
                    await self._status.say(row.management_room, f"{network.meta.name} says: {text}")
        except BridgeError as error:
            log.info("network_remark_not_told", network=state.network, login=state.login, error=str(error))
