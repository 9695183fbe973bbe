"""How old a message may be when it is handed to a network: what comes hours late says something else there."""

from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.engine.networks import Network
from bridge_core.engine.roomrules import rules_of
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.translation import MESSAGE_TYPES, timestamp_of

TOO_OLD: Final = "too_old"
"""The reason by which such a message is counted."""
_AGING: Final = frozenset((*MESSAGE_TYPES, "m.reaction"))
"""What was taken back, or changed in the room, is still so: only what is said goes stale."""


class Ages:
    """Asked right before each try."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def why(self, network: Network, portal: PortalRow, event: Mapping[str, Any], received_at: int) -> str:
        """Why a message is too old for a network or its room, in words for its sender; empty when it is not.

        A message is as old as its homeserver says, but was not said after it came here. From memory.
        """
        limit: float = network.options.max_age
        if own := rules_of(portal, RoomId(event["room_id"])).max_age:
            limit = min(limit, own) if limit else own
        if not limit or event["type"] not in _AGING or "state_key" in event:
            return ""
        said = timestamp_of(event)
        age = (self._clock.now_ms() - (min(said, received_at) if said > 0 else received_at)) / 1000
        if age <= limit:
            return ""
        return f"it is {span(age)} old, and what is older than {span(limit)} is not passed on"


def span(seconds: float) -> str:
    """A length of time in words."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"
