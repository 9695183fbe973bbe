"""Takes over a changed configuration while the bridge runs (SIGHUP), as far as that can be done without harm."""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel

from bridge_core.api.ids import NetworkId
from bridge_core.api.optional import Reloads
from bridge_core.app.whomay import WhoMay
from bridge_core.config import Config, ConfigError, LoadedConfig, Rules, load_config
from bridge_core.config import Network as NetworkConfig
from bridge_core.engine.networks import Networks
from bridge_core.observe.log import setup_logging

log = structlog.get_logger(__name__)
_LIVE: Final = ("permissions", "logging")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a changed configuration: dotted keys that hold now, and those that need a restart.

    `problems` say why nothing was changed at all.
    """

    applied: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Reload:
    """Of one bridge.

    Who may do what is taken over whole, and first: somebody may have to be kept out now. What shapes the bridge
    (addresses, databases, networks and their servers) is left for a restart, and said.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        configs: Mapping[str, NetworkConfig],
        networks: Networks,
        whomay: WhoMay,
        *,
        read: Callable[[Path], LoadedConfig] = load_config,
    ) -> None:
        self._path = loaded.path
        self._config = loaded.config
        self._configs = dict(configs)
        self._models = {config.common.type: type(config.settings) for config in configs.values()}
        self._networks = networks
        self._whomay = whomay
        self._read = read

    async def again(self) -> Reloaded:
        """Reads the file again. Raises nothing: a mistake in it, and whatever else goes wrong, changes nothing and is
        told in the log."""
        try:
            loaded = await asyncio.to_thread(self._read, self._path)
            configs = loaded.validate_networks(self._models, self._models)
        except ConfigError as error:
            problems = tuple(str(problem) for problem in error.problems)
            log.warning("config_not_reloaded", problems=problems)
            return Reloaded(problems=problems)
        except Exception as error:
            return _failed(error)
        before, old = self._config, dict(self._configs)
        try:
            return self._take(loaded, configs)
        except Exception as error:
            self._back(before, old)
            return _failed(error)

    def _back(self, config: Config, configs: Mapping[str, NetworkConfig]) -> None:
        """What held before holds again, as far as that can be done: each part whatever becomes of the others."""
        new, self._config, self._configs = self._configs, config, dict(configs)

        def network(name: str) -> Callable[[], Any]:
            return lambda: self._network(name, configs[name])

        steps: list[Callable[[], Any]] = [
            lambda: self._whomay.allow(Rules(config.permissions, config.homeserver.domain)),
            lambda: self._whomay.filter(configs),
            lambda: setup_logging(config.logging.level, config.logging.format),
            *(network(name) for name, one in new.items() if one is not configs.get(name) and name in configs),
        ]
        for step in steps:
            try:
                step()
            except Exception:
                log.exception("config_not_taken_back")

    def _take(self, loaded: LoadedConfig, configs: Mapping[str, NetworkConfig]) -> Reloaded:
        applied, refused = self._core(loaded.config)
        before = self._filters()
        for name, config in configs.items():
            for key in self._network(name, config):
                refused.append(f"networks.{name}.{key}")
        if self._filters() != before:
            self._whomay.filter(self._configs)
            applied.append("portal_filter")
        missing = self._configs.keys() ^ configs.keys()
        refused += [f"networks.{name}" for name in sorted(missing)]
        result = Reloaded(tuple(applied), tuple(sorted(set(refused))))
        log.info("config_reloaded", applied=result.applied)
        if result.refused:
            log.warning("config_needs_restart", keys=result.refused)
        return result

    def _filters(self) -> list[Any]:
        return [one.common.portal_filter for one in self._configs.values()]

    def _core(self, new: Config) -> tuple[list[str], list[str]]:
        old, applied, refused = self._config, [], []
        if new.permissions != old.permissions:
            self._whomay.allow(Rules(new.permissions, old.homeserver.domain))
            applied.append("permissions")
        if new.logging != old.logging:
            setup_logging(new.logging.level, new.logging.format)
            applied.append("logging")
        for name in Config.model_fields:
            if name not in (*_LIVE, "networks"):
                refused += _differences(name, getattr(old, name), getattr(new, name))
        self._config = old.model_copy(update={name: getattr(new, name) for name in _LIVE})
        return applied, refused

    def _network(self, name: str, new: NetworkConfig) -> list[str]:
        """Takes over what a network can take over; the keys of its section that need a restart."""
        old, network = self._configs.get(name), self._networks.get(NetworkId(name))
        if old is None or network is None:
            return []
        common = old.common.model_copy(update={"portal_filter": new.common.portal_filter})
        self._configs[name] = NetworkConfig(name=name, common=common, settings=old.settings)
        refused = [key for key in type(common).model_fields if getattr(common, key) != getattr(new.common, key)]
        if type(new.settings) is not type(old.settings):
            return refused
        if isinstance(network.connector, Reloads):
            return [*refused, *network.connector.reload(new.settings)]
        return [*refused, *(key.removeprefix(".") for key in _differences("", old.settings, new.settings))]


def _failed(error: Exception) -> Reloaded:
    """Only the kind of it is told: its words may hold what the file keeps secret."""
    problem = f"unexpected {type(error).__name__}"
    log.error("config_not_reloaded", problems=(problem,), places=traceback.format_tb(error.__traceback__)[-3:])
    return Reloaded(problems=(problem,))


def _differences(name: str, old: Any, new: Any) -> list[str]:
    """The keys that are otherwise; values may be secret, and are not told."""
    if old == new:
        return []
    if isinstance(old, BaseModel) and type(old) is type(new):
        return [f"{name}.{key}" for key in type(old).model_fields if getattr(old, key) != getattr(new, key)]
    return [name]
