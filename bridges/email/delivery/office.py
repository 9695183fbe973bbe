"""All of delivery put together: what the connector makes, starts and stops."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.network import Inbox
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.signing import Key, read_key
from bridges.email.config.delivery import Delivery
from bridges.email.config.trust import Dns
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.courier import Courier
from bridges.email.delivery.doubts import Doubts
from bridges.email.delivery.fates import Fates
from bridges.email.delivery.hops import Hops, Names
from bridges.email.delivery.ledger import Ledger
from bridges.email.delivery.limits import Limits
from bridges.email.delivery.mtasts import Policies
from bridges.email.delivery.names import DnsNames
from bridges.email.delivery.near import NearCarrier
from bridges.email.delivery.outbox import MailOutbox
from bridges.email.delivery.returned import ReturnPaths
from bridges.email.delivery.rows import QUEUE, Row
from bridges.email.delivery.runner import Runner
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.delivery.transport import SmtpTransport
from bridges.email.ports import Directory, Intake
from bridges.email.trust.names import Resolver

log = structlog.get_logger(__name__)
_TIDY_EVERY: Final = 86_400.0


class PostOffice:
    """The parts of delivery of one network, in the order in which they need one another.

    `learnt` is told a row and the id that a relay gave its mail instead of ours, before the row is ended.
    """

    def __init__(
        self,
        host: Host,
        inbox: Inbox,
        tokens: Tokens,
        settings: Delivery,
        hostname: str,
        *,
        names: Names | None = None,
        learnt: Callable[[Row, str], Awaitable[None]] | None = None,
        counts: Counts | None = None,
    ) -> None:
        names = names or DnsNames(Resolver(Dns()))
        self._tending: asyncio.Task[None] | None = None
        self._host, self._settings, self._hostname = host, settings, hostname
        self.shelf = Shelf(host.queue(QUEUE), host.blobs, host.clock, settings.remember)
        self.suppressions = Suppressions(host.secrets, host.clock, settings.suppress_for)
        self._limits = limits = Limits(host.kv, host.clock, settings)
        fates = Fates(inbox)
        policies = Policies(names, host.http, host.kv, host.clock) if settings.direct and settings.mta_sts else None
        self.transport = SmtpTransport(
            settings, Hops(settings, names, policies), host.blobs, host.tasks, host.clock, hostname
        )
        self.counts = counts or Counts()
        self.outbox = MailOutbox(
            self.shelf, host.blobs, host.clock, tokens, settings, limits, self.suppressions, self.counts
        )
        self.returned = ReturnPaths(self.shelf, tokens, self.suppressions, settings.bounce_name)
        self.ledger = Ledger(self.shelf, self.suppressions, host.clock, host.kv)
        self.ledger.on_retry = self.transport.forget_away
        doubts = Doubts(host.kv, self.counts)
        self.courier = Courier(
            self.shelf,
            self.transport,
            fates,
            self.suppressions,
            settings,
            tokens,
            host.clock,
            self.counts,
            doubts,
            learnt=learnt,
        )
        self.runner = Runner(self.shelf, self.courier, settings, host.tasks, host.clock, doubts)

    def keep_near(self, directory: Directory, intake: Intake, domains: Collection[str]) -> None:
        """Mail to mailboxes of our own domains stays here from now on. To be called before `start`."""
        self.suppressions.ours = frozenset(domains)
        self.courier.carrier = NearCarrier(
            self.transport,
            domains,
            directory,
            intake,
            self._host.blobs,
            self._host.clock,
            self._hostname,
            smarthost=bool(self._settings.smarthosts),
        )

    def start(self) -> None:
        """Begin to send."""
        self.runner.start()
        self._tending = self._host.tasks.spawn(self._tend(), "email delivery tidying")

    async def _tend(self) -> None:
        """Once a day, what is remembered longer than it is needed goes."""
        while True:
            try:
                await self._limits.tidy()
                await self.suppressions.all()
            except BridgeError as error:
                log.info("delivery_not_tidied", error=str(error))
            await self._host.clock.sleep(_TIDY_EVERY)

    async def stop(self, seconds: float) -> None:
        """End within about so many seconds; what is not sent stays in the queue."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
            self._tending = None
        await self.runner.stop(seconds)
        await self.transport.close()


def signing_keys(settings: Delivery) -> dict[str, list[Key]]:
    """The DKIM keys of each domain, for the composer."""
    keys: dict[str, list[Key]] = {}
    for one in settings.dkim:
        keys.setdefault(one.domain, []).append(read_key(one.domain, one.selector, one.key.get_secret_value()))
    return keys
