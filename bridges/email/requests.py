"""Mails of strangers that wait until somebody of the mailbox wants them."""

from collections import Counter
from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import RemoteUserId
from bridge_core.api.network import Inbox
from bridge_core.api.queues import QueueItem
from bridges.email import presenting
from bridges.email.config.receiving import Held
from bridges.email.envelopes import decode, encode
from bridges.email.mail import Envelope, Verdict
from bridges.email.mailboxes import Mailboxes
from bridges.email.people import UNVERIFIED, Author
from bridges.email.spool import Spool
from bridges.email.spooled import size_of
from bridges.email.tally import LetGo

_log = structlog.get_logger(__name__)
_DAY: Final = 86_400_000
_TEND_EVERY: Final = 6 * 3600.0
_PAGE: Final = 500
_TOLD: Final = 3
"""Mails of one person that a room is told of within a day; `requests` counts all."""


class Requests:
    """Holds what the spool gave up, and gives it back. Counted in the spool's room, with bounds of its own.

    Each mail has a copy of its bytes here: the spool drops its own when it is done with it. Who waits is known by
    ghost: what somebody else sends under a person's address takes no room from the person.
    """

    def __init__(self, host: Host, spool: Spool, limits: Held) -> None:
        self._host = host
        self._queue = host.queue("requests")
        self._spool = spool
        self._limits = limits
        self._sizes: dict[str, tuple[str, int]] = {}
        self._people: Counter[str] = Counter()
        self._mailboxes: Counter[str] = Counter()
        self._bytes = 0

    @property
    def mails(self) -> int:
        """How many wait."""
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._bytes

    async def start(self) -> None:
        """Read what waits, and end what a crash left half done. To be awaited before the doors open."""
        after = ""
        while page := await self._queue.page(after, _PAGE):
            after = page[-1].key
            for item in page:
                self._add(item)
                await self._went(item)

    def room(self, mailbox: str, person: RemoteUserId, size: int) -> bool:
        """Whether one more mail of a person would be held. From memory."""
        limits = self._limits
        return (
            self.mails < limits.mails
            and self._people[_who(mailbox, person)] < limits.person
            and self._mailboxes[mailbox] < limits.mailbox
            and self._bytes + size <= limits.bytes
        )

    async def hold(self, mailbox: str, author: Author, envelope: Envelope, verdict: Verdict, blob: str) -> str | None:
        """The mail waits for a word about who wrote it. None: there is no room. Idempotent.

        What is returned names what the room is told of: this mail, or one before where it was told often enough today.
        """
        part = _who(mailbox, author.id)
        held = await self._queue.parts(part)
        key = f"{part} {envelope.id}"
        if not any(item.key == key for item in held):
            if not self.room(mailbox, author.id, envelope.size):
                return None
            copy = await self._host.blobs.put(self._host.blobs.open(blob), envelope.size + 1)
            body = encode(envelope, verdict, copy)
            item = QueueItem(key, body, self._host.clock.now_ms() + self._limits.days * _DAY, part)
            await self._queue.put([item])
            self._add(item)
            held.append(item)
        return _told([(item.due, item.key.rpartition(" ")[2]) for item in held], envelope.id)

    async def release(self, mailbox: str, person: RemoteUserId) -> int:
        """What was held of the person comes now, in order; how many mails that are."""
        held = sorted(await self._queue.parts(_who(mailbox, person)), key=lambda item: item.due)
        for item in held:
            # Into the spool first: what is there twice after a crash is known to be.
            await self._spool.again(item.key, item.body)
            await self._remove(item)
        return len(held)

    def waiting(self, mailbox: str) -> dict[str, int]:
        """Who waits at a mailbox, and with how many mails. From memory."""
        begin = _who(mailbox, RemoteUserId(""))
        found = {part.removeprefix(begin): count for part, count in self._people.items() if part.startswith(begin)}
        return dict(sorted(found.items()))

    def behind(self, mailbox: str, request: str) -> RemoteUserId | None:
        """Who waits with a request, by what `hold` named it; None when they wait no more. From memory."""
        begin = _who(mailbox, RemoteUserId(""))
        for key in self._sizes:
            part, _, name = key.rpartition(" ")
            if name == request and part.startswith(begin):
                return RemoteUserId(part.removeprefix(begin))
        return None

    async def drop(self, mailbox: str, person: RemoteUserId) -> int:
        """What was held of the person is gone; how many mails that were."""
        held = await self._queue.parts(_who(mailbox, person))
        for item in held:
            await self._let_go(item, LetGo.BLOCKED)
        return len(held)

    async def tidy(self, mailboxes: Mailboxes, inbox: Inbox) -> int:
        """End what has waited for too long, and say so where it was asked; how many mails that were.

        The age of other files begins again.
        """
        now, gone, after = self._host.clock.now_ms(), 0, ""
        while page := await self._queue.page(after, _PAGE):
            after = page[-1].key
            for item in page:
                if item.due <= now:
                    gone += await self._ended(item, mailboxes, inbox)
                    continue
                try:
                    await self._host.blobs.renew(decode(item.body)[2])
                except (RejectedError, ValueError) as error:
                    _log.warning("mail_request_lost", key=item.key, error=str(error))
                    await self._remove(item)
                    self._spool.tally.let_go[LetGo.LOST] += 1
        return gone

    async def tend(self, mailboxes: Mailboxes, inbox: Inbox) -> None:
        """Tidy, for ever: to be run in a task."""
        while True:
            try:
                await self.tidy(mailboxes, inbox)
            except Exception as error:
                _log.warning("mail_requests_not_tidied", error=repr(error))
            await self._host.clock.sleep(_TEND_EVERY)

    async def _ended(self, item: QueueItem, mailboxes: Mailboxes, inbox: Inbox) -> bool:
        if await self._went(item):
            return False
        name, _, person = item.part_of.partition("\t")
        mailbox = mailboxes.get(name)
        if mailbox is not None:
            # Told before it goes, under an id of its own: once, whatever comes between.
            await inbox.receive([presenting.expired(mailbox, person, item.key.rpartition(" ")[2])])
        await self._let_go(item, LetGo.EXPIRED)
        return True

    async def _went(self, item: QueueItem) -> bool:
        """Whether a crash came between the two steps of a release; the second is made then."""
        if not await self._spool.came_again(item.key):
            return False
        await self._remove(item)
        return True

    async def _let_go(self, item: QueueItem, why: LetGo) -> None:
        if await self._went(item):
            return  # its file is the spool's
        await self._remove(item)
        self._spool.tally.let_go[why] += 1
        try:
            await self._host.blobs.drop(decode(item.body)[2])
        except ValueError as error:
            _log.debug("mail_request_unreadable", key=item.key, error=str(error))

    async def _remove(self, item: QueueItem) -> None:
        await self._queue.put(removed=[item.key])
        part, size = self._sizes.pop(item.key, ("", 0))
        if part:
            self._count(part, -1, -size)
            self._spool.kept.leave(size)

    def _add(self, item: QueueItem) -> None:
        if item.key not in self._sizes:
            size = size_of(item.body)
            self._sizes[item.key] = (item.part_of, size)
            self._count(item.part_of, 1, size)
            self._spool.kept.take(size)

    def _count(self, part: str, mails: int, size: int) -> None:
        mailbox = part.partition("\t")[0]
        self._bytes += size
        for counter, name in ((self._people, part), (self._mailboxes, mailbox)):
            counter[name] += mails
            if not counter[name]:
                del counter[name]


def claimed_by(verdict: Verdict) -> RemoteUserId | None:
    """Who a mail will be said to be from, as far as its verdict tells; None: that is not known yet."""
    if verdict.author is None:
        return None
    key = verdict.author.key
    return RemoteUserId(key if verdict.verified and not verdict.spam else UNVERIFIED + key)


def _who(mailbox: str, person: RemoteUserId) -> str:
    return f"{mailbox}\t{person}"


def _told(held: list[tuple[int, str]], mail: str) -> str:
    """The mail, or the last before it that its room was told of. When each is due says when it came."""
    told: list[tuple[int, str]] = []
    for due, name in sorted(held):
        if sum(due - before < _DAY for before, _ in told[-_TOLD:]) < _TOLD:
            told.append((due, name))
        if name == mail:
            break
    return told[-1][1]
