"""`matrix-bridge`: finds the subcommand, loads only its module, and turns errors into words and exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast


class Command(Protocol):
    """What the module of a subcommand has."""

    def add_parser(self, subparser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; the exit code."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand that is not loaded yet."""

    module: str
    help: str


COMMANDS = {
    "demo": Entry("bridge_core.cli.demo", "a homeserver, networks and a conversation on this machine"),
    "init": Entry("bridge_core.cli.init", "write config.yaml and registration.yaml"),
    "check": Entry("bridge_core.cli.check", "say what is wrong with a configuration and its surroundings"),
    "run": Entry("bridge_core.cli.run", "run the bridge"),
    "journal": Entry("bridge_core.cli.journal", "list, show, replay or drop deliveries"),
    "db": Entry("bridge_core.cli.db", "look after the database"),
}

# Exit codes: 0 done, 1 something is wrong and was said, 2 wrong usage (argparse), 130 interrupted.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand (without arguments: demo) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["demo"]
    chosen = next((one for one in arguments if not one.startswith("-")), None)
    parser, module = _parser(chosen)
    options = parser.parse_args(arguments)
    if module is None:
        parser.print_help()
        return 2
    try:
        return module.run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; the interpreter must not complain about it once more
        return 1
    except Exception as error:
        words = _told(error)
        if words is None:
            raise
        print(words, file=sys.stderr)
        return 1


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, Command | None]:
    """The parser, with the arguments of the chosen command only: importing all would make --help slow."""
    from bridge_core.cli.tools import ToolCommand, installed_tools

    parser = argparse.ArgumentParser(
        prog="matrix-bridge", description="A Matrix bridge that loses nothing it accepted. Without arguments: demo."
    )
    parser.add_argument("--version", action="version", version=_Version(), help="print the version")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command")
    module: Command | None = None
    for name, entry in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=entry.help, description=entry.help)
        if name == chosen:
            module = cast(Command, importlib.import_module(entry.module))
            module.add_parser(subparser)
    for name in installed_tools():
        if name not in COMMANDS:
            subparser = subparsers.add_parser(name, help=f"tools of {name} networks")
            if name == chosen:
                module = ToolCommand(name)
                module.add_parser(subparser)
    return parser, module


class _Version(str):
    """Looks the version up only when it is printed."""

    __slots__ = ()

    def __mod__(self, _: object) -> str:
        from importlib.metadata import version

        return f"matrix-bridge {version('matrix-bridge-core')}"

    def __contains__(self, _: object) -> bool:
        return True  # argparse formats only texts that hold a %


def _told(error: Exception) -> str | None:
    """The words of an expected error; None for a mistake of ours, which deserves its traceback."""
    from bridge_core.api.errors import BridgeError
    from bridge_core.config.problems import ConfigError
    from registration.document import DocumentError
    from registration.model import RegistrationError
    from registration.namespaces import TemplateError

    expected = (BridgeError, ConfigError, RegistrationError, DocumentError, TemplateError, OSError)
    return str(error) if isinstance(error, expected) else None


if __name__ == "__main__":
    sys.exit(main())
