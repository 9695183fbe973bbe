"""`matrix-bridge demo`: a real homeserver, networks, the bridge, and a conversation, on this machine alone."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from bridge_core.cli.init import write_files
from bridge_core.demo.runner import DemoOptions, run_demo
from bridge_core.demo.screen import Screen


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = subparser.add_argument
    add("--headless", action="store_true", help="hold the conversation, compare both sides, exit 0 or 1")
    add(
        "--encrypted",
        action="store_true",
        help="in encrypted rooms, with matrix-nio (installed once); then search for it in what is stored",
    )
    add("--json", action="store_true", help="the result as JSON on standard output; implies --headless")
    add("--network", type=_names, metavar="NAME,...", default=(), help="only these networks")
    add("--require", type=_names, metavar="NAME,...", default=(), help="exit 1 when one of these cannot be started")
    add("--server", type=_choice, metavar="NETWORK=SERVER", action="append", default=[], help="such as irc=ngircd")
    add("--directory", type=Path, metavar="DIR", help="an empty folder for data and logs, which is kept")


def run(options: argparse.Namespace) -> int:
    """Run the demo; its exit status."""
    wanted = DemoOptions(
        headless=options.headless or options.json,
        json=options.json,
        encrypted=options.encrypted,
        directory=options.directory,
        networks=options.network,
        required=options.require,
        servers=dict(options.server),
    )
    return asyncio.run(run_demo(wanted, write_files, Screen(sys.stderr if options.json else sys.stdout)))


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise argparse.ArgumentTypeError("names no network")
    return names


def _choice(text: str) -> tuple[str, str]:
    network, equals, server = text.partition("=")
    if not (network and equals and server):
        raise argparse.ArgumentTypeError("must look like irc=ngircd")
    return network, server
