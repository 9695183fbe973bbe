"""Strangers who wait for somebody's word: bounded, asked about, told when it ends, given back once."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import BackpressureError, RejectedError
from bridge_core.api.events import RemoteMessage
from bridges.email.admitting import Admitting
from bridges.email.codec.addresses import parse_address
from bridges.email.commands import MailCommands
from bridges.email.config.receiving import Held
from bridges.email.contacts import Standing
from bridges.email.gate import Gate
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.people import Author, ghosts_of
from bridges.email.requests import Requests
from bridges.email.spool import Spool
from bridges.email.spooled import Waiting
from bridges.email.tally import Became, LetGo
from tests.bridges.email.mailing import NOW, MailHost
from tests.bridges.email.office import ALICE, BOX, EVE, Office, mail, text_of

BOB = parse_address("bob@x.net")
ASKS = {BOX: {"members": [ALICE], "strangers": "ask"}}
DAY = 86_400


class Place:
    """A mailbox that asks, with a spool and requests over queues in memory."""

    def __init__(self, boxes: dict[str, Any] | None = None, **limits: Any) -> None:
        self.host: Any = MailHost()
        self.office = Office(mailboxes=boxes or ASKS)
        self.limits = Held(**limits)
        self.seen: list[Waiting] = []
        self.begin()

    def begin(self) -> None:
        """As at a start of the bridge, with what the queues hold."""
        self.spool = Spool(self.host, most_mails=100, most_bytes=100_000)
        self.spool.watch = self.seen.append
        self.requests = Requests(self.host, self.spool, self.limits)
        office = self.office
        self.gate = Gate(self.spool, self.requests, office.mailboxes, office.contacts, office.threads)

    async def blob(self) -> str:
        async def raw() -> Any:
            yield b"Subject: x\r\n\r\n"

        return str(await self.host.blobs.put(raw(), 100))

    async def holds(self, number: int, who: str = "bob", *, box: str = BOX, verified: bool = True) -> str | None:
        """A mail is held."""
        person = parse_address(f"{who}@x.net")
        envelope = Envelope(f"e{number}", Door.SMTP, person, (parse_address(box),), "", "x", NOW + number, 14)
        self.host.clock.turn(0.001)
        blob = await self.blob()
        return await self.requests.hold(box, Author(person, verified), envelope, Verdict(), blob)

    def command(self, name: str) -> Any:
        """What a user may say."""
        office = self.office
        admitting = Admitting(office.mailboxes, office.contacts, self.requests)
        running: Any = SimpleNamespace(mailboxes=office.mailboxes, requests=self.requests, admitting=admitting)
        return next(one for one in MailCommands(lambda: running).commands() if one.name == name)


async def test_who_waits_is_listed_for_members() -> None:
    """Each person once, with how many mails, of that mailbox only; nobody else is told."""
    place = Place()
    for number, (box, who) in enumerate([(BOX, "bob"), (BOX, "bob"), (BOX, "zoe"), ("other@example.org", "ann")]):
        assert await place.holds(number, who, box=box)
    command = place.command("requests")
    said = await command.run(CommandCall(ALICE, CommandLevel.USER))
    assert said.splitlines() == ["bob@x.net: 2 mails", "zoe@x.net: 1 mail", "Say `accept ADDRESS` or `block ADDRESS`."]
    with pytest.raises(RejectedError):
        await command.run(CommandCall(EVE, CommandLevel.USER))
    for who in ("bob", "zoe"):
        await place.requests.drop(BOX, ghosts_of(parse_address(f"{who}@x.net"))[0])
    assert await command.run(CommandCall(ALICE, CommandLevel.USER)) == f"Nobody waits at {BOX}."


async def test_who_says_to_be_somebody_takes_no_room_from_them() -> None:
    """As many forged mails as may wait: those of the person themselves wait all the same."""
    place = Place(person=2)
    assert [await place.holds(number, verified=False) for number in range(3)] == ["e0", "e1", None]
    assert await place.holds(7) == "e7"
    assert await place.holds(7) == "e7"
    assert place.requests.waiting(BOX) == {"bob@x.net": 1, "unverified:bob@x.net": 2}


@pytest.mark.parametrize("limit", [{"person": 1}, {"mailbox": 1}, {"mails": 1}, {"bytes": 1024}])
async def test_what_has_no_room_is_refused_before_its_250(limit: dict[str, int]) -> None:
    """Beyond a bound a stranger's mail is refused for now and leaves no bytes; who is known, or answers, comes in."""
    place = Place(**limit)
    await place.holds(1)
    files = len(place.host.blobs.files)

    def letter(number: int, to: str = BOX) -> Envelope:
        return Envelope(f"n{number}", Door.SMTP, BOB, (parse_address(to),), "", "x", NOW, 1020, digest=str(number))

    believed = Verdict(BOB, verified=True)
    with pytest.raises(BackpressureError):
        await place.gate.accept(letter(1), believed, await place.blob())
    assert (len(place.host.blobs.files), place.spool.waiting) == (files, 0)
    await place.office.contacts.set(BOX, parse_address("carol@y.net"), Standing.KNOWN)
    await place.office.comes(mail("known@x.net", author="carol@y.net"))
    thread = await place.office.threads.of(BOX, "known@x.net")
    assert thread is not None
    await place.gate.accept(letter(2, f"support+{thread.token}@example.org"), believed, await place.blob())
    await place.office.contacts.set(BOX, BOB, Standing.KNOWN)
    await place.gate.accept(letter(3), believed, await place.blob())
    assert place.spool.waiting == 2


async def test_who_hides_who_they_are_passes_no_bound() -> None:
    """A mail of which nobody can say who it is from is refused, too, where as many wait as may."""
    place = Place(mailbox=1)
    await place.holds(1)
    odd = Envelope("odd", Door.SMTP, BOB, (parse_address(BOX),), "", "x", NOW, 14, digest="odd")
    with pytest.raises(BackpressureError):
        await place.gate.accept(odd, Verdict(), await place.blob())
    await place.requests.drop(BOX, ghosts_of(BOB)[0])
    await place.gate.accept(odd, Verdict(), await place.blob())
    assert place.spool.waiting == 1


async def test_what_is_let_go_is_counted() -> None:
    """Blocked, waited for too long, or damaged: a mail that was held ends under its reason."""
    place = Place(days=30)
    for number, who in enumerate(("bob", "zoe", "ann")):
        assert await place.holds(number, who)
    await place.requests.drop(BOX, ghosts_of(BOB)[0])
    queue = place.host.queue("requests")
    (item,) = [one for one in queue.items.values() if "ann" in one.key]
    await queue.put([replace(item, body=b"{}")])
    inbox: Any = place.office.inbox
    await place.requests.tidy(place.office.mailboxes, inbox)
    place.host.clock.turn(31 * DAY)
    await place.requests.tidy(place.office.mailboxes, inbox)
    assert place.spool.tally.let_go == {LetGo.BLOCKED: 1, LetGo.LOST: 1, LetGo.EXPIRED: 1}


async def test_requests_count_in_the_room_of_the_spool() -> None:
    """What is held is on the disk as what waits is: when both are too much, mail is refused for now."""
    place = Place()
    place.spool.kept.take(99_000)
    assert await place.spool.room(900)
    for number in range(8):
        await place.holds(number)
    assert not await place.spool.room(900)
    await place.requests.drop(BOX, ghosts_of(BOB)[0])
    assert await place.spool.room(900)


async def test_a_request_that_ends_is_said_in_the_room() -> None:
    """After its days the mail is gone, its bytes with it, and the room is told, once; the next one asks anew."""
    place = Place(days=30)
    assert await place.holds(1) == "e1"
    inbox: Any = place.office.inbox
    assert await place.requests.tidy(place.office.mailboxes, inbox) == 0
    place.host.clock.turn(31 * DAY)
    assert await place.requests.tidy(place.office.mailboxes, inbox) == 1
    (told,) = inbox.events
    assert isinstance(told, RemoteMessage)
    assert told.chat == BOX and "bob@x.net has waited long enough" in text_of(told)
    assert (place.requests.mails, place.spool.kept.mails) == (0, 0)
    assert await place.holds(2) == "e2"


async def test_a_crash_within_a_release_gives_no_mail_twice() -> None:
    """Killed between the two steps: at the next start the request is known to have gone, and takes no bytes along."""
    place = Place()
    await place.holds(1)
    (item,) = place.host.queue("requests").items.values()
    await place.spool.again(item.key, item.body)
    place.seen.clear()
    place.begin()
    await place.spool.start()
    (waiting,) = place.seen
    arrival = await place.spool.open(waiting.key)
    assert arrival is not None and arrival.blob in place.host.blobs.files
    await place.spool.done(arrival, Became.SHOWN)
    await place.requests.start()
    assert (place.requests.mails, place.host.queue("requests").items) == (0, {})
    assert await place.requests.release(BOX, ghosts_of(BOB)[0]) == 0
    assert place.spool.waiting == 0


async def test_a_mail_that_waits_at_two_mailboxes_comes_at_each() -> None:
    """Accepted at one, shown there, and the bridge starts anew: at the other it waits still, and comes when wanted."""
    place = Place()
    bob, other = ghosts_of(BOB)[0], "sales@example.org"
    assert await place.holds(1) == await place.holds(1, box=other) == "e1"
    came = []
    for number, box in enumerate((BOX, other)):
        assert await place.requests.release(box, bob) == 1
        arrival = await place.spool.open(place.seen[-1].key)
        assert arrival is not None and arrival.blob in place.host.blobs.files
        came.append([str(one) for one in arrival.envelope.recipients])
        await place.spool.done(arrival, Became.SHOWN)
        place.begin()
        await place.spool.start()
        await place.requests.start()
        assert place.requests.mails == 1 - number
    assert came == [[BOX], [other]]
    assert len(place.host.blobs.files) == 2  # those that the spool's first rows had


async def test_what_waits_at_one_mailbox_is_not_gone_with_the_other_ones() -> None:
    """Blocked at one of two mailboxes that accepted it: only that row and its bytes go."""
    place = Place()
    bob, other = ghosts_of(BOB)[0], "sales@example.org"
    await place.holds(1)
    await place.holds(1, box=other)
    await place.requests.release(BOX, bob)
    assert await place.requests.drop(other, bob) == 1
    assert (place.requests.mails, len(place.host.blobs.files), place.spool.waiting) == (0, 3, 1)


async def test_accepting_who_cannot_prove_it() -> None:
    """By the name that the room was told: theirs come, and those of who proves it; the plain address is less."""
    place = Place()
    await place.holds(1, verified=False)
    await place.holds(2)
    accept = place.command("accept")
    said = await accept.run(CommandCall(ALICE, CommandLevel.USER, {"address": "bob@x.net"}))
    assert "1 of their mails" in said and place.requests.waiting(BOX) == {"unverified:bob@x.net": 1}
    said = await accept.run(CommandCall(ALICE, CommandLevel.USER, {"address": "unverified:bob@x.net"}))
    assert "1 of their mails" in said and place.requests.mails == 0
    assert await place.office.contacts.standing(BOX, BOB, verified=False) is Standing.KNOWN


async def test_an_accept_says_what_still_waits() -> None:
    """Only mails that nobody answers for wait: they stay held, which is said, with the command that shows them."""
    place = Place()
    await place.holds(1, verified=False)
    await place.holds(2, verified=False)
    accept = place.command("accept")
    said = await accept.run(CommandCall(ALICE, CommandLevel.USER, {"address": "bob@x.net"}))
    assert "2 that nobody answers for wait still" in said
    assert f"`accept unverified:bob@x.net {BOX}`" in said
    assert place.requests.waiting(BOX) == {"unverified:bob@x.net": 2}
    call = CommandCall(ALICE, CommandLevel.USER, {"address": "unverified:bob@x.net", "mailbox": BOX})
    assert "2 of their mails come now" in await accept.run(call)


async def test_who_has_several_mailboxes_names_none() -> None:
    """`requests` lists all of one's own, `accept` finds the only one where somebody waits; of two it asks which."""
    other = "sales@example.org"
    place = Place({**ASKS, other: {"members": [ALICE], "strangers": "ask"}})
    await place.holds(1)
    await place.holds(2, "zoe", box=other)
    listed = await place.command("requests").run(CommandCall(ALICE, CommandLevel.USER))
    assert f"bob@x.net at {BOX}: 1 mail\n" in listed and f"zoe@x.net at {other}: 1 mail\n" in listed
    assert "accept ADDRESS MAILBOX" in listed
    accept = place.command("accept")
    await place.holds(3, box=other)
    with pytest.raises(RejectedError, match="say which mailbox"):
        await accept.run(CommandCall(ALICE, CommandLevel.USER, {"address": "bob@x.net"}))
    said = await accept.run(CommandCall(ALICE, CommandLevel.USER, {"address": "zoe@x.net"}))
    assert other in said and "1 of their mails comes now" in said


async def test_further_mails_of_who_waits_are_told_a_few_times_a_day() -> None:
    """Three a day by themselves, the rest not: whoever missed the first request still learns of the person."""
    place = Place(person=9)
    said = [await place.holds(number) for number in range(5)]
    assert said == ["e0", "e1", "e2", "e2", "e2"]
    assert await place.holds(1) == "e1"  # again, after a crash
    place.host.clock.turn(DAY)
    assert [await place.holds(number) for number in (5, 4)] == ["e5", "e2"]
    assert place.requests.behind(BOX, "e1") == ghosts_of(BOB)[0]
    assert place.requests.waiting(BOX) == {"bob@x.net": 6}
