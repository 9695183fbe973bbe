"""What a network type adds to the command line: `matrix-bridge NAME ...`.

An entry point of the group `matrix_bridge.tools`, named as the command (the network type), gives a class without
arguments whose objects are `Tool`s. It is loaded only when its command is called.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from bridge_core.api.host import KV, Blobs, Clock
from bridge_core.api.ids import NetworkId
from bridge_core.api.queues import Queue


class Opened(Protocol):
    """The durable parts of one network, as its `Host` has them, while the bridge is stopped."""

    @property
    def network(self) -> NetworkId: ...

    @property
    def kv(self) -> KV: ...

    @property
    def secrets(self) -> KV: ...

    @property
    def blobs(self) -> Blobs: ...

    @property
    def clock(self) -> Clock: ...

    def queue(self, name: str) -> Queue:
        """The network's durable queue of that name."""


class Place(Protocol):
    """What a tool works on: the configuration that the command line names."""

    @property
    def networks(self) -> Mapping[NetworkId, Any]:
        """The settings of all configured networks of the tool's type, validated by its model.

        Blocks on the disk. Raises an error whose words the command line prints (exit code 1).
        """

    def open(self, network: NetworkId) -> AbstractAsyncContextManager[Opened]:
        """The network's state, owned while the context lasts. Raises TransientError in words while the bridge runs."""


class Tool(Protocol):
    """The commands of one network type."""

    help: str
    """One line for `--help`."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what the command takes. `-c`/`--config` is there already, before any subcommand."""

    def run(self, arguments: Namespace, place: Place) -> int:
        """Do it and print to standard output; the exit code. A BridgeError is printed in its words.

        No event loop runs yet: call `asyncio.run`.
        """
