"""Which addresses there are, whose they are, and who may send as them."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import LoginId, UserId
from bridge_core.api.network import Login
from bridge_core.testing.memory import MemoryKV
from bridges.email.ahead import Ahead, Owners
from bridges.email.chats import Chat, ChatKind, parse_chat
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.config.network import EmailConfig
from bridges.email.contacts import Standing
from bridges.email.directory import Outgoing, PeopleDirectory
from bridges.email.mail import Door
from bridges.email.passwords import StoredPasswords
from bridges.email.ports import Visit
from tests.bridges.email.office import ALICE, BEN, BOX, CONFIG, EVE, Office, mail

BOB = parse_address("bob@x.net")
STRANGER = Visit(Door.SMTP, "192.0.2.1", "mx.x.net")


class Homes:
    """A host whose homeserver has some users, who get logins; and says nothing while there is trouble."""

    server = "hs.test"

    def __init__(self, office: Office, *users: str) -> None:
        self.users, self.trouble, self.asked = users, False, 0
        self._office = office

    async def local_user(self, localpart: str) -> UserId | None:
        self.asked += 1
        if self.trouble:
            raise TransientError("the homeserver is away")
        return UserId(f"@{localpart}:hs.test") if localpart in self.users else None

    async def login(self, user: UserId) -> LoginId | None:
        return self._office.login(user)


def directory(office: Office, homes: Homes | None = None, outgoing: Outgoing | None = None) -> PeopleDirectory:
    host: Any = homes or Homes(office)
    ahead = Ahead(host, office.mailboxes, on=office.config.provide.ahead)
    return PeopleDirectory(office.mailboxes, office.threads, office.contacts, office.returned, ahead, outgoing)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (BOX, None),
        ("SUPPORT@Example.ORG", None),
        ("help@example.org", None),
        ("support+anything@example.org", None),
        ("postmaster@example.org", None),
        ("Abuse@example.org", None),
        ("b+token@example.org", None),
        ("nobody@example.org", 550),
        ("support@elsewhere.net", 550),
        ("support%elsewhere.net@example.org", 550),
        ("elsewhere.net!bob@example.org", 550),
        ('"bob@elsewhere.net"@example.org', 550),
        ("bob@[192.0.2.1]", 550),
    ],
)
async def test_only_our_own_addresses_are_taken(address: str, code: int | None) -> None:
    """A stranger's mail is for our mailboxes, whatever forms relays were tricked with."""
    found = await directory(Office()).recipient(STRANGER, BOB, parse_address(address))
    assert (found.code if found is not None else None) == code


@pytest.mark.parametrize("door", list(Door))
@pytest.mark.parametrize("login", [None, BOX])
async def test_nothing_is_sent_on(door: Door, login: str | None) -> None:
    """What is for another domain is refused at every door, whoever brings it."""
    visit = Visit(door, "192.0.2.1", "x", tls=True, login=login)
    refused = await directory(Office()).recipient(visit, BOB, BOB)
    assert refused is not None and refused.code == 550


async def test_a_mailbox_can_take_answers_only() -> None:
    """A stranger is refused there; not who is known, answers with a token, or reports about a mail."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "refuse"}})
    asked = directory(office)
    box = parse_address(BOX)
    refused = await asked.recipient(STRANGER, BOB, box)
    assert refused is not None and refused.code == 550
    assert await asked.recipient(STRANGER, None, box) is None
    await office.says("To: carol@y.net\nSubject: Hi\n\nHello")
    token = office.composer.drafts[-1].reply_to
    assert token is not None
    assert await asked.recipient(STRANGER, BOB, token) is None
    assert await asked.recipient(STRANGER, parse_address("carol@y.net"), box) is None
    await office.contacts.set(BOX, parse_address("carol@y.net"), Standing.BLOCKED)
    assert await asked.recipient(STRANGER, parse_address("carol@y.net"), box) is not None


async def test_a_mailbox_that_takes_answers_only_says_so_to_our_own_users_too() -> None:
    """Before the mail is taken, whoever submits it; who it knows, and itself, may write."""
    sales = "sales@example.org"
    boxes = {BOX: {"members": [ALICE], "strangers": "refuse"}, sales: {"members": [BEN]}}
    office = Office(mailboxes=boxes)
    asked, box = directory(office), parse_address(BOX)
    theirs = Visit(Door.SUBMISSION, "192.0.2.1", "x", tls=True, login=sales)
    refused = await asked.recipient(theirs, parse_address(sales), box)
    assert refused is not None and refused.status == "5.7.1"
    assert await asked.recipient(replace(theirs, login=BOX), box, box) is None
    await office.contacts.set(BOX, parse_address(sales), Standing.KNOWN)
    assert await asked.recipient(theirs, parse_address(sales), box) is None


async def test_catch_all_and_postmaster_have_their_mailboxes() -> None:
    """What is for no address goes to the mailbox that is named for it, postmaster's to its own."""
    other = "post@example.org"
    boxes = {BOX: {"members": [ALICE]}, other: {"members": [ALICE]}}
    office = Office(mailboxes=boxes, catch_all={"example.org": BOX}, postmaster=other)
    for address, mailbox in (("any@", BOX), ("postmaster@", other), ("abuse+x@", other)):
        found = office.mailboxes.find(parse_address(f"{address}example.org"))
        assert found is not None and found.key == mailbox
    assert await office.comes(mail("p@x.net"), "postmaster@example.org") != []


@pytest.mark.parametrize(
    ("user", "address"),
    [
        ("@carol:hs.test", "carol@example.org"),
        ("@dan.o_x-1:hs.test", "dan.o_x-1@example.org"),
        ("@support:other.test", None),
        ("@sup..port:hs.test", "sup.port~xj4lafvaldo44@example.org"),
        ("@support:hs.test", None),
        ("@help:hs.test", None),
        ("@postmaster:hs.test", None),
        ("@NoReply:hs.test", None),
        ("@abuse:hs.test", None),
        (f"@{'x' * 70}:hs.test", None),
    ],
)
def test_users_get_addresses_by_their_names(user: str, address: str | None) -> None:
    """Never one that is reserved, configured, or impossible."""
    found = Office().mailboxes.address_for(UserId(user), "hs.test")
    assert (str(found) if found is not None else None) == address


LIKE_ALICE = [
    "@alice=:hs.test",
    "@-alice:hs.test",
    "@Alice:hs.test",
    "@alice.:hs.test",
    "@\uff41lice:hs.test",
    "@alice/:other.test",
    "@alice:other.test",
    "@alice:hs.test:8448",
    "@alice+news:hs.test",
]


@pytest.mark.parametrize("subaddress", ["", "+", "-", "_", "="])
def test_nobody_gets_the_address_of_another_by_a_name_much_like_theirs(subaddress: str) -> None:
    """Only who is called just so here; everybody else has an address that is no name's, and no tag of another's."""
    boxes = Office(subaddress=subaddress).mailboxes
    found = [boxes.address_for(UserId(one), "hs.test") for one in ("@alice:hs.test", *LIKE_ALICE)]
    keys = [one.key for one in found if one is not None]
    assert keys[0] == "alice@example.org"
    assert len(set(keys)) == len(keys) == len(LIKE_ALICE) + 1
    for one in found[1:]:
        assert one is not None
        assert "~" in one.local
        assert boxes.untagged(one) == one
        name = boxes.localpart_for(one)
        assert name is not None
        assert boxes.address_for(UserId(f"@{name}:hs.test"), "hs.test") != one


async def test_of_two_who_take_an_address_at_once_one_gets_it() -> None:
    """However slow the store is."""
    kv: Any = SlowRows()
    owners = Owners(kv)
    address = parse_address("eve@example.org")
    assert sorted(await asyncio.gather(owners.take(address, EVE), owners.take(address, ALICE))) == [False, True]


class SlowRows(MemoryKV):
    """Each answer takes a turn of the loop."""

    async def get(self, key: str) -> bytes | None:
        found = await super().get(key)
        await asyncio.sleep(0)
        return found


def test_a_users_address_is_theirs() -> None:
    """It is made once, and a login never takes a configured address."""
    office = Office()
    login = office.login()
    assert office.mailboxes.address_for(ALICE, "hs.test") is None
    assert office.mailboxes.add(Login(LoginId(BOX), ALICE, "x", provided=True)) is None
    assert office.mailboxes.add(Login(LoginId("help@example.org"), ALICE, "x", provided=True)) is None
    assert office.mailboxes.add(Login(LoginId("x@elsewhere.net"), ALICE, "x", provided=True)) is None
    assert office.mailboxes.of(login) is not None
    office.mailboxes.remove(login)
    assert office.mailboxes.of(login) is None
    office.mailboxes.remove(LoginId(BOX))
    assert office.mailboxes.get(BOX) is not None


async def test_a_login_sends_as_its_own_mailbox() -> None:
    """Its address, aliases and tags; no other, and not what falls into its catch-all."""
    office = Office(catch_all={"example.org": BOX})
    asked = directory(office)
    for address, may in ((BOX, True), ("support+x@example.org", True), ("help@example.org", True)):
        assert await asked.may_send_as(BOX, parse_address(address)) is may
    for address in ("any@example.org", "postmaster@example.org", "bob@x.net"):
        assert not await asked.may_send_as(BOX, parse_address(address))
    assert not await asked.may_send_as("nobody@example.org", parse_address(BOX))


async def test_passwords_are_made_checked_and_ended() -> None:
    """Each member has one for the mailbox: the newest works, by each of its names, and no other."""
    office = Office()
    passwords = StoredPasswords(office.host.kv, office.mailboxes)
    box = office.mailboxes.get(BOX)
    assert box is not None
    first = await passwords.renew(box, ALICE)
    ben = await passwords.renew(box, BEN)
    second = await passwords.renew(box, ALICE)
    assert await passwords.check(BOX, second, "") == BOX
    assert await passwords.check(BOX, ben, "") == BOX
    assert await passwords.check("help@example.org", second, "") == BOX
    wrong = (first, "", second[:10], second[:-1], ben[:10] + second[10:], "\0" + second)
    for user, password in (*((BOX, one) for one in wrong), ("nobody@example.org", second), ("x", second)):
        assert await passwords.check(user, password, "") is None
    assert second not in repr(office.host.kv.values)
    await passwords.remove(BOX)
    assert await passwords.check(BOX, second, "") is None


async def test_a_password_ends_with_the_membership() -> None:
    """Who is taken out of a mailbox sends by it no more, and not when they come back either; others' go on."""
    office = Office()
    box = office.mailboxes.get(BOX)
    assert box is not None
    kv = office.host.kv
    before = StoredPasswords(kv, office.mailboxes)
    alice, ben = await before.renew(box, ALICE), await before.renew(box, BEN)
    later = Office(mailboxes={BOX: {"members": [BEN]}})
    passwords = StoredPasswords(kv, later.mailboxes)
    assert await passwords.check(BOX, alice, "") is None
    assert await passwords.tidy() == 1
    assert await before.check(BOX, alice, "") is None
    assert await passwords.check(BOX, ben, "") == BOX


async def test_an_address_that_changed_hands_knows_no_old_password() -> None:
    """The password of whoever had an address before works for nobody, even where it was never ended."""
    office = Office()
    own = office.login(ALICE)
    box = office.mailboxes.of(own)
    assert box is not None
    passwords = StoredPasswords(office.host.kv, office.mailboxes)
    old = await passwords.renew(box, ALICE)
    office.mailboxes.remove(own)
    office.mailboxes.add(Login(own, EVE, "Eve", provided=True))
    assert await passwords.check(own, old, "") is None


@pytest.mark.parametrize(
    "chat",
    [
        Chat(BOX),
        Chat(BOX, ChatKind.THREAD, "abc"),
        Chat(BOX, ChatKind.CORRESPONDENT, "unverified:bob@x.net"),
        Chat(BOX, ChatKind.CORRESPONDENT, "a/t/b@x.net"),
        Chat("a/c/b@example.org", ChatKind.LIST, "x/l/y"),
    ],
)
def test_chats_are_named_both_ways(chat: Chat) -> None:
    """Whatever slashes are in them."""
    assert parse_chat(chat.id) == chat


@pytest.mark.parametrize("text", ["", "support", f"{BOX}/t/", "a@b c/t/x"])
def test_what_is_no_chat_is_refused(text: str) -> None:
    """In words."""
    with pytest.raises(ValueError, match=r"address|part|domain|missing"):
        parse_chat(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mailboxes": {"x@elsewhere.net": {}}}, "in no domain"),
        ({"mailboxes": {BOX: {"aliases": [BOX]}}}, "there twice"),
        ({"mailboxes": {"no": {}}}, "local part"),
        ({"catch_all": {"elsewhere.net": BOX}}, "not in `domains`"),
        ({"catch_all": {"example.org": "no@example.org"}}, "no mailbox"),
        ({"postmaster": "no@example.org"}, "no mailbox"),
        ({"provide": {"address": "all@example.org"}}, "localpart"),
        ({"provide": {"address": "{localpart}@elsewhere.net"}}, "not in `domains`"),
        ({"domains": []}, "at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, object], words: str) -> None:
    """Each says what is wrong."""
    with pytest.raises(ValidationError, match=words):
        EmailConfig(**{**CONFIG, **changes})  # type: ignore[arg-type]


def test_an_address_without_tags_stays_itself() -> None:
    """Where subaddresses are off, a plus is a letter."""
    office = Office(subaddress="")
    assert office.mailboxes.find(Address("support+x", "example.org")) is None
    assert office.mailboxes.tagged(parse_address(BOX), "x") == parse_address(BOX)


AHEAD = {"address": "{localpart}@example.org", "ahead": True}


async def test_who_never_used_their_address_gets_mail() -> None:
    """Mail for a user of our homeserver is taken, with a tag too, and makes their mailbox; nobody else's is."""
    office = Office(provide=AHEAD)
    asked = directory(office, Homes(office, "eve", "support", "root", "e-v"))
    for address in ("nobody@example.org", "root@example.org", "e=v@example.org", "eve@x.net"):
        assert await asked.recipient(STRANGER, BOB, parse_address(address)) is not None
    assert office.mailboxes.exact(parse_address("eve@example.org")) is None
    for address in ("eve+news@example.org", "Eve@example.org"):
        assert await asked.recipient(STRANGER, BOB, parse_address(address)) is None
    found = office.mailboxes.find(parse_address("eve@example.org"))
    assert found is not None
    assert found.members == (EVE,)


async def test_a_users_mail_does_not_fall_into_the_catch_all() -> None:
    """Where somebody has the address it is theirs; while that is not known the mail waits with its sender."""
    office = Office(provide=AHEAD, catch_all={"example.org": BOX})
    homes = Homes(office, "eve")
    asked = directory(office, homes)
    homes.trouble = True
    with pytest.raises(TransientError):
        await asked.recipient(STRANGER, BOB, parse_address("eve@example.org"))
    homes.trouble = False
    assert await asked.recipient(STRANGER, BOB, parse_address("eve@example.org")) is None
    assert office.mailboxes.find(parse_address("eve@example.org")) != office.mailboxes.get(BOX)
    assert await asked.recipient(STRANGER, BOB, parse_address("other@example.org")) is None
    assert office.mailboxes.find(parse_address("other@example.org")) == office.mailboxes.get(BOX)


async def test_the_homeserver_is_asked_only_where_the_admin_allows() -> None:
    """Without `ahead` an address is there from its first use by its user on, and nobody is asked."""
    office = Office()
    homes = Homes(office, "eve")
    refused = await directory(office, homes).recipient(STRANGER, BOB, parse_address("eve@example.org"))
    assert refused is not None
    assert (refused.code, homes.asked) == (550, 0)


async def test_an_address_never_becomes_somebody_elses() -> None:
    """Who had it first keeps it, whoever asks later."""
    owners = Owners(Office().host.kv)
    address = parse_address("eve@example.org")
    assert await owners.take(address, EVE)
    assert not await owners.take(address, ALICE)
    assert await owners.take(address, EVE)
    assert await owners.of(address) == EVE
