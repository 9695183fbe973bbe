"""`matrix-bridge NAME ...`: the commands that network types add, found through entry points."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from bridge_core.api.ids import NetworkId
    from bridge_core.api.tools import Opened, Tool
    from bridge_core.config.load import LoadedConfig

GROUP = "matrix_bridge.tools"


def installed_tools() -> Iterator[str]:
    """Names of all commands of network types; imports none of them."""
    yield from sorted({entry.name for entry in entry_points(group=GROUP)})


class ToolCommand:
    """A network type's tool as a subcommand."""

    def __init__(self, kind: str) -> None:
        entry = next(entry for entry in entry_points(group=GROUP) if entry.name == kind)
        self._kind = kind
        self._tool = cast("Tool", entry.load()())

    def add_parser(self, subparser: argparse.ArgumentParser) -> None:
        """`-c`, and the tool's own arguments."""
        subparser.description = self._tool.help
        subparser.add_argument("-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE")
        self._tool.add_arguments(subparser)

    def run(self, options: argparse.Namespace) -> int:
        """Do it. What is logged meanwhile goes to standard error: the output is the tool's own."""
        from bridge_core.observe.log import setup_logging

        setup_logging("warning", stream=sys.stderr)
        return self._tool.run(options, ToolPlace(self._kind, options.config))


class ToolPlace:
    """The `Place` of the contract."""

    def __init__(self, kind: str, config: Path) -> None:
        self._kind = kind
        self._config = config

    @cached_property
    def _loaded(self) -> LoadedConfig:
        from bridge_core.config.load import load_config

        return load_config(self._config)

    @cached_property
    def networks(self) -> Mapping[NetworkId, Any]:
        """As `Place.networks`. Raises ConfigError."""
        from bridge_core.api.errors import RejectedError
        from bridge_core.api.ids import NetworkId
        from bridge_core.config.adapters import adapter_models, installed_types

        sections = self._loaded.config.networks
        models, broken = adapter_models(str(section.get("type")) for section in sections.values())
        if self._kind in broken:
            raise RejectedError(broken[self._kind])
        found = self._loaded.validate_networks(models, installed_types())
        return {
            NetworkId(name): network.settings for name, network in found.items() if network.common.type == self._kind
        }

    def open(self, network: NetworkId) -> AbstractAsyncContextManager[Opened]:
        """As `Place.open`. Raises LeaseError while the bridge runs."""
        return _opened(self._loaded, network)


@asynccontextmanager
async def _opened(loaded: LoadedConfig, network: NetworkId) -> AsyncIterator[Opened]:
    from bridge_core.engine.clock import SystemClock
    from bridge_core.engine.host import Namespace
    from bridge_core.store.blobs import BlobSpool
    from bridge_core.store.database import Database
    from bridge_core.store.engines import DatabaseSettings
    from bridge_core.store.seal import Seal

    config = loaded.config
    secret = config.journal.secret.get_secret_value()
    settings = DatabaseSettings(
        loaded.database_url, config.database.auto_migrate, 1, config.database.busy_timeout, lease_timeout=1.0
    )
    database = Database(settings, Seal(secret))
    await database.start()
    try:
        key = hashlib.blake2b(secret.encode(), digest_size=32, person=b"mxbridge-ids").digest()
        # Nothing is swept here: what is too old is for the bridge to say.
        keep = config.journal.retry_window + 365 * 86_400
        blobs = BlobSpool(loaded.spool_path, key, 20 * config.media.max_size, keep=keep)
        await blobs.start()
        yield OpenedNetwork(
            network,
            Namespace(database.kv, f"network:{network}"),
            Namespace(database.kv, f"sealed:{network}"),
            blobs,
            SystemClock(),
            database,
        )
    finally:
        # When the bridge had crashed, its next start must still see that it did.
        await database.stop(clean=database.last_run.clean)


class OpenedNetwork:
    """The `Opened` of the contract."""

    def __init__(self, network: NetworkId, kv: Any, secrets: Any, blobs: Any, clock: Any, database: Any) -> None:
        self.network = network
        self.kv = kv
        self.secrets = secrets
        self.blobs = blobs
        self.clock = clock
        self._database = database

    def queue(self, name: str) -> Any:
        """As `Host.queue`."""
        return self._database.queue(f"{self.network}/{name}")
