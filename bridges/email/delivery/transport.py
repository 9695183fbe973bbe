"""Mails handed to other servers, over connections that are kept for the next one."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import structlog

from bridge_core.api.host import Blobs, Clock, Tasks
from bridges.email.codec.addresses import Address
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.hops import Hop, Hops, NoRouteError
from bridges.email.delivery.wire import LostError, NoConnectionError, Wire
from bridges.email.ports import Outcome, OutgoingMail, Reply

log = structlog.get_logger(__name__)
_AWAY: Final = 30.0
"""Seconds for which a destination that could not be reached is not dialled again for other mails."""
_KNOWN: Final = 10_000


class SmtpTransport:
    """The `Transport` of ports. Its caller bounds how many deliveries run at a time; so many connections there are."""

    def __init__(self, settings: Delivery, hops: Hops, blobs: Blobs, tasks: Tasks, clock: Clock, hostname: str) -> None:
        self._settings = settings
        self._hops = hops
        self._blobs = blobs
        self._tasks = tasks
        self._clock = clock
        self._hostname = hostname
        self._idle: dict[Hop, list[tuple[float, Wire]]] = {}
        self._away: OrderedDict[str, tuple[float, Reply]] = OrderedDict()
        self._reaper: asyncio.Task[None] | None = None

    def destination(self, mail: OutgoingMail, recipient: Address, domain: str) -> str:
        """What is shared by mails that go the same way; `domain` is ours that the mail is from."""
        return self._hops.destination(domain, recipient)

    async def deliver(
        self, mail: OutgoingMail, recipients: Sequence[Address], destination: str = ""
    ) -> Mapping[Address, Outcome]:
        """As `Transport.deliver`. What reading the mail raises (BridgeError) passes through: nothing went out."""
        if not recipients:
            return {}
        if not destination:
            destination = self._hops.destination(mail.sender.domain if mail.sender else "", recipients[0])
        away = self._away.get(destination)
        if away is not None and away[0] > self._clock.monotonic():
            return dict.fromkeys(recipients, Outcome(away[1]))
        try:
            hops = await self._hops.to(destination)
        except NoRouteError as error:
            return dict.fromkeys(recipients, Outcome(error.reply))
        last: NoConnectionError | None = None
        for hop in hops:
            try:
                return await self._over(hop, mail, recipients)
            except NoConnectionError as error:
                log.info("mail_server_not_reached", host=hop.host, why=error.reply.text)
                last = error
        reply = last.reply if last is not None else Reply(0, "4.4.1", "there is no server to try")
        self._away[destination] = (self._clock.monotonic() + _AWAY, reply)
        while len(self._away) > _KNOWN:
            self._away.popitem(last=False)
        return dict.fromkeys(recipients, Outcome(reply, hops[-1].host if hops else ""))

    def forget_away(self) -> None:
        """Dial again at once whoever was away: somebody asked for it."""
        self._away.clear()

    async def close(self) -> None:
        """Part from all servers."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
            self._reaper = None
        wires = [wire for kept in self._idle.values() for _, wire in kept]
        self._idle.clear()
        await asyncio.gather(*(wire.quit() for wire in wires))

    async def _over(self, hop: Hop, mail: OutgoingMail, recipients: Sequence[Address]) -> Mapping[Address, Outcome]:
        async def content() -> AsyncIterator[bytes]:
            if mail.head:
                yield mail.head
            async for chunk in self._blobs.open(mail.blob):
                yield chunk

        while (wire := self._kept(hop)) is not None:
            try:
                return await self._handed(wire, mail, recipients, content)
            except LostError:
                continue  # It was idle, and the server has let it go.
        wire = await Wire.opened(hop, self._settings, self._hostname)
        return await self._handed(wire, mail, recipients, content)

    async def _handed(
        self, wire: Wire, mail: OutgoingMail, recipients: Sequence[Address], content: Callable[[], AsyncIterator[bytes]]
    ) -> Mapping[Address, Outcome]:
        try:
            outcomes = await wire.hand_over(mail, recipients, content)
        except BaseException:
            wire.close()
            raise
        self._keep(wire)
        return outcomes

    def _kept(self, hop: Hop) -> Wire | None:
        kept = self._idle.get(hop, [])
        while kept:
            _, wire = kept.pop()
            if wire.usable:
                return wire
            wire.close()
        return None

    def _keep(self, wire: Wire) -> None:
        if not wire.usable or not self._settings.idle:
            wire.close()
            return
        self._idle.setdefault(wire.hop, []).append((self._clock.monotonic() + self._settings.idle, wire))
        if self._reaper is None or self._reaper.done():
            self._reaper = self._tasks.spawn(self._reap(), "email idle connections")

    async def _reap(self) -> None:
        """Part from servers that nothing goes to any more; ends when there are none."""
        while self._idle:
            await asyncio.sleep(min(self._settings.idle, 5.0))
            now = self._clock.monotonic()
            for hop, kept in list(self._idle.items()):
                over = [wire for until, wire in kept if until <= now]
                kept[:] = [one for one in kept if one[0] > now]
                if not kept:
                    del self._idle[hop]
                for wire in over:
                    await wire.quit()
