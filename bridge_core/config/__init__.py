"""The configuration: models whose field descriptions are its documentation, loading, generated example."""

from bridge_core.config.load import LoadedConfig, load_config
from bridge_core.config.model import Config
from bridge_core.config.network import Network, NetworkCommon, PortalEntry
from bridge_core.config.policy import Permission, Relay
from bridge_core.config.problems import ConfigError, Problem
from bridge_core.config.rules import Rules
from bridge_core.config.storage import UnknownOutcome
from bridge_core.config.types import Listen

__all__ = [
    "Config",
    "ConfigError",
    "Listen",
    "LoadedConfig",
    "Network",
    "NetworkCommon",
    "Permission",
    "PortalEntry",
    "Problem",
    "Relay",
    "Rules",
    "UnknownOutcome",
    "load_config",
]
