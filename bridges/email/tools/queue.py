"""`matrix-bridge email queue list|show|retry|drop`: mails on their way out, while the bridge is stopped."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId
from bridge_core.api.tools import Place
from bridges.email.config.network import EmailConfig
from bridges.email.delivery.ledger import Ledger
from bridges.email.delivery.rows import QUEUE
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions

ACTIONS = ("list", "show", "retry", "drop", "suppressed", "clear")


class QueueTool:
    """A part of the command."""

    help = "mails that wait to be sent; the bridge must be stopped (else tell its bot `queue`)"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with what."""
        parser.add_argument(
            "action",
            choices=ACTIONS,
            help="list them, show one, retry one or all at the next start, drop one; list what is suppressed (nothing "
            "is sent to it, since a server said that it does not exist), clear an address of that",
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="the beginning of a mail's name, or an address")
        parser.add_argument("--network", metavar="NAME", help="of this network only")
        parser.add_argument("--after", default="", metavar="NAME", help="list those behind this one")
        parser.add_argument("--limit", type=int, default=1000, metavar="N", help="list at most so many (1000)")

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`."""
        if arguments.action in {"show", "retry", "drop", "clear"} and not arguments.names:
            print(f"say which: {arguments.action} NAME", file=sys.stderr)
            return 2
        networks = {name: one for name, one in place.networks.items() if arguments.network in {None, name}}
        if not networks:
            print("there is no such network", file=sys.stderr)
            return 1
        code = 0
        for network, settings in networks.items():
            if len(networks) > 1:
                print(f"{network}:")
            code = max(code, asyncio.run(_done(arguments, place, network, settings)))
        return code


async def _done(arguments: Namespace, place: Place, network: NetworkId, settings: EmailConfig) -> int:
    async with place.open(network) as there:
        delivery = settings.delivery
        suppressions = Suppressions(there.secrets, there.clock, delivery.suppress_for)
        shelf = Shelf(there.queue(QUEUE), there.blobs, there.clock, delivery.remember)
        ledger = Ledger(shelf, suppressions, there.clock, there.kv)
        match arguments.action:
            case "list":
                print(await ledger.listed(arguments.after.lower(), max(arguments.limit, 1)))
                return 0
            case "suppressed":
                print(await ledger.suppressed())
                return 0
        act = {"show": ledger.shown, "retry": ledger.retried, "drop": ledger.dropped, "clear": ledger.cleared}
        code = 0
        for name in arguments.names:
            try:
                print(await act[arguments.action](name))
            except RejectedError as error:
                print(error, file=sys.stderr)
                code = 1
        return code
