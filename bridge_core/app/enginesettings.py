"""What the engine is told of the configuration."""

from collections.abc import Mapping

from bridge_core.api.ids import NetworkId
from bridge_core.app.engine import EngineSettings
from bridge_core.app.networks import room_settings
from bridge_core.config import Config
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.network import Backfill
from bridge_core.content.limits import Limits
from bridge_core.engine.filling import BackfillOptions
from bridge_core.engine.status import OnFailure, OnSuccess, StatusSettings


def engine_settings(config: Config, configs: Mapping[str, NetworkConfig]) -> EngineSettings:
    """The engine's settings for this configuration and its networks' own (by network id)."""
    return EngineSettings(
        retry_window=config.journal.retry_window,
        attempt_window=config.journal.attempt_window,
        prepared_batch=config.journal.prepared_batch,
        reference_wait=config.limits.reference_wait,
        membership_rate=config.limits.membership_rate,
        limits=Limits(chars=config.limits.html_bytes, depth=config.limits.html_depth),
        status=StatusSettings(
            OnSuccess(config.status.success.value),
            OnFailure(config.status.failure.value),
            config.journal.keep_dead,
        ),
        manual_puppets=config.double_puppet.manual,
        rooms=room_settings(config, configs),
        backfill={NetworkId(name): _backfill(one.common.backfill) for name, one in configs.items()},
        presence=frozenset(NetworkId(name) for name, one in configs.items() if one.common.presence),
    )


def _backfill(config: Backfill) -> BackfillOptions:
    return BackfillOptions(config.initial, config.catch_up, config.max_age, config.rate)
