"""The spool keeps what was accepted, once, and gives it to who bridges it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bridge_core.api.errors import BackpressureError, RejectedError, TransientError
from bridge_core.api.host import Host
from bridge_core.api.queues import Queue, QueueItem
from bridge_core.store.blobs import BlobSpool
from bridge_core.store.database import Database
from bridges.email.codec.addresses import Address
from bridges.email.config.receiving import Aside
from bridges.email.envelopes import decode, encode
from bridges.email.mail import Door, Envelope, Policy, Result, Signature, Verdict
from bridges.email.spool import Spool
from bridges.email.spooled import Arrival, Waiting
from bridges.email.tally import Became, LetGo
from tests.unit.store.opening import Opened

HOUR = 3_600_000
NOW = 1_700_000_000_000
VERDICT = Verdict(Address("a", "far.test", "A"), dmarc=Result.PASS, verified=True)


@dataclass
class Clock:
    """Stands still until it is turned."""

    now: int = NOW

    def now_ms(self) -> int:
        return self.now


class Place:
    """What a spool sees of the core: real queues, real files, a clock to turn."""

    def __init__(self, database: Database, blobs: BlobSpool, clock: Clock) -> None:
        self.database = database
        self.blobs = blobs
        self.clock = clock
        self.wrap: Any = None
        self.seen: list[Waiting] = []
        """What the last spool told of."""

    def queue(self, name: str) -> Queue:
        queue = self.database.queue(f"email {name}")
        return cast(Queue, self.wrap(queue)) if self.wrap is not None else queue

    async def spool(self, **bounds: Any) -> Spool:
        """As at a start of the bridge."""
        spool = Spool(cast(Host, self), **({"most_mails": 100, "most_bytes": 1_000_000} | bounds))
        self.seen = []
        spool.watch = self.seen.append
        await spool.start()
        return spool

    async def waiting(self, spool: Spool) -> list[Arrival]:
        """What waits, oldest first."""
        keys = dict.fromkeys(one.key for one in sorted(self.seen, key=lambda one: (one.received_at, one.key)))
        return [arrival for key in keys if (arrival := await spool.open(key)) is not None]

    async def blob(self, content: bytes = b"raw mail") -> str:
        async def chunks() -> AsyncIterator[bytes]:
            yield content

        return await self.blobs.put(chunks(), 1_000_000)

    async def has(self, blob: str) -> bool:
        try:
            return b"".join([chunk async for chunk in self.blobs.open(blob)]) != b""
        except RejectedError:
            return False

    def files(self) -> int:
        return len(list(self.blobs._folder.iterdir()))


@pytest.fixture
async def place(tmp_path: Path, opened: Opened) -> Place:
    blobs = BlobSpool(tmp_path / "spool", b"s" * 32, 1 << 30)
    await blobs.start()
    return Place(await opened(f"sqlite:///{tmp_path / 'bridge.db'}"), blobs, Clock())


def envelope(number: int = 1, **more: Any) -> Envelope:
    """One of a mail of its own for each number."""
    values: dict[str, Any] = {
        "id": f"id{number}",
        "door": Door.SMTP,
        "sender": Address("x", "far.test"),
        "recipients": (Address("alice", "bridge.test"),),
        "peer": "192.0.2.1",
        "helo": "mx.far.test",
        "received_at": NOW + number,
        "size": 8,
        "digest": f"digest{number}",
    }
    return Envelope(**(values | more))


async def test_what_was_accepted_waits_over_restarts(place: Place) -> None:
    """Oldest first, with all that is known of it, until it is done; then its bytes go."""
    spool = await place.spool()
    blobs = [await place.blob(b"%d" % number) for number in (1, 2)]
    await spool.accept(envelope(2), VERDICT, blobs[1])
    await spool.accept(envelope(1), VERDICT, blobs[0])
    spool = await place.spool()
    assert spool.waiting == 2
    assert len(place.seen) == 2
    first, second = await place.waiting(spool)
    assert (first.envelope, first.verdict, first.blob) == (envelope(1), VERDICT, blobs[0])
    await spool.done(first, Became.SHOWN)
    assert not await place.has(blobs[0])
    assert await place.waiting(await place.spool()) == [second]


async def test_a_mail_given_twice_is_here_once(place: Place) -> None:
    """While it waits, after it was bridged, and after a restart: for seven days. The second copy of the bytes goes."""
    spool = await place.spool()
    await spool.accept(envelope(), VERDICT, await place.blob())
    await spool.accept(envelope(id="again"), VERDICT, await place.blob())
    assert (spool.given_twice, spool.waiting, place.files()) == (1, 1, 1)
    [arrival] = await place.waiting(spool)
    assert arrival.envelope.id == "id1"
    await spool.done(arrival, Became.SHOWN)
    spool = await place.spool()
    place.clock.now += 7 * 24 * HOUR - HOUR
    await spool.accept(envelope(id="later"), VERDICT, await place.blob())
    assert await place.waiting(spool) == []
    assert place.files() == 0
    place.clock.now += 2 * HOUR
    await spool.forget()
    await spool.accept(envelope(id="much later"), VERDICT, await place.blob())
    assert len(await place.waiting(spool)) == 1


async def test_a_forged_copy_is_another_mail(place: Place) -> None:
    """One that nobody answers for swallows no mail of its author's, while it waits or after its end; each is once."""
    spool = await place.spool()
    forged = Verdict(VERDICT.author, reason="it failed")
    for verdict in (forged, VERDICT, forged, VERDICT):
        await spool.accept(envelope(id=f"{verdict.verified}"), verdict, await place.blob())
    assert [one.verdict.verified for one in await place.waiting(spool)] in ([False, True], [True, False])
    for arrival in await place.waiting(spool):
        await spool.done(arrival, Became.SHOWN)
    spool = await place.spool()
    for verdict in (forged, VERDICT):
        await spool.accept(envelope(id="later"), verdict, await place.blob())
    assert await place.waiting(spool) == []


async def test_what_is_remembered_is_known_before_it_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doors open before all of the last days is read; a mail given twice meanwhile is known all the same."""
    monkeypatch.setattr("bridges.email.spool._PAGE", 2)
    spool = await place.spool()
    for number in range(5):
        await spool.accept(envelope(number), VERDICT, await place.blob())
    for arrival in await place.waiting(spool):
        await spool.done(arrival, Became.SHOWN)
    await spool.accept(envelope(7), VERDICT, await place.blob())
    spool = await place.spool()
    assert spool.waiting == 1
    for number in range(5):
        await spool.accept(envelope(number, id="again"), VERDICT, await place.blob())
    assert (spool.given_twice, spool.waiting) == (5, 1)
    await spool.read_all()
    await spool.accept(envelope(3, id="again"), VERDICT, await place.blob())
    assert (spool.given_twice, spool.waiting) == (6, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"digest": "other"},
        {"sender": None},
        {"recipients": (Address("bob", "bridge.test"),)},
        {"recipients": (Address("alice", "bridge.test"), Address("bob", "bridge.test"))},
    ],
)
async def test_what_is_not_the_same_is_not_suppressed(place: Place, other: dict[str, Any]) -> None:
    """Ids chosen by strangers suppress nobody: all of the mail, its sender and its recipients count."""
    spool = await place.spool()
    await spool.accept(envelope(), VERDICT, await place.blob())
    await spool.accept(envelope(id="other", **other), VERDICT, await place.blob())
    assert len(await place.waiting(spool)) == 2


@pytest.mark.parametrize("bridged", [False, True])
async def test_a_script_may_say_the_same_again(place: Place, bridged: bool) -> None:
    """Without a Message-ID the same words are another mail, once its client has heard of the first; not before."""
    spool = await place.spool()
    first = envelope(has_id=False)
    await spool.accept(first, VERDICT, await place.blob())
    await spool.accept(replace(first, id="retried"), VERDICT, await place.blob())
    assert spool.given_twice == 1
    spool.confirmed(first)
    if bridged:
        [arrival] = await place.waiting(spool)
        await spool.done(arrival, Became.SHOWN)
    await spool.accept(replace(first, id="meant"), VERDICT, await place.blob())
    await spool.accept(replace(first, id="meant, retried"), VERDICT, await place.blob())
    found = await place.waiting(spool)
    assert [one.envelope.id for one in found] == (["meant"] if bridged else ["id1", "meant"])
    assert spool.given_twice == 2


class SlowQueue:
    """A queue whose commits wait."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.go = asyncio.Event()
        self.fails = False

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        await self.go.wait()
        await self._queue.put(items, removed=removed)
        if self.fails:
            raise TransientError("nobody knows")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


async def test_a_retry_while_the_first_is_being_committed(place: Place) -> None:
    """It waits for the first, and is then known."""
    slow: list[SlowQueue] = []

    def wrap(queue: Queue) -> SlowQueue:
        slow.append(SlowQueue(queue))
        return slow[-1]

    place.wrap = wrap
    spool = await place.spool()
    tries = [
        asyncio.create_task(spool.accept(envelope(id=name), VERDICT, await place.blob())) for name in ("one", "two")
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slow[0].go.set()
    await asyncio.gather(*tries)
    assert spool.given_twice == 1
    assert [one.envelope.id for one in await place.waiting(spool)] == ["one"]


async def test_a_commit_of_unknown_fate_keeps_the_bytes(place: Place) -> None:
    """The database took it and then failed: the client is told to come back, the mail is bridged once."""
    queues: list[SlowQueue] = []

    def wrap(queue: Queue) -> SlowQueue:
        queues.append(SlowQueue(queue))
        queues[-1].go.set()
        return queues[-1]

    place.wrap = wrap
    spool = await place.spool()
    queues[0].fails = True
    blob = await place.blob()
    with pytest.raises(TransientError):
        await spool.accept(envelope(), VERDICT, blob)
    queues[0].fails = False
    await spool.accept(envelope(id="again"), VERDICT, await place.blob())
    [arrival] = await place.waiting(spool)
    assert arrival.envelope.id == "id1"
    assert await place.has(arrival.blob)


async def test_a_full_spool_refuses_and_has_room_again(place: Place) -> None:
    """By number and by bytes; at nine tenths it opens again. What is refused leaves no bytes."""
    spool = await place.spool(most_mails=10)
    for number in range(10):
        await spool.accept(envelope(number), VERDICT, await place.blob())
    assert not await spool.room(1)
    with pytest.raises(BackpressureError):
        await spool.accept(envelope(11), VERDICT, await place.blob())
    assert place.files() == 10
    arrivals = await place.waiting(spool)
    await spool.done(arrivals[0], Became.SHOWN)
    assert not await spool.room(1)
    await spool.done(arrivals[1], Became.SHOWN)
    assert await spool.room(1)
    small = await place.spool(most_bytes=1024)
    assert not await small.room(1024)
    assert await small.room(900)
    await small.accept(envelope(12, size=900), VERDICT, await place.blob())
    assert not await small.room(100)


async def test_attempts_are_recorded_before_they_are_made(place: Place) -> None:
    """Who dies of a mail finds it later, with one attempt more."""
    spool = await place.spool()
    await spool.accept(envelope(), VERDICT, await place.blob())
    [arrival] = await place.waiting(spool)
    [tried] = await spool.begin([arrival], NOW + 2 * HOUR)
    assert tried.item.attempts == 1
    spool = await place.spool()
    assert [one.due for one in place.seen] == [NOW + 2 * HOUR]
    [again] = await place.waiting(spool)
    assert again == tried
    await spool.put_off([again], NOW + HOUR)
    [again] = await place.waiting(spool)
    assert (again.item.attempts, again.item.due) == (0, NOW + HOUR)
    await spool.done(again, Became.SHOWN)
    assert spool.waiting == 0


async def test_the_quarantine(place: Place) -> None:
    """What cannot be bridged is out of the way, readable by the admin, and can be tried again or thrown away."""
    spool = await place.spool()
    for number in (1, 2):
        await spool.accept(envelope(number), VERDICT, await place.blob())
    for arrival in await place.waiting(spool):
        await spool.quarantine(arrival, f"cannot be read: {arrival.envelope.id}")
    assert (spool.waiting, await place.waiting(spool)) == (0, [])
    found = {one.arrival.envelope.id: one for one in await spool.aside.page("", 100)}
    assert found["id1"].reason == "cannot be read: id1"
    assert await place.has(found["id1"].arrival.blob)
    assert await spool.release(found["id1"].key)
    assert not await spool.release(found["id1"].key)
    place.clock.now += HOUR
    [again] = await place.waiting(spool)
    assert (again.envelope.id, spool.waiting) == ("id1", 1)
    assert await spool.aside.discard(found["id2"].key)
    assert not await spool.aside.discard(found["id2"].key)
    assert not await place.has(found["id2"].arrival.blob)
    assert await spool.aside.page("", 100) == []


async def test_a_crash_while_one_is_tried_again(place: Place) -> None:
    """Killed between the two steps: it waits, and is not in the quarantine, with a file that goes when it is shown."""
    spool = await place.spool()
    await spool.accept(envelope(), VERDICT, await place.blob())
    (arrival,) = await place.waiting(spool)
    await spool.quarantine(arrival, "cannot be read")
    (aside,) = await spool.aside.page("", 100)
    await place.queue("incoming").put([QueueItem(aside.key, aside.arrival.item.body.partition(b"\0")[2], NOW)])
    spool = await place.spool()
    assert (spool.aside.mails, spool.waiting) == (0, 1)
    (again,) = await place.waiting(spool)
    assert await place.has(again.blob)


async def test_who_floods_the_quarantine_loses_their_own(place: Place) -> None:
    """Its bounds are its own: others' mail has room, and what is there of others stays; what goes is counted."""
    spool = await place.spool(most_mails=10, aside=Aside(mails=5))
    known = replace(VERDICT, author=Address("bob", "far.test"), verified=True)

    async def aside(number: int, verdict: Verdict) -> str:
        blob = await place.blob()
        await spool.accept(envelope(number), verdict, blob)
        (arrival,) = await place.waiting(spool)
        await spool.quarantine(arrival, "cannot be read")
        place.clock.now += 1
        return blob

    first = await aside(1, known)
    flood = [await aside(number, Verdict()) for number in range(2, 20)]
    assert [await place.has(one) for one in (first, *flood[-5:])] == [True, False, True, True, True, True]
    assert (spool.aside.mails, await spool.room(100), spool.tally.let_go) == (5, True, {LetGo.FULL: 14})
    spool = await place.spool(most_mails=10, aside=Aside(mails=5))
    await aside(30, Verdict())
    assert [await place.has(one) for one in (first, *flood[-4:])] == [True, False, True, True, True]
    key = next(one.key for one in await spool.aside.page("", 100) if one.arrival.verdict.verified)
    assert await spool.aside.discard(key)
    assert (spool.aside.mails, spool.aside.size, spool.tally.let_go[LetGo.DROPPED]) == (4, 4 * envelope().size, 1)


async def test_bytes_of_what_waits_for_long_are_kept(place: Place) -> None:
    """However long the homeserver is away, and in the quarantine."""
    spool = await place.spool()
    blobs = [await place.blob() for _ in range(2)]
    for number, blob in enumerate(blobs):
        await spool.accept(envelope(number), VERDICT, blob)
    await spool.quarantine((await place.waiting(spool))[0], "bad")
    left = await place.blob()
    path = place.blobs._folder
    for one in path.iterdir():
        os.utime(one, (time.time() - 9 * 86400, time.time() - 9 * 86400))
    assert await spool.renew() == 2
    assert await place.blobs.sweep(time.time()) == 1
    assert [await place.has(blob) for blob in (*blobs, left)] == [True, True, False]


async def test_a_damaged_row_hinders_nobody(place: Place) -> None:
    """It goes to the quarantine, the others are bridged."""
    spool = await place.spool()
    await place.queue("incoming").put([QueueItem("bad", b"{}", NOW)])
    await spool.accept(envelope(), VERDICT, await place.blob())
    spool = await place.spool()
    assert [one.envelope.id for one in await place.waiting(spool)] == ["id1"]
    assert await place.queue("quarantine").count() == 1


def test_envelopes_come_back_as_they_were() -> None:
    """All fields, and the largest within what a row holds."""
    verdict = Verdict(
        author=Address("ä", "far.test", "Ä"),
        spf=Result.SOFTFAIL,
        signatures=(Signature("far.test", "s1", Result.FAIL, "body hash"),),
        dmarc=Result.FAIL,
        policy=Policy.QUARANTINE,
        source="mx.test",
        reason="not aligned",
        spam=True,
    )
    full = envelope(sender=None, login="l", tls=True, utf8=True, has_id=False, door=Door.LMTP)
    assert decode(encode(full, verdict, "blob:x")) == (full, verdict, "blob:x")
    many = replace(verdict, signatures=verdict.signatures * 50, reason="r" * 9999, source="ü" * 9999)
    recipients = tuple(Address(f"{number:030}", "b.test") for number in range(900))
    assert len(encode(envelope(recipients=recipients), many, "blob:x")) < 64 * 1024
    for damaged in (b"", b"{}", b"[]", b"\xff", encode(full, verdict, "b").replace(b'"door":"lmtp"', b'"door":"x"')):
        with pytest.raises(ValueError, match="damaged"):
            decode(damaged)
