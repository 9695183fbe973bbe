"""The queue as an admin sees it: listed, shown, tried now, dropped. For the bot and for the command line."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import KV, Clock
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.doubts import Doubts
from bridges.email.delivery.fates import why
from bridges.email.delivery.rows import Row, State
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.ports import Outcome, Reply

SHOWN: Final = 20
_SHORTEST: Final = 4
_PAGE: Final = 200
_EVERYTHING: Final = "all"
_BUSY: Final = "it is being tried just now, or is done with"
_HELD: Final = "it is held for {} s more: until then its writer may change it or take it back"


class Ledger:
    """Answers in words."""

    def __init__(self, shelf: Shelf, suppressions: Suppressions, clock: Clock, kv: KV) -> None:
        self._shelf = shelf
        self._suppressions = suppressions
        self._clock = clock
        self._doubts = Doubts(kv, Counts())
        self.on_retry: Callable[[], None] = lambda: None

    async def listed(self, after: str = "", limit: int = SHOWN) -> str:
        """What waits, by id, behind the one named."""
        rows = await self._shelf.waiting(after, limit + 1)
        doubts = "" if after else await self._doubtful()
        if not rows:
            return doubts + "Nothing waits to be sent." if not after else "Nothing more waits to be sent."
        lines = [self._line(row, due) for row, due in rows[:limit]]
        if len(rows) > limit:
            lines.append(f"... more behind {rows[limit - 1][0].id[:12]}")
        return doubts + "\n".join(lines)

    async def _doubtful(self) -> str:
        count = await self._doubts.count()
        words = "tries ended in doubt since the network began: the answer was lost, and such a mail may arrive twice."
        return f"{count} {words}\n" if count else ""

    async def shown(self, name: str) -> str:
        """All about one row; never what the mail says."""
        row, due = await self._find(name)
        lines = [
            f"row: {row.id}",
            f"mail: {row.mail.message_id} ({row.mail.size} bytes)",
            f"from: {row.about.mailbox} by {row.about.user}",
            f"to: {row.recipient}",
            f"queued: {_time(row.queued_at)}",
            f"state: {row.state.value}, tried {row.attempts} times"
            + (f", {row.doubts} of unknown end" if row.doubts else ""),
        ]
        if row.tried_at:
            lines.append(f"last try: {_time(row.tried_at)}: {why(row)}")
        if not row.done:
            lines.append(f"next try: {_time(due)}")
        return "\n".join(lines)

    async def retried(self, name: str) -> str:
        """Try one, or `all`, as soon as possible; but for what its writer may still change or take back."""
        now = self._clock.now_ms()
        held = 0
        async with self._shelf.turn:
            if name == _EVERYTHING:
                count, held = await self._all_now(now)
            else:
                row, due = await self._find(name)
                if row.state is not State.WAITING:
                    raise RejectedError(_BUSY)
                if _held(row, due, now):
                    raise RejectedError(_HELD.format((due - now + 999) // 1000))
                await self._shelf.renew(row)
                await self._shelf.put([(row, now)])
                count = 1
        self.on_retry()
        self._shelf.wake.set()
        kept = f" {held} were not tried yet and keep their hold." if held else ""
        return f"{count} will be tried now.{kept}"

    async def _all_now(self, now: int) -> tuple[int, int]:
        """How many are due now, and how many are still held."""
        count, held, after = 0, 0, ""
        while page := await self._shelf.waiting(after, _PAGE):
            later = [(row, due) for row, due in page if row.state is State.WAITING and due > now]
            waiting = [row for row, due in later if not _held(row, due, now)]
            await self._shelf.put([(row, now) for row in waiting])
            count += len(waiting)
            held += len(later) - len(waiting)
            after = page[-1][0].id
        return count, held

    async def dropped(self, name: str) -> str:
        """Give one up. Its sender is told, by the bridge when it runs again."""
        async with self._shelf.turn:
            (row,) = await self._several(name)
            if row.state is not State.WAITING:
                raise RejectedError(_BUSY)
            dropped = row.answered(Outcome(Reply(0, "5.7.0", "an admin has taken it out of the queue")))
            await self._shelf.put([(replace(dropped, state=State.DROPPING), self._clock.now_ms())])
        self._shelf.wake.set()
        return f"{row.recipient} will not get it."

    async def suppressed(self) -> str:
        """The addresses that nothing is sent to."""
        found = await self._suppressions.all()
        lines = [f"{one.address} (from {one.domain}) until {_time(one.until)}: {one.reason}" for one in found[:100]]
        if len(found) > 100:
            lines.append(f"... and {len(found) - 100} more")
        return "\n".join(lines) or "Nothing is suppressed."

    async def cleared(self, text: str) -> str:
        """Take an address off that list."""
        try:
            address: Address = parse_address(text)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        count = await self._suppressions.clear(address)
        return f"{address} is written to again." if count else f"{address} is not on the list."

    async def _find(self, name: str) -> tuple[Row, int]:
        (row,) = await self._several(name)
        due = {one.id: at for one, at in await self._shelf.rows(row.about.message)}
        return row, due.get(row.id, 0)

    async def _several(self, name: str) -> list[Row]:
        """The row that is named by its id or the beginning of it. Raises RejectedError in words."""
        name = name.strip().lower()
        if len(name) < _SHORTEST or not name.isalnum():
            raise RejectedError(f"a row is named by its id, or at least {_SHORTEST} characters of it")
        whole = await self._shelf.get(name)
        if whole is not None:
            return [whole]
        # What comes just before all that begins with the name.
        found = [row for row, _ in await self._shelf.waiting(name, 2) if row.id.startswith(name)]
        if not found:
            raise RejectedError(f"no mail of the queue is named {name}")
        if len(found) > 1:
            raise RejectedError(f"several are named {name}...: write more of it")
        return found

    def _line(self, row: Row, due: int) -> str:
        left = max(due - self._clock.now_ms(), 0) // 1000
        when = "being tried" if row.state is State.TRYING else f"in {left} s" if left else "due"
        if row.state is State.DROPPING:
            when = "being dropped"
        after = f", tried {row.attempts} times: {why(row)}" if row.attempts else ""
        return f"{row.id[:12]}  {row.about.mailbox} -> {row.recipient}  {when}{after}"


def _held(row: Row, due: int, now: int) -> bool:
    """Whether nothing was tried yet, since its writer may still change it."""
    return row.attempts == 0 and due > now


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
