"""What members of a room may be shown of a chat's past: nothing that was said before they were there.

A homeserver shows what is sent now to everybody who is in the room now, whatever time the event is given. So what was
said before the last member came stays out, unless the network lets everybody read its past who enters the chat. And
whoever may read it: what was said before the other side agreed, or before a room was bridged, was not said to be shown
there.
"""

from typing import Any

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine.consents import given_since
from bridge_core.engine.conversion import NothingToDo
from bridge_core.engine.members import Members
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex, plumbed_since
from bridge_core.engine.ports import Entry
from bridge_core.engine.precedence import PUBLIC
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.metrics import Counter


class Past:
    """Asked for each event of a past, right before it is made for Matrix. `counter`: network, outcome."""

    def __init__(self, networks: Networks, portals: PortalIndex, members: Members, counter: Counter) -> None:
        self._networks = networks
        self._portals = portals
        self._members = members
        self._counter = counter

    async def check(self, entry: Entry, event: Any, room: RoomId | None = None) -> None:
        """Raises NothingToDo for what may not be shown, in `room` where one is given.

        Raises what the Matrix side does as well: it is held then.
        """
        if not hasattr(event, "timestamp"):
            return
        said = event.timestamp
        portal = self._portals.meant(PortalKey(NetworkId(entry.network), event.chat, event.receiver), entry.id)
        if portal is None:
            return
        since = begun(portal, room)
        if since and (said is None or said <= since):
            self._counter.inc(entry.network, "before")
            raise NothingToDo("it was said before this was bridged")
        if entry.lane.endswith(PUBLIC):
            return
        if said is None or said <= await self.floor(portal):
            self._counter.inc(entry.network, "hidden")
            raise NothingToDo("it was said before the members of the room came")

    async def floor(self, portal: PortalRow) -> float:
        """The time up to which nothing is shown, in milliseconds: infinite where nobody is there to be shown it.

        Raises as the Matrix side does, and TransientError while the owner of a private chat is not known.
        """
        owner: UserId | None = None
        if portal.receiver is not None:
            network = self._networks.get(portal.network)
            login = network.login_of(portal.receiver) if network is not None else None
            if login is None:
                raise TransientError("whose private chat it is, is not known now")
            owner = login.user  # the chat is theirs: they could always read it
        latest: list[float] = []
        for room in portal.rooms:
            joined = await self._members.joined_at(room)
            latest += [at for user, at in joined.items() if user != owner]
        if latest:
            return max(latest)
        return 0.0 if owner is not None else float("inf")


def begun(portal: PortalRow, room: RoomId | None = None) -> int:
    """The time (ms) up to which nothing that was said is for the portal's rooms, or for one of them; 0 for none."""
    rooms = portal.rooms if room is None else (room,)
    return max(given_since(portal), min((plumbed_since(portal, one) for one in rooms), default=0))
