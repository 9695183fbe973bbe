"""What the homeserver asks: does a user or room exist, and who or what of a network goes by which name."""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge_core.api.ids import PortalKey, RemoteUserId, UserId
from bridge_core.api.optional import NamesPeople
from bridge_core.app.engine import Engine
from bridge_core.engine.networks import Network
from bridge_core.engine.store_ports import GhostRow, PortalRow


class EngineQueries:
    """The `Queries` of the Matrix side, answered from what exists: asking makes neither ghosts nor portals."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def user(self, user_id: str) -> bool:
        """Whether the user is a ghost that was made."""
        return await self._engine.ghosts.by_user(UserId(user_id)) is not None

    async def room(self, alias: str) -> bool:
        """Whether the alias is a portal's; its room is made when it has none yet."""
        portal = self._portal_of(alias) or await self._engine.room_features.by_alias.make(alias)
        if portal is None:
            return False
        await self._engine.rooms.ensure(portal)
        return True

    async def protocol(self, protocol: str) -> Mapping[str, Any] | None:
        """The networks of this protocol."""
        networks = self._networks(protocol)
        if not networks:
            return None
        return {
            "user_fields": ["name"],
            "location_fields": ["chat"],
            "icon": "",
            "field_types": {
                "name": {"regexp": ".+", "placeholder": "name"},
                "chat": {"regexp": ".+", "placeholder": "chat"},
            },
            "instances": [
                {"network_id": one.id, "desc": one.meta.name, "fields": {"network": one.id}} for one in networks
            ],
        }

    async def users(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """Ghosts by `name`."""
        networks = self._networks(protocol)
        if not networks:
            return None
        found = []
        for network in self._chosen(networks, fields):
            name = fields.get("name", "")
            try:
                remote = network.connector.person(name) if isinstance(network.connector, NamesPeople) else name
            except ValueError:
                continue
            user = self._engine.names.ghost(network.id, RemoteUserId(remote))
            ghost = await self._engine.ghosts.by_user(user)
            if ghost is not None:
                found.append(self._shown_user(ghost, network))
        return found

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """Portals by `chat`."""
        networks = self._networks(protocol)
        if not networks:
            return None
        found = []
        for network in self._chosen(networks, fields):
            try:
                chat = network.connector.chat(fields.get("chat", ""))
            except ValueError:
                continue
            portal = self._engine.portals.get(PortalKey(network.id, chat))
            if portal is not None:
                found.append(self._shown_location(portal, network))
        return found

    async def user_of(self, user_id: str) -> Sequence[Mapping[str, Any]]:
        """The person behind a ghost."""
        ghost = await self._engine.ghosts.by_user(UserId(user_id))
        network = self._engine.networks.get(ghost.network) if ghost is not None else None
        return [self._shown_user(ghost, network)] if ghost is not None and network is not None else []

    async def location_of(self, alias: str) -> Sequence[Mapping[str, Any]]:
        """The chat behind a portal's alias."""
        portal = self._portal_of(alias)
        network = self._engine.networks.get(portal.network) if portal is not None else None
        return [self._shown_location(portal, network)] if portal is not None and network is not None else []

    def _portal_of(self, alias: str) -> PortalRow | None:
        for network in self._engine.networks:
            chat = self._engine.names.chat_of(network.id, alias)
            portal = self._engine.portals.get(PortalKey(network.id, chat)) if chat is not None else None
            if portal is not None:
                return portal
        return None

    def _networks(self, protocol: str) -> list[Network]:
        return [network for network in self._engine.networks if network.meta.protocol == protocol]

    def _chosen(self, networks: Sequence[Network], fields: Mapping[str, str]) -> list[Network]:
        wanted = fields.get("network")
        return [network for network in networks if wanted is None or network.id == wanted]

    def _shown_user(self, ghost: GhostRow, network: Network) -> Mapping[str, Any]:
        return {
            "userid": ghost.user,
            "protocol": network.meta.protocol,
            "fields": {"network": network.id, "name": ghost.remote},
        }

    def _shown_location(self, portal: PortalRow, network: Network) -> Mapping[str, Any]:
        alias = f"#{self._engine.names.alias(portal.network, portal.chat)}:{self._engine.names.server}"
        return {
            "alias": alias,
            "protocol": network.meta.protocol,
            "fields": {"network": network.id, "chat": portal.chat},
        }
