"""How much one person may send, and how fast one conversation may go."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import orjson

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import KV, Clock
from bridge_core.api.ids import UserId
from bridges.email.codec.addresses import Address
from bridges.email.config.delivery import Delivery
from bridges.email.ports import About

_DAY: Final = 86_400_000
_EACH: Final = 60_000
"""Milliseconds after which a conversation may go on by one mail."""
_THREADS: Final = 10_000
_FRESH: Final = 30
"""Days after which it is noted again that a mailbox still writes to somebody."""
_REMEMBERED: Final = 366
"""Days after which somebody whom nobody wrote to is new again."""
_WRITTEN: Final = "written-to/"
_SENT_BY: Final = "sent-by/"


class Limits:
    """Counts by the day in the store, by the conversation in memory."""

    def __init__(self, kv: KV, clock: Clock, settings: Delivery) -> None:
        self._kv = kv
        self._clock = clock
        self._settings = settings
        # Of each conversation: when it would be at rest again. The oldest are let go.
        self._threads: OrderedDict[str, int] = OrderedDict()

    async def take(self, about: About, recipients: Sequence[Address]) -> None:
        """Count a mail. Raises RejectedError in words for its writer; then nothing was counted."""
        now = self._clock.now_ms()
        rest = self._rest(about, now)
        key = f"{_SENT_BY}{_hash(about.user)}"
        day, count, new = await self._counted(key, now // _DAY)
        written = {one: await self._kv.get(_known(about.mailbox, one)) for one in recipients}
        unknown = [one for one, row in written.items() if row is None]
        if count + len(recipients) > self._settings.mails_per_day:
            raise RejectedError(self._enough())
        if new + len(unknown) > self._settings.new_recipients_per_day:
            raise RejectedError(self._new_enough())
        await self._kv.put(key, orjson.dumps([day, count + len(recipients), new + len(unknown)]))
        for one, row in written.items():
            if row is None or int(row) + _FRESH < now // _DAY:
                await self._kv.put(_known(about.mailbox, one), str(now // _DAY).encode())
        self._threads[_thread(about)] = rest
        self._threads.move_to_end(_thread(about))
        while len(self._threads) > _THREADS:
            self._threads.popitem(last=False)

    async def reached(self, user: UserId, mailbox: Address, recipients: Sequence[Address]) -> str:
        """Why a user may not write one mail more to these today, in words; empty where they may. Counts nothing."""
        _, count, new = await self._counted(f"{_SENT_BY}{_hash(user)}", self._clock.now_ms() // _DAY)
        if count + len(recipients) > self._settings.mails_per_day:
            return self._enough()
        left = self._settings.new_recipients_per_day - new
        if len(recipients) > left:
            for one in recipients:
                left -= await self._kv.get(_known(mailbox, one)) is None
        return self._new_enough() if left < 0 else ""

    def _new_enough(self) -> str:
        return f"you may write to {self._settings.new_recipients_per_day} new recipients a day: try tomorrow"

    def _enough(self) -> str:
        return f"you may write to {self._settings.mails_per_day} recipients a day: try tomorrow"

    async def tidy(self) -> int:
        """Forget whom a mailbox has not written to for a year, and the counts of past days; how many rows went."""
        today = self._clock.now_ms() // _DAY
        gone = [key for key, row in (await self._kv.items(_WRITTEN)).items() if int(row) + _REMEMBERED < today]
        gone += [key for key, row in (await self._kv.items(_SENT_BY)).items() if orjson.loads(row)[0] < today]
        for key in gone:
            await self._kv.put(key, None)
        return len(gone)

    def _rest(self, about: About, now: int) -> int:
        rest = max(self._threads.get(_thread(about), 0), now) + _EACH
        if rest - now > self._settings.mails_per_thread * _EACH:
            raise RejectedError("too many mails in this conversation: wait a minute (two programs may be answering)")
        return rest

    async def _counted(self, key: str, today: int) -> tuple[int, int, int]:
        row = await self._kv.get(key)
        day, count, new = orjson.loads(row) if row is not None else (today, 0, 0)
        return (today, count, new) if day == today else (today, 0, 0)


def _thread(about: About) -> str:
    return f"{about.mailbox.key}/{about.thread}"


def _known(mailbox: Address, address: Address) -> str:
    return f"{_WRITTEN}{_hash(f'{mailbox.key}/{address.key}')}"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
