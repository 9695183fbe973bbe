"""What devices of ours get by /sync: all of it where transactions do not bring it, else what those have lost.

Synapse (1.163, measured) sends to-device messages, device lists and key counts with transactions once: what is refused,
or comes while the bridge is away, is sent again without them. The messages stay in the devices' inboxes, so one /sync
of the bot's device gets them; who encrypts for the bridge's ghosts encrypts for the bot too. Synapse serves every user
but the registration's sender (it fails with 500): so the bot must be another one, see `appservice.sender`. Where it is
not, lost keys are asked of the devices that have them, which many clients answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError
from bridge_core.api.host import Clock
from bridge_core.crypto.ports import Owner
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import KeyValues
from bridge_core.matrix.keys import Synced
from bridge_core.matrix.transaction import Transaction, TransactionSink
from bridge_core.observe.metrics import Counter

__all__ = ["GHOST", "NAMESPACE", "DeviceSync", "Watched"]

log = structlog.get_logger(__name__)

NAMESPACE: Final = "plain.sync"
"""Key-value namespace: where each device's /sync goes on."""
_WAIT: Final = 30.0
"""Seconds that the homeserver holds a request while nothing comes."""
_ROUND: Final = 3600.0
"""Seconds after which the inbox is looked into even if nothing seems to be missing. Empties it, too."""
GHOST: Final = 5.0
"""Seconds from one ghost's device to the next: what only they get (sessions of others with them) may be late."""
_PAUSE: Final = 1.0
"""Least seconds from one request to the next when nothing came."""
_AGAIN: Final = 5.0
"""The same where something seems to be missing: who makes up sessions makes no more requests."""
_RETRY: Final = (1.0, 60.0)
_REFUSED: Final = 3
"""Failures in a row after which an admin has to look: Synapse's /sync fails for the sender of a registration."""


class Syncs(Protocol):
    """Asks the homeserver: `matrix.keys.Keys`."""

    async def sync(self, owner: Owner, since: str | None, *, wait: float = 0) -> Synced:
        """GET /sync of a device. Raises as `KeyServer`."""


Take = Callable[[Synced, tuple[Write, ...]], Awaitable[None]]
"""Stores what came, with the writes, in one commit. Raises TransientError."""


class DeviceSync:
    """Runs beside the lanes. `polls`: None where it is not known whether transactions bring keys.

    Then it asks all the time until transactions have brought messages to devices and key counts: Synapse has a setting
    for each. `owners` gives the devices of ours that have keys.
    """

    def __init__(
        self,
        server: Syncs,
        take: Take,
        kv: KeyValues,
        bot: Owner,
        owners: Callable[[], Awaitable[Sequence[Owner]]],
        clock: Clock,
        counted: Counter,
        *,
        polls: bool | None,
    ) -> None:
        self._server = server
        self._take = take
        self._kv = kv
        self._bot = bot
        self._owners = owners
        self._clock = clock
        self._counted = counted
        self._polls = polls
        self._messages = self._counts = False
        self._wanted = asyncio.Event()
        self._wanted.set()

    @property
    def polling(self) -> bool:
        """Whether keys are asked for all the time."""
        return self._polls is not False

    def pushed(self, *, messages: bool, counts: bool) -> None:
        """What a transaction has brought. Does not block."""
        self._messages |= messages
        self._counts |= counts
        if self._polls is None and self._messages and self._counts:
            log.info("keys_come_with_transactions")
            self._polls = False

    def lost(self) -> None:
        """Something may be in the inbox that no transaction brings. Does not block."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask until cancelled. What fails is tried again. May be run again after any exception."""
        delay, failures = _RETRY[0], 0
        while True:
            try:
                if self.polling:
                    await self._poll()
                else:
                    await self._look()
            except RateLimitedError as error:
                await self._clock.sleep(max(error.retry_after, _PAUSE))
            except BridgeError as error:
                self._wanted.set()
                failures += 1
                if failures == _REFUSED or isinstance(error, MatrixRejectedError):
                    log.warning("keys_not_synced", error=str(error), retry_in=delay)
                else:
                    log.info("keys_put_off", error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1] if self.polling else _ROUND)
            except BaseException:
                self._wanted.set()
                raise
            else:
                delay, failures = _RETRY[0], 0

    async def ask_ghosts(self) -> None:
        """Ask for one ghost after the other, where transactions bring nothing; to be done again and again.

        One that fails keeps none of the others from it: what it was, if no BridgeError, is raised in the end.
        """
        failed: Exception | None = None
        for owner in await self._owners() if self.polling else ():
            if owner == self._bot or not self.polling:
                continue
            await self._clock.sleep(GHOST)
            try:
                await self.once(owner)
            except BridgeError as error:
                log.info("keys_put_off", user=owner.user, error=str(error), retry_in=_RETRY[1])
                await self._clock.sleep(error.retry_after if isinstance(error, RateLimitedError) else _RETRY[1])
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def once(self, owner: Owner, wait: float = 0) -> bool:
        """One request for a device; whether it brought messages. Raises BridgeError: then nothing was taken."""
        name = f"{owner.user} {owner.device}"
        since = await self._kv.get(NAMESPACE, name)
        found = await self._server.sync(owner, since.decode() if since is not None else None, wait=wait)
        if since is None or found.since != since.decode():
            await self._take(found, (self._kv.write(NAMESPACE, name, found.since.encode()),))
        self._counted.inc("some" if found.to_device else "nothing")
        return bool(found.to_device)

    async def _poll(self) -> None:
        began = self._clock.monotonic()
        if not await self.once(self._bot, _WAIT):
            await self._clock.sleep(max(0.0, _PAUSE - (self._clock.monotonic() - began)))

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_ROUND):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()
        while await self.once(self._bot):
            pass
        await self._clock.sleep(_AGAIN)


class Watched:
    """A sink before the sink: notices transactions that bring keys, and those that have lost them.

    `late` is told that events come later than they could, `missed` which device lists a transaction that was not taken
    has told of: it comes again without them. Neither may block.
    """

    def __init__(
        self,
        sink: TransactionSink,
        sync: DeviceSync,
        late: Callable[[], None],
        missed: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._sink = sink
        self._sync = sync
        self._late = late
        self._missed = missed

    async def accept(self, txn: Transaction) -> None:
        """As `TransactionSink.accept`."""
        messages, counts = bool(txn.to_device), bool(txn.otk_counts)
        try:
            await self._sink.accept(txn)
        except BaseException:
            self._sync.lost()  # it comes again without them
            self._late()
            if txn.device_lists:
                self._missed(txn.device_lists)
            raise
        if messages or counts:
            self._sync.pushed(messages=messages, counts=counts)
        elif txn.events:
            self._sync.lost()  # every transaction with events brings counts, but those of an outage
