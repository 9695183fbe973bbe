"""The command itself: its parts, each a module of its own."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bridge_core.api.tools import Place
from bridges.email.tools.dns import DkimKeyTool, DnsTool
from bridges.email.tools.importing import ImportTool
from bridges.email.tools.quarantine import QuarantineTool
from bridges.email.tools.queue import QueueTool


class Part(Protocol):
    """One of the command's subcommands."""

    help: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Its arguments."""

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`."""


class EmailTool:
    """The `Tool` of the contract."""

    help = "look after mails that wait or were set aside, import old ones, and what mail needs in DNS"

    def __init__(self) -> None:
        self._parts: Mapping[str, Part] = {
            "queue": QueueTool(),
            "quarantine": QuarantineTool(),
            "import": ImportTool(),
            "dns": DnsTool(),
            "dkim-key": DkimKeyTool(),
        }

    def add_arguments(self, parser: ArgumentParser) -> None:
        """As `Tool.add_arguments`."""
        commands: Any = parser.add_subparsers(dest="email_command", required=True, metavar="COMMAND")
        for name, part in self._parts.items():
            own = commands.add_parser(name, help=part.help, description=part.help)
            # Behind the subcommand as well as before it: what is not given here leaves what was given there.
            own.add_argument("-c", "--config", type=Path, default=SUPPRESS, metavar="FILE", help="the configuration")
            part.add_arguments(own)

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`."""
        return self._parts[arguments.email_command].run(arguments, place)
