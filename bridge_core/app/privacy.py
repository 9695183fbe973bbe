"""Puts the privacy filter together, for the networks that have it."""

from collections.abc import Mapping

from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId
from bridge_core.app.engine import Engine
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.masks import Masks
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.privacy import PrivacyFilter, PrivacyRule
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner


def add_privacy(
    engine: Engine,
    configs: Mapping[str, NetworkConfig],
    matrix: MatrixSide,
    clock: Clock,
    tasks: TaskOwner,
    metrics: Metrics,
) -> PrivacyFilter:
    """Let nothing be shown that the filter does not allow."""
    rules = {
        NetworkId(name): PrivacyRule(
            one.common.privacy.kick_after, Masks(tuple(one.common.privacy.exempt), engine.names.server)
        )
        for name, one in configs.items()
        if one.common.privacy.all_members_joined
    }
    privacy = PrivacyFilter(
        rules,
        engine.networks,
        engine.portals,
        engine.members,
        matrix,
        engine.status,
        clock,
        tasks,
        engine.to_matrix.wake,
    )
    if rules:
        engine.last_look.also(privacy.may_show)
        engine.live.hide(privacy.hides)
        engine.rooms.closed_for(frozenset(rules))
        engine.on_visibility.append(privacy.visible)
        engine.room_events.on("m.room.member", privacy.membership)
    metrics.gauge("privacy_held", "Rooms for which messages are held back by the privacy filter.", privacy.held)
    return privacy
