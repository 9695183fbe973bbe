"""Requests of people of a network to be let into a chat that Matrix moderates."""

from bridge_core.api.events import RemoteJoinRequest
from bridge_core.api.ids import NetworkId, PortalKey
from bridge_core.engine.conversion import NothingToDo
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.status import Status


class JoinRequests:
    """Tells the chat's rooms who asks, and how to let them in: by inviting their ghost."""

    def __init__(self, portals: PortalIndex, ghosts: GhostPool, status: Status) -> None:
        self._portals = portals
        self._ghosts = ghosts
        self._status = status

    async def asked(self, entry: Entry, event: RemoteJoinRequest) -> list[Prepared]:
        """A converter. Ends in NothingToDo."""
        network = NetworkId(entry.network)
        portal = self._portals.get(PortalKey(network, event.chat, event.receiver))
        if portal is None or not portal.rooms:
            raise NothingToDo("no portal for this chat")
        ghost = await self._ghosts.ensure(network, event.member)
        name = event.member.name or event.member.id
        reason = f" ({event.reason[:200]})" if event.reason else ""
        text = f"{name} asks to be let in{reason}. To let them in, invite {ghost.user}; otherwise do nothing."
        for room in portal.rooms:
            await self._status.say(room, text, key=f"join-request\x1f{room}\x1f{entry.id}.{entry.received_at}")
        raise NothingToDo("told to the chat's moderators")
