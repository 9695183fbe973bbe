"""`matrix-bridge email quarantine`: mails that could not be shown, whole, for the admin."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import NetworkId
from bridge_core.api.tools import Opened, Place
from bridges.email.config.network import EmailConfig
from bridges.email.quarantine import line
from bridges.email.spool import Spool
from bridges.email.spooled import Quarantined

_PAGE: Final = 100


class QuarantineTool:
    """A part of the command."""

    help = "mails that could not be shown; the bridge must be stopped"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which."""
        parser.add_argument(
            "action",
            choices=("list", "show", "retry", "drop"),
            help="list them, write one out as it came, try one again at the next start, or throw one away",
        )
        parser.add_argument("key", nargs="?", default="", help="the beginning of a mail's key")
        parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="a new file for it; else standard output")
        parser.add_argument("--network", metavar="NAME", help="of this network only")

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`."""
        if arguments.action != "list" and not arguments.key:
            print(f"say which: {arguments.action} KEY", file=sys.stderr)
            return 2
        networks = {name: one for name, one in place.networks.items() if arguments.network in {None, name}}
        if arguments.action == "list":
            for network, settings in networks.items():
                asyncio.run(_list(place, network, settings))
            return 0
        if any(asyncio.run(_done(arguments, place, network, settings)) for network, settings in networks.items()):
            return 0
        raise RejectedError(f"no mail of the quarantine is named {arguments.key}")


async def _list(place: Place, network: NetworkId, settings: EmailConfig) -> None:
    count = 0
    async with place.open(network) as there:
        async for one in _all(there, settings):
            count += 1
            print(line(one))
        if not count:
            print("Nothing is set aside.")


async def _done(arguments: Namespace, place: Place, network: NetworkId, settings: EmailConfig) -> bool:
    async with place.open(network) as there:
        found = [one async for one in _all(there, settings) if one.key.startswith(arguments.key)]
        if len(found) > 1:
            raise RejectedError(f"several are named {arguments.key}...: write more of it")
        if not found:
            return False
        if arguments.action == "retry":
            await _spool(there, settings).release(found[0].key)
            print("it is tried again when the bridge starts")
            return True
        if arguments.action == "drop":
            await _spool(there, settings).aside.discard(found[0].key)
            print("it is gone")
            return True
        if arguments.output is None:
            await _write(there, found[0], sys.stdout.buffer)
            return True
        try:
            with arguments.output.open("xb") as file:
                arguments.output.chmod(0o600)
                await _write(there, found[0], file)
        except OSError as error:
            raise RejectedError(f"{arguments.output} cannot be written: {error.strerror}") from error
        return True


async def _write(there: Opened, one: Quarantined, file: BinaryIO) -> None:
    async for chunk in there.blobs.open(one.arrival.blob):
        file.write(chunk)


def _spool(there: Opened, settings: EmailConfig) -> Spool:
    receiving = settings.receiving
    return Spool(cast(Host, there), most_mails=receiving.most_mails, most_bytes=receiving.most_bytes)


async def _all(there: Opened, settings: EmailConfig) -> AsyncIterator[Quarantined]:
    spool = _spool(there, settings)
    after = ""
    while page := await spool.aside.page(after, _PAGE):
        after = page[-1].key
        for one in page:
            yield one
