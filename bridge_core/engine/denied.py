"""The check for people who are denied everything: Matrix users, and ghosts by their Matrix name."""

from typing import Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.gate import Check
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import RuledPermissions
from bridge_core.engine.store_ports import PortalRow

_CACHED: Final = 20_000


class DeniedPeople(Check):
    """Nothing of people who are banned, here or by a policy list, crosses in either direction."""

    def __init__(self, permissions: RuledPermissions, names: Names, networks: Networks) -> None:
        self._permissions = permissions
        self._names = names
        self._networks = networks
        self._ghosts: dict[tuple[NetworkId, RemoteUserId], UserId] = {}

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`."""
        if why := self._permissions.denied(sender.id):
            raise RejectedError(f"you are {why}")

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        if not self._permissions.denying:
            return
        for login in (portal.receiver, sender.login if sender is not None else None):
            if login is not None and (why := self._owner_denied(portal.network, login)):
                raise RejectedError(f"whose login it is, is {why}")
        if sender is None:
            return
        key = (portal.network, sender.id)
        ghost = self._ghosts.get(key)
        if ghost is None:
            if len(self._ghosts) >= _CACHED:
                self._ghosts.clear()
            ghost = self._ghosts[key] = self._names.ghost(*key)
        if why := self._permissions.denied(ghost):
            raise RejectedError(f"{sender.name or sender.id} is {why}")

    def _owner_denied(self, network: NetworkId, login: LoginId) -> str:
        found = self._networks.get(network)
        known = found.login_of(login) if found is not None else None
        return self._permissions.denied(known.user) if known is not None else ""
