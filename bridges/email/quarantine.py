"""Mails that could not be shown: set aside for the admin, with bounds that take no room from mail that can be shown."""

from datetime import UTC, datetime
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Host
from bridge_core.api.queues import QueueItem
from bridges.email.config.receiving import Aside
from bridges.email.envelopes import decode
from bridges.email.spooled import Arrival, Quarantined, with_reason, without_reason
from bridges.email.tally import LetGo, Tally

_log = structlog.get_logger(__name__)
_PAGE: Final = 1000
_LOGIN: Final = "@"
"""Whose mails those of mail programs of our own users are."""


class Quarantine:
    """Keeps rows of the spool with a reason in front, until the admin retries or drops them.

    Strangers can have mail set aside. At the bounds the oldest of whoever has the most there goes, counted and logged,
    so that who floods it loses their own.
    """

    def __init__(self, host: Host, bounds: Aside, tally: Tally) -> None:
        self._host = host
        self._queue = host.queue("quarantine")
        self._bounds = bounds
        self._tally = tally
        self._whose: dict[str, str] = {}
        self._mails: dict[str, dict[str, int]] = {}
        """The sizes of each one's mails, by key, the oldest first."""
        self._bytes = 0

    @property
    def mails(self) -> int:
        """How many there are."""
        return len(self._whose)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._bytes

    async def start(self) -> None:
        """Count what there is."""
        after, found = "", []
        while page := await self._queue.page(after, _PAGE):
            after = page[-1].key
            found += [(item.due, item.key, *_whose(without_reason(item.body)[1])) for item in page]
        for _, key, whose, size in sorted(found):
            self._add(key, whose, size)

    def all_keys(self) -> list[str]:
        """Of all there is."""
        return list(self._whose)

    async def put(self, key: str, body: bytes, reason: str) -> None:
        """Return when it is committed. `body` is the mail's row. Idempotent."""
        await self._queue.put([QueueItem(key, with_reason(reason, body), self._host.clock.now_ms())])
        self._add(key, *_whose(body))
        while self.mails > self._bounds.mails or self._bytes > self._bounds.bytes:
            most = max(self._mails.values(), key=len)
            oldest = next(iter(most))
            if oldest == key:
                break  # what came last is not thrown away for being large
            _log.warning("mail_quarantine_full", mails=self.mails, bytes=self._bytes, key=oldest)
            await self.discard(oldest, LetGo.FULL)

    async def body(self, key: str) -> bytes | None:
        """The mail's row as it was; None when there is none of that key."""
        item = await self._queue.get(key)
        return without_reason(item.body)[1] if item is not None else None

    async def remove(self, key: str) -> None:
        """It is not set aside any more."""
        await self._queue.put(removed=[key])
        self._leave(key)

    async def discard(self, key: str, why: LetGo = LetGo.DROPPED) -> bool:
        """Throw a mail away with its bytes; False when there is none of that key."""
        body = await self.body(key)
        if body is None:
            self._leave(key)
            return False
        await self.remove(key)
        self._tally.let_go[why] += 1
        try:
            await self._host.blobs.drop(decode(body)[2])
        except (ValueError, BridgeError, OSError) as error:
            _log.debug("mail_discarded_without_file", error=str(error))  # it goes by its age
        return True

    async def page(self, after: str, limit: int) -> list[Quarantined]:
        """What is set aside, by key."""
        found = []
        for item in await self._queue.page(after, limit):
            reason, body = without_reason(item.body)
            try:
                found.append(Quarantined(item.key, reason, Arrival(item, *decode(body))))
            except ValueError:
                _log.debug("mail_row_unreadable_still", key=item.key)
        return found

    async def named(self, beginning: str) -> Quarantined:
        """The mail whose key begins so. Raises RejectedError in words where there is none, or are several."""
        found: list[Quarantined] = []
        after = ""
        while beginning and len(found) < 2 and (page := await self.page(after, _PAGE)):
            after = page[-1].key
            found += [one for one in page if one.key.startswith(beginning)]
        if not found:
            raise RejectedError(f"no mail of the quarantine is named {beginning}")
        if len(found) > 1:
            raise RejectedError(f"several are named {beginning}...: write more of it")
        return found[0]

    def _add(self, key: str, whose: str, size: int) -> None:
        if key not in self._whose:
            self._whose[key] = whose
            self._mails.setdefault(whose, {})[key] = size
            self._bytes += size

    def _leave(self, key: str) -> None:
        whose = self._whose.pop(key, None)
        if whose is not None:
            self._bytes -= self._mails[whose].pop(key)
            if not self._mails[whose]:
                del self._mails[whose]


def _whose(body: bytes) -> tuple[str, int]:
    """Whose a mail is, as far as somebody answers for that, and its bytes."""
    try:
        envelope, verdict, _ = decode(body)
    except ValueError:
        return "", 0
    if envelope.login is not None:
        return _LOGIN, envelope.size
    return verdict.author.domain.lower() if verdict.author and verdict.verified else "", envelope.size


def line(one: Quarantined) -> str:
    """A mail that is set aside, for an admin: how it is named, when it came, from and for whom, and why it is here."""
    envelope = one.arrival.envelope
    came = datetime.fromtimestamp(envelope.received_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    to = ", ".join(str(address) for address in envelope.recipients[:3])
    return f"{one.key[:16]}  {came}  {envelope.sender or '<>'} -> {to}  {envelope.size} bytes: {one.reason}"
