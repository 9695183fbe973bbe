"""`matrix-bridge email import`: old mails come into a mailbox as if they had been sent to it."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, cast

from bridge_core.api.errors import BackpressureError, RejectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import NetworkId
from bridge_core.api.tools import Opened, Place
from bridges.email.ahead import Owners
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.config.network import EmailConfig
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.mailboxes import Mailboxes
from bridges.email.smtp.trace import Passing
from bridges.email.spool import Spool
from bridges.email.tools.archives import Opener, mails_in
from bridges.email.trust.head import Head, read_mail

_EVERY: Final = 1.0
"""Seconds between two words about how far it is."""
_UNPROVED: Final = "it comes from a file of old mails"
_FULL: Final = "the spool is full: start the bridge, wait until it has shown these, stop it, and import again"


@dataclass(slots=True)
class Counts:
    """What became of the mails of an import."""

    taken: int = 0
    known: int = 0
    refused: int = 0

    @property
    def seen(self) -> int:
        return self.taken + self.known + self.refused

    def __str__(self) -> str:
        words = f"{self.taken} imported"
        words += f", {self.known} were there already" if self.known else ""
        return words + (f", {self.refused} could not be taken" if self.refused else "")


class ImportTool:
    """A part of the command."""

    help = (
        "bring old mails from mbox files and Maildirs into a mailbox; the bridge must be stopped, and shows them then"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """From where, and into what."""
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an mbox file or a Maildir")
        parser.add_argument(
            "--into",
            required=True,
            metavar="ADDRESS",
            help="the mailbox: one of the settings, or one that a Matrix user has",
        )
        parser.add_argument(
            "--believe", action="store_true", help="the file is your own: who a mail says it is from has written it"
        )
        parser.add_argument("--network", metavar="NAME", help="of this network")

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`. What was imported before is known again, so an import may be begun anew."""
        try:
            into = parse_address(arguments.into)
        except ValueError as error:
            raise RejectedError(f"{arguments.into} is no mail address: {error}") from error
        networks = {name: one for name, one in place.networks.items() if arguments.network in {None, name}}
        for network, settings in networks.items():
            found = Mailboxes(settings).exact(into)
            if found is not None:
                return asyncio.run(_imported(arguments, place, network, settings, found.address))
        for network, settings in networks.items():
            own = Mailboxes(settings)
            if own.localpart_for(into) is not None:
                return asyncio.run(_imported(arguments, place, network, settings, own.untagged(into), provided=True))
        raise RejectedError(f"no mailbox {into} is in the settings")


async def _imported(
    arguments: Namespace,
    place: Place,
    network: NetworkId,
    settings: EmailConfig,
    into: Address,
    *,
    provided: bool = False,
) -> int:
    async with place.open(network) as there:
        if provided and await Owners(there.kv).of(into) is None:
            raise RejectedError(f"{into} is nobody's yet: its user gets it by saying `address` to the bot")
        receiving = settings.receiving
        # All that the spool needs of a host is there while the bridge is stopped.
        spool = Spool(cast(Host, there), most_mails=receiving.most_mails, most_bytes=receiving.most_bytes)
        await spool.start()
        importing = Import(there, spool, into, receiving.largest, believed=arguments.believe)
        try:
            for path in arguments.paths:
                await importing.all_of(path)
        except BackpressureError:
            print(f"{importing.counts}; {_FULL}", file=sys.stderr)
            return 1
        print(importing.counts)
        return 1 if importing.counts.refused else 0


class Import:
    """Gives mails to the spool, one after the other."""

    def __init__(self, there: Opened, spool: Spool, into: Address, largest: int, *, believed: bool) -> None:
        self._there = there
        self._spool = spool
        self._into = into
        self._largest = largest
        self._believed = believed
        self.counts = Counts()

    async def all_of(self, path: Path) -> None:
        """All mails of an mbox or Maildir. Raises RejectedError for what is none, BackpressureError when full."""
        total, mails = mails_in(path)
        told, before = time.monotonic(), self.counts.seen
        for number, opened in enumerate(mails, 1):
            try:
                await self._one(opened)
            except (RejectedError, OSError) as error:
                self.counts.refused += 1
                print(f"{path}: mail {number}: {error}", file=sys.stderr)
            if time.monotonic() - told >= _EVERY:
                told = time.monotonic()
                print(f"{path}: {self.counts.seen - before} of {total}", file=sys.stderr)

    async def _one(self, opened: Opener) -> None:
        passing = Passing()
        blob = await self._there.blobs.put(_chunks(opened(), passing), self._largest)
        head = await read_mail(lambda: self._there.blobs.open(blob), lambda _: ())
        authors = head.authors()
        now = self._there.clock.now_ms()
        envelope = Envelope(
            id=secrets.token_hex(10),
            door=Door.IMPORT,
            sender=authors[0] if authors else None,
            recipients=(self._into,),
            peer="",
            helo="",
            # When it came, as far as is known: the oldest is shown first, and under its own date.
            received_at=min(_date(head) or now, now),
            size=passing.size,
            digest=passing.digest(),
        )
        envelope = replace(envelope, has_id=passing.has_id)
        verdict = Verdict(reason=_UNPROVED)
        if self._believed and len(authors) == 1:
            verdict = Verdict(author=authors[0], verified=True, source="import")
        before = self._spool.given_twice
        await self._spool.accept(envelope, verdict, blob)
        if self._spool.given_twice > before:
            self.counts.known += 1
        else:
            self.counts.taken += 1


def _date(head: Head) -> int | None:
    """Milliseconds since 1970 of the Date field, where it has one that can be."""
    for field in head.all("date")[:1]:
        try:
            found = int(parsedate_to_datetime(head.value(field)).timestamp() * 1000)
        except (ValueError, TypeError, OverflowError, IndexError, OSError):
            return None
        return found if found > 0 else None
    return None


async def _chunks(pieces: Iterator[bytes], passing: Passing) -> AsyncIterator[bytes]:
    for piece in pieces:
        passing.see(piece)
        yield piece
