"""Puts together what keeps rooms right: what they are called, whether they are bridged, and where they went."""

from collections.abc import Mapping

from bridge_core.api.ids import NetworkId
from bridge_core.engine.acts import Acts
from bridge_core.engine.avatars import Avatars
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.description import Descriptions
from bridge_core.engine.injection import Injection
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.rooms import Describe
from bridge_core.engine.roomstates import RoomStates
from bridge_core.engine.translation import Translation


class RoomFeatures:
    """All of it."""

    def __init__(
        self,
        portals: PortalIndex,
        matrix: MatrixSide,
        avatars: Avatars,
        acts: Acts,
        injection: Injection,
        describe: Describe,
        join_rules: Mapping[NetworkId, str],
    ) -> None:
        self.states = RoomStates(matrix, acts)
        self.descriptions = Descriptions(portals, matrix, avatars, self.states, injection, describe, join_rules)

    def add_to(self, conversion: Conversion, translation: Translation) -> None:
        """Take part in both directions."""
        self.descriptions.add_to(conversion, translation)
