"""The inspector: who may come in, and whose ghost may speak. The table of spoofs is in tests/hostile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.demo.ports import free_port
from bridge_core.testing.memory import KeptTasks, MemoryKV
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.codec.authres import parse_results
from bridges.email.config.trust import Trust
from bridges.email.mail import Door, Envelope, Policy, Result, Verdict
from bridges.email.ports import Reply, Visit
from bridges.email.trust.head import Head, read_mail
from bridges.email.trust.inspector import MailInspector
from bridges.email.trust.names import DnsTroubleError, Resolver
from tests.bridges.email.mailing import HandClock
from tests.bridges.email.trust.mails import NOW, opened, plain, rsa, signed
from tests.bridges.email.trust.zone import Records, Zone, served

BOB = parse_address("bob@there.test")
ALICE = parse_address("alice@example.org")
PEER = "192.0.2.1"
WORLD: Records = {
    "s1._domainkey.there.test": {"TXT": [rsa()[1]]},
    "there.test": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.there.test": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.soft.test": {"TXT": ["v=DMARC1; p=quarantine"]},
    "_dmarc.silent.test": {"TROUBLE": []},
    "2.2.0.192.bl.test": {"A": ["127.0.0.4"]},
    "3.2.0.192.bl.test": {"A": ["127.255.255.254"]},
    "4.2.0.192.bl.test": {"TROUBLE": []},
}


class Office:
    """A directory with one login."""

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        return None

    async def may_send_as(self, login: str, address: Address) -> bool:
        return login == "alice" and address.key == ALICE.key


def inspector(world: Records | None = None, **settings: Any) -> MailInspector:
    host: Any = SimpleNamespace(clock=HandClock(), kv=MemoryKV(), tasks=KeptTasks())
    return MailInspector(Trust(**settings), ["example.org"], Office(), host, Zone(WORLD | (world or {})))


def envelope(**changes: Any) -> Envelope:
    made = Envelope("id", Door.SMTP, BOB, (ALICE,), PEER, "mx.there.test", NOW * 1000, 100)
    return replace(made, **changes)


def visit(peer: str = PEER, door: Door = Door.SMTP, login: str | None = None) -> Visit:
    return Visit(door, peer, "mx.there.test", login=login)


async def judged(raw: bytes, made: MailInspector | None = None, **changes: Any) -> Verdict | Reply:
    return await (made or inspector()).mail(envelope(**changes), opened(raw))


async def test_a_domain_that_answers_verifies() -> None:
    """By SPF or by DKIM alone the author is verified, and the verdict tells what was found."""
    found = await judged(plain())
    assert isinstance(found, Verdict)
    assert (found.verified, found.author, found.spf, found.dmarc) == (True, BOB.named("Bob"), Result.PASS, Result.PASS)

    found = await judged(signed(plain()), peer="198.51.100.1")
    assert isinstance(found, Verdict)
    assert (found.verified, found.spf, found.signatures[0].result) == (True, Result.FAIL, Result.PASS)


async def test_without_a_policy_the_very_domain_must_answer() -> None:
    """Where no DMARC record is, SPF or DKIM of the very domain verifies, and nothing is refused otherwise."""
    world: Records = {"_dmarc.there.test": {}}
    assert (await judged(signed(plain()), inspector(world), peer="198.51.100.1")).verified  # type: ignore[union-attr]
    found = await judged(plain(), inspector(world), peer="198.51.100.1")
    assert isinstance(found, Verdict)
    assert (found.verified, found.dmarc) == (False, Result.NONE)
    assert "does not say who may write" in found.reason


async def test_what_the_owner_wants_is_done_as_set() -> None:
    """reject refuses (5.7.26) and quarantine marks as spam, unless the settings say otherwise."""
    refused = await judged(plain(), peer="198.51.100.1")
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (550, "5.7.26")
    shown = await judged(plain(), inspector(reject="show"), peer="198.51.100.1")
    assert isinstance(shown, Verdict)
    assert (shown.verified, shown.spam, shown.policy, bool(shown.reason)) == (False, False, Policy.REJECT, True)
    soft = await judged(plain("bob@soft.test"))
    assert isinstance(soft, Verdict)
    assert (soft.verified, soft.spam) == (False, True)
    assert isinstance(await judged(plain("bob@soft.test"), inspector(quarantine="refuse")), Reply)


async def test_trouble_with_dns_proves_nothing() -> None:
    """While DNS does not answer a mail is put off, or shown as unverified where that is set; never verified."""
    later = await judged(plain("bob@silent.test"), sender=parse_address("bob@silent.test"))
    assert isinstance(later, Reply)
    assert (later.code, later.temporary) == (451, True)
    shown = await judged(plain("bob@silent.test"), inspector(on_trouble="show"))
    assert isinstance(shown, Verdict)
    assert (shown.verified, shown.dmarc) == (False, Result.TEMPERROR)


async def test_our_own_domain_needs_a_password() -> None:
    """Our own domain is refused in MAIL FROM and in From, unless the login has the address, or settings verify it."""
    assert (await inspector().sender(visit(), ALICE)).code == 550  # type: ignore[union-attr]
    assert await inspector().sender(visit(), BOB) is None
    assert await inspector().sender(visit(), None) is None
    assert await inspector().sender(visit(door=Door.SUBMISSION, login="alice"), ALICE) is None
    refused = await judged(plain("alice@example.org"))
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (550, "5.7.1")
    assert isinstance(await judged(plain("Bob <bob@there.test>, alice@example.org")), Reply)
    sent = await judged(plain("alice@example.org"), door=Door.SUBMISSION, login="alice", sender=ALICE)
    assert isinstance(sent, Verdict)
    assert sent.verified
    for author in ("bob@there.test", "other@example.org", "alice@example.org, bob@there.test"):
        assert isinstance(await judged(plain(author), door=Door.SUBMISSION, login="alice", sender=ALICE), Reply)
    verified = await judged(plain("alice@example.org"), inspector(own_domains="verify"))
    assert isinstance(verified, Verdict)
    assert not verified.verified


RESULTS = "Authentication-Results: mx.example.org; {}\r\n"


@pytest.mark.parametrize(
    ("text", "verified"),
    [
        ("dmarc=pass (p=reject) header.from=there.test", True),
        ("spf=pass smtp.mailfrom=there.test; dkim=pass header.d=there.test; dmarc=fail header.from=there.test", False),
        ("dkim=pass header.d=there.test header.s=s1", True),
        ("spf=pass smtp.mailfrom=bob@there.test", True),
        ("spf=pass smtp.mailfrom=<bob@there.test>", True),
        ("spf=pass smtp.mailfrom=evil.test; dkim=pass header.d=evil.test", False),
        ("dmarc=pass header.from=evil.test", False),
        ("dmarc=fail (dmarc=pass header.from=there.test) header.from=there.test", False),
        ('dmarc=fail reason="x; dmarc=pass header.from=there.test" header.from=there.test', False),
        ("dmarc=pass header.from=there.test; dmarc=fail header.from=there.test", False),
        ("none", False),
    ],
)
async def test_a_server_of_our_own_is_believed(text: str, verified: bool) -> None:
    """What our own server in front wrote into Authentication-Results decides, for the domain that it names."""
    raw = RESULTS.format(text).encode() + plain()
    found = await judged(raw, inspector(authserv_id="mx.example.org"), door=Door.LMTP, peer="")
    assert isinstance(found, Verdict)
    assert (found.verified, found.source) == (verified, "mx.example.org")


async def test_only_the_topmost_results_count() -> None:
    """Results below the topmost field, of other servers, or from strangers, are worth nothing."""
    good = RESULTS.format("dmarc=pass header.from=there.test").encode()
    bad = RESULTS.format("dmarc=fail header.from=there.test").encode()
    other = good.replace(b"mx.example.org", b"mx.evil.test")
    believing = inspector({"there.test": {}}, authserv_id="mx.example.org", reject="show", believed=["10.0.0.0/8"])
    for raw, changes in [
        (bad + good + plain(), {"door": Door.LMTP, "peer": ""}),
        (other + good + plain(), {"door": Door.LMTP, "peer": ""}),
        (good + plain(), {"peer": "198.51.100.1"}),
        (good.replace(b"mx.example.org", b"mx.example.org.evil.test") + plain(), {"peer": "10.1.1.1"}),
    ]:
        found = await judged(raw, believing, **changes)
        assert isinstance(found, Verdict)
        assert not found.verified
    assert (await judged(good + plain(), believing, peer="10.1.1.1")).verified  # type: ignore[union-attr]


async def test_a_login_at_our_own_server_counts() -> None:
    """Our own domain comes in by LMTP where the server in front says that a password was given, and only then."""
    believing = inspector(authserv_id="mx.example.org")
    mail = plain("alice@example.org")
    raw = RESULTS.format("auth=pass smtp.auth=alice").encode() + mail
    assert (await judged(raw, believing, door=Door.LMTP, peer="")).verified  # type: ignore[union-attr]
    raw = RESULTS.format("dmarc=pass header.from=example.org").encode() + mail
    assert isinstance(await judged(raw, believing, door=Door.LMTP, peer=""), Reply)


OWN_KEY: Records = {
    "s1._domainkey.example.org": {"TXT": [rsa()[1]]},
    "s1._domainkey.sub.example.org": {"TXT": [rsa()[1]]},
}
HERS = "alice@example.org"


@pytest.mark.parametrize(
    ("raw", "world", "taken"),
    [
        (signed(plain(HERS), "example.org"), OWN_KEY, True),
        (signed(plain(HERS), "example.org").replace(b"Hello", b"Send money"), OWN_KEY, False),
        (signed(plain(HERS), "example.org"), {}, False),
        (signed(plain(HERS), "example.org"), {"s1._domainkey.example.org": {"TROUBLE": []}}, False),
        (signed(plain(HERS), "there.test"), OWN_KEY, False),
        (signed(plain(HERS), "sub.example.org"), OWN_KEY, False),
        (signed(plain(f"bob@there.test, {HERS}"), "example.org"), OWN_KEY, False),
    ],
)
async def test_what_we_signed_comes_back(raw: bytes, world: Records, taken: bool) -> None:
    """A mail of our own that a list sends back is taken where our signature still fits, and in no other case.

    That the peer may send for the domain by SPF is not enough.
    """
    spf: Records = {"example.org": {"TXT": [f"v=spf1 ip4:{PEER} -all"]}}
    found = await judged(raw, inspector(world | spf), sender=parse_address("list-bounces@there.test"))
    if taken:
        assert isinstance(found, Verdict)
        assert found.verified and found.author is not None and found.author.key == HERS
    else:
        assert isinstance(found, Reply)
        assert found.code == 550


async def test_what_we_signed_comes_back_by_our_own_server() -> None:
    """The server in front has looked at the signature: it is believed of the very domain."""
    believing = inspector(authserv_id="mx.example.org")
    good = RESULTS.format("dkim=pass header.d=example.org").encode() + plain(HERS)
    assert (await judged(good, believing, door=Door.LMTP, peer="")).verified  # type: ignore[union-attr]
    for words in (
        "dkim=pass header.d=there.test",
        "spf=pass smtp.mailfrom=example.org",
        "dkim=fail header.d=example.org",
    ):
        raw = RESULTS.format(words).encode() + plain(HERS)
        assert isinstance(await judged(raw, believing, door=Door.LMTP, peer=""), Reply)


async def test_lists_have_wildcards() -> None:
    """Denied are addresses, domains, wildcards and networks, in MAIL FROM and in From; allowed ones are not limited."""
    made = inspector(deny=["spam@there.test", "*.evil.test", "*-news@corp.test", "203.0.113.0/24"])
    for sender, denied in [
        ("spam@there.test", True), ("SPAM@There.Test", True), ("bob@there.test", False), ("x@a.evil.test", True),
        ("x@evil.test", False), ("daily-news@corp.test", True), ("news@corp.test", False),
    ]:  # fmt: skip
        assert (await made.sender(visit(), parse_address(sender)) is not None) is denied, sender
        assert isinstance(await judged(plain(sender), made, sender=None, peer=PEER), Reply) or not denied
    assert (await made.connected("203.0.113.9", Door.SMTP)).code == 554  # type: ignore[union-attr]
    assert await made.connected("203.0.114.9", Door.SMTP) is None
    assert await made.connected("203.0.113.9", Door.LMTP) is None


async def test_rates_are_by_masks() -> None:
    """One address, and the networks around it, are limited; who is allowed or gave a password is not."""
    made = inspector(rates={"address": 2, "network": 3, "region": 4}, allow=["198.51.100.7", "*@good.test"])

    async def taken(peer: str, sender: Address | None = BOB, **more: Any) -> bool:
        return await made.recipient(visit(peer, **more), sender, ALICE) is None

    assert [await taken("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [await taken("192.0.2.2") for _ in range(2)] == [True, False]
    assert [await taken("192.0.3.1", None) for _ in range(2)] == [True, False]
    assert await taken("192.1.0.1")
    assert [await taken("2001:db8::1"), await taken("2001:db8::2"), await taken("2001:db8::3")] == [True, True, False]
    assert all([await taken("198.51.100.7") for _ in range(9)])
    assert all([await taken("192.0.2.1", parse_address("x@good.test")) for _ in range(9)])
    assert all([await taken("192.0.2.1", login="alice", door=Door.SUBMISSION) for _ in range(9)])
    assert all([await taken("127.0.0.1") for _ in range(9)])
    clock: Any = made._host.clock
    clock.turn(3600)
    assert await taken("192.0.2.1")


async def test_greylisting_is_stored_for_who_came_again() -> None:
    """Who is new is asked to come again; who did in time is known, also after a restart, until they stop writing."""
    made = inspector(greylist={"enabled": True, "delay": 60})
    clock: Any = made._host.clock
    kv: Any = made._host.kv

    async def taken(inspecting: MailInspector) -> bool:
        found = await inspecting.recipient(visit(), BOB, ALICE)
        assert found is None or (found.code, found.temporary) == (451, True)
        return found is None

    assert not await taken(made)
    assert not await taken(made)
    assert not kv.values
    clock.turn(61)
    assert await taken(made)
    again = MailInspector(
        Trust(greylist={"enabled": True}),
        ["example.org"],
        Office(),
        made._host,
        Zone(WORLD),  # type: ignore[arg-type]
    )
    assert await taken(again)
    clock.turn(40 * 86_400)
    await again._grey.sweep()
    assert not kv.values
    assert not await taken(again)


async def test_lists_of_bad_senders() -> None:
    """Who is listed is refused, or marked as spam; a list that is down, or complains of us, lists nobody."""
    made = inspector(dnsbl=[{"zone": "bl.test"}])
    found = await made.recipient(visit("192.0.2.2"), BOB, ALICE)
    assert found is not None
    assert "bl.test" in found.text
    assert await made.recipient(visit("192.0.2.3"), BOB, ALICE) is None
    assert await made.recipient(visit("192.0.2.4"), BOB, ALICE) is None
    marking = inspector(dnsbl=[{"zone": "bl.test", "action": "spam"}], reject="show")
    assert await marking.recipient(visit("192.0.2.2"), BOB, ALICE) is None
    assert (await judged(plain(), marking, peer="192.0.2.2")).spam  # type: ignore[union-attr]


@asynccontextmanager
async def rspamd(answer: Any, asked: list[Any]) -> AsyncIterator[str]:
    async def check(request: web.Request) -> web.Response:
        asked.append((dict(request.headers), await request.read()))
        return web.Response(body=answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    app = web.Application()
    app.router.add_post("/checkv2", check)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/checkv2"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "code", "spam"),
    [
        ({"action": "no action"}, 0, False), ({"action": "add header", "score": 9}, 0, True),
        ({"action": "reject"}, 550, False), ({"action": "soft reject"}, 451, False), (b"not JSON", 0, False),
        ([], 0, False), ({}, 0, False),
    ],
)  # fmt: skip
async def test_a_filter_is_asked(answer: Any, code: int, spam: bool) -> None:
    """A filter gets the mail and its envelope, and its action is done; what it says wrong lets the mail pass."""
    asked: list[Any] = []
    async with rspamd(answer, asked) as url:
        made = inspector(filter={"url": url, "password": "secret"})
        found = await judged(plain(), made, helo="evil\r\nX: y")
        await made.close()

    assert (found.code if isinstance(found, Reply) else 0) == code
    assert code or found.spam is spam  # type: ignore[union-attr]
    headers, body = asked[0]
    assert (body, headers["IP"], headers["From"], headers["Rcpt"]) == (plain(), PEER, str(BOB), str(ALICE))
    assert "X" not in headers


async def test_a_filter_that_is_down() -> None:
    """A filter that does not answer lets mails pass, or puts them off, as set."""
    url = f"http://127.0.0.1:{free_port()}/checkv2"
    for trouble, code in (("show", 0), ("retry", 451)):
        made = inspector(filter={"url": url, "on_trouble": trouble})
        found = await judged(plain(), made)
        await made.close()
        assert (found.code if isinstance(found, Reply) else 0) == code


async def test_the_resolver_over_the_wire() -> None:
    """Answers come over UDP, long ones over TCP; they are kept; silence and failures are trouble, absence is not."""
    long = " ".join(f'"{"x" * 200}"' for _ in range(10))
    world: Records = {
        "a.test": {"TXT": ['"v=spf1 " "-all"'], "MX": ["20 m2.test.", "10 m1.test."], "A": ["192.0.2.1"]},
        "long.test": {"TXT": [long]},
        "1.2.0.192.in-addr.arpa": {"PTR": ["Name.test."]},
    }
    async with served(world) as server:
        server.silent.add("silent.test")
        server.broken.add("broken.test")
        names = Resolver(Trust(dns={"servers": [f"127.0.0.1:{server.port}"], "timeout": 1}).dns)  # type: ignore[arg-type]

        assert await names.txt("a.test") == ["v=spf1 -all"]
        assert await names.txt("A.test") == ["v=spf1 -all"]
        assert server.asked.count("udp TXT a.test") == 1
        assert await names.mx("a.test") == ["m1.test", "m2.test"]
        assert await names.addresses("a.test", v6=False) == ["192.0.2.1"]
        assert await names.addresses("a.test", v6=True) == []
        assert await names.pointers("192.0.2.1") == ["name.test"]
        assert await names.txt("long.test") == ["x" * 2000]
        assert "tcp TXT long.test" in server.asked
        assert await names.txt("none.test") == []
        assert await names.txt("bad..name") == await names.txt("x" * 64 + ".test") == []
        for name in ("silent.test", "broken.test"):
            with pytest.raises(DnsTroubleError):
                await names.txt(name)


@given(st.text(max_size=400))
def test_any_results_are_read(text: str) -> None:
    """Whatever stands in Authentication-Results, reading it does not fail; quotes and comments say nothing."""
    parse_results(text)
    bare = text.replace("\\", "").replace('"', "")
    found = parse_results(f'mx; dmarc=fail reason="{bare}" header.from=there.test')
    assert found is not None
    assert [(one.method, one.result) for one in found.found] == [("dmarc", Result.FAIL)]
    bare = bare.replace("(", "").replace(")", "")
    found = parse_results(f"mx; dmarc=fail ({bare}) header.from=there.test")
    assert found is not None
    assert [(one.method, one.get("header.from")) for one in found.found] == [("dmarc", "there.test")]


@given(st.binary(max_size=300), st.integers(1, 60))
def test_any_header_is_read(data: bytes, size: int) -> None:
    """Whatever a mail holds, in whatever pieces: its header is found, and the body passed on is what is behind it."""

    async def read(raw: bytes, piece: int) -> tuple[Head, bytes]:
        body = bytearray()
        head = await read_mail(opened(raw, piece), lambda _: (body.extend,))
        return head, bytes(body)

    for raw in (data, b"From: a@b.test\r\n" + data, b"From: a@b.test\r\n\r\n" + data):
        head, body = asyncio.run(read(raw, size))
        assert (head, body) == asyncio.run(read(raw, 1000))
        assert raw.endswith(body)
        head.authors()
