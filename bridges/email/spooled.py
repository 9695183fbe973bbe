"""Rows of the spool: a mail that waits, one that was set aside, and what a mail is known by when it is given again."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Blobs
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address
from bridges.email.envelopes import decode
from bridges.email.mail import Envelope, Verdict

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is to be known of a mail that waits, so that it is shown in its turn."""

    key: str
    received_at: int
    due: int
    recipients: tuple[Address, ...]
    login: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A mail that waits to be bridged. `item` is its row; its `attempts` are those that were not ended in order."""

    item: QueueItem
    envelope: Envelope
    verdict: Verdict
    blob: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A mail that could not be bridged, and why, in words."""

    key: str
    reason: str
    arrival: Arrival


def tried(arrival: Arrival, due: int, tries: int) -> Arrival:
    """The same with so many tries more, due then."""
    return replace(arrival, item=replace(arrival.item, due=due, attempts=max(arrival.item.attempts + tries, 0)))


def fingerprint(envelope: Envelope, verdict: Verdict | None = None) -> str:
    """What a mail is known by when it is given again: its sender, its recipients, and all that its author wrote.

    One that nobody answers for is another than its author's: a forged copy that waits or was thrown away swallows none.
    (Without a Message-ID each is one of its own anyway.)
    """
    found = hashlib.sha256()
    if verdict is not None and envelope.has_id and envelope.login is None:
        found.update(b"" if verdict.verified and not verdict.spam else b"unverified\0")
    for one in (str(envelope.sender or ""), *sorted(one.key for one in envelope.recipients), envelope.digest):
        found.update(one.encode() + b"\0")
    return found.hexdigest()


def with_reason(reason: str, body: bytes) -> bytes:
    """A row of the quarantine. Within the row, since a reason may quote the mail, and rows are sealed."""
    return reason[:500].replace("\0", "").encode() + b"\0" + body


def without_reason(body: bytes) -> tuple[str, bytes]:
    """Takes a row of the quarantine apart; one of the spool has no reason."""
    reason, mark, rest = body.partition(b"\0")
    return (reason.decode("utf-8", "replace"), rest) if mark else ("", body)


def size_of(body: bytes) -> int:
    """Bytes of the mail of a row; 0 where that cannot be read."""
    try:
        return decode(without_reason(body)[1])[0].size
    except ValueError:
        return 0


async def renewed(blobs: Blobs, items: Iterable[QueueItem]) -> int:
    """Let the age of the files of rows begin again; how many those are."""
    count = 0
    for item in items:
        if not item.body:
            continue
        try:
            await blobs.renew(decode(without_reason(item.body)[1])[2])
            count += 1
        except (RejectedError, ValueError) as error:
            _log.debug("mail_not_renewed", key=item.key, error=str(error))
    return count
