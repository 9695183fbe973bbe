"""What those who run a network have allowed this bridge: all else is refused, by whatever way it is asked for."""

from typing import Final

from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Grant
from bridge_core.engine.gate import Check
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import MADE_BY, own_rooms
from bridge_core.engine.store_ports import PortalRow

NO_PRIVATE: Final = "that network does not allow this bridge to send private messages to people there"
NO_PORTALS: Final = (
    "that network does not allow this bridge to make rooms for its chats; a room of yours can be bridged (bridge)"
)
NO_PUPPETS: Final = "that network does not allow this bridge connections of its users: the relay speaks for them"


class Grants(Check):
    """Nothing crosses by a way that its network has not granted, or grants no more. A network that is gone grants none.

    Portals of the configuration need no grant: whoever wrote it names each of them.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`. Each room is told once."""
        if portal.receiver is not None:
            if not self._private(portal):
                raise UnsupportedError(NO_PRIVATE)
        elif own_rooms(portal) and not self._may_have_room(portal):
            raise UnsupportedError(NO_PORTALS)

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        if portal.receiver is None and portal.id and own_rooms(portal) and not self._may_have_room(portal):
            raise RejectedError(NO_PORTALS)

    def room_for(self, network: NetworkId, known: PortalRow | None) -> None:
        """Whether a chat may have a room that the bridge makes. Raises RejectedError in words for whoever asks."""
        if (known is None or MADE_BY in known.options) and not self._granted(network, Grant.PORTALS):
            raise RejectedError(NO_PORTALS)

    def room_made(self, portal: PortalRow) -> None:
        """Whether a room may be made for a portal now. Raises RejectedError."""
        known = self._networks.get(portal.network) is not None
        if known and portal.receiver is None and not self._may_have_room(portal):
            raise RejectedError(NO_PORTALS)

    def new_login(self, user: UserId, network: NetworkId) -> None:
        """Whether anybody may log in there. Raises RejectedError in words."""
        if not self._granted(network, Grant.PUPPETS):
            raise RejectedError(NO_PUPPETS)

    def _private(self, portal: PortalRow) -> bool:
        """Whether private messages may be sent in a private chat."""
        if self._granted(portal.network, Grant.PRIVATE_MESSAGES):
            return True
        return MADE_BY not in portal.options and self._granted(portal.network, Grant.PRIVATE_REPLIES)

    def _may_have_room(self, portal: PortalRow) -> bool:
        return MADE_BY not in portal.options or self._granted(portal.network, Grant.PORTALS)

    def _granted(self, network: NetworkId, grant: Grant) -> bool:
        found = self._networks.get(network)
        return found is not None and found.granted(grant)
