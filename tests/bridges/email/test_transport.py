"""Handing mails over: each recipient gets the outcome that the server gave it, whatever it does and when."""

import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.addresses import Address
from bridges.email.config.delivery import Delivery, HostTls, MxTls, Smarthost
from bridges.email.delivery import hops as hops_module
from bridges.email.delivery.hops import FixedNames, Hops
from bridges.email.delivery.mtasts import StsPolicy, read_policy
from bridges.email.delivery.relays import given_id
from bridges.email.delivery.transport import SmtpTransport
from bridges.email.delivery.wire import stuffed
from bridges.email.ports import Outcome, OutgoingMail
from tests.bridges.email.mailing import MailHost, person
from tests.bridges.email.sink import DROP, SILENCE, Sink

BOB, EVE = person("bob@there.test"), person("eve@there.test")
SES = f"0102018b-{'a' * 30}"
RAW = b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"


class Post:
    """A transport to a sink."""

    def __init__(self, port: int, tls: HostTls = HostTls.NONE, host: str = "127.0.0.1", **settings: Any) -> None:
        self.host = MailHost()
        smarthost = {"host": host, "port": port, "tls": tls, **settings.pop("smarthost", {})}
        values = {"command_timeout": 5, "data_timeout": 5, "connect_timeout": 5, "idle": 60, **settings}
        self.settings = Delivery(smarthosts=[Smarthost(**smarthost)], **values)
        context: Any = self.host
        self.transport = SmtpTransport(
            self.settings,
            Hops(self.settings, FixedNames()),
            context.blobs,
            context.tasks,
            context.clock,
            "mail.example.org",
        )

    async def send(self, *to: Address, raw: bytes = RAW, **changes: Any) -> list[Outcome]:
        """Hand a mail over; the outcomes in the order of its recipients."""

        async def chunks() -> AsyncIterator[bytes]:
            step = 7 if len(raw) < 10_000 else 65_536
            for at in range(0, len(raw), step):
                yield raw[at : at + step]

        blob = await self.host.blobs.put(chunks(), 10**8)
        mail = OutgoingMail("m", "m@example.org", person("me@example.org"), blob, len(raw), **changes)
        outcomes = await self.transport.deliver(mail, to or (BOB,))
        return [outcomes[one] for one in to or (BOB,)]


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as server:
        yield server


@pytest.fixture
async def post(sink: Sink) -> AsyncIterator[Post]:
    found = Post(sink.port)
    yield found
    await found.transport.close()
    assert not found.host.tasks.errors


def codes(outcomes: Sequence[Outcome]) -> list[tuple[int, str, bool]]:
    return [(one.reply.code, one.reply.status, one.unknown) for one in outcomes]


async def test_a_mail_arrives_byte_for_byte(sink: Sink, post: Post) -> None:
    """Lines that begin with dots are the same behind the wire, and the envelope says what the server can read."""
    assert codes(await post.send(BOB, EVE, head=b"X-Head: 1\r\n")) == [(250, "2.0.0", False)] * 2
    (taken,) = sink.mails
    assert taken.data == b"X-Head: 1\r\n" + RAW
    assert (taken.sender, taken.recipients) == ("me@example.org", ["bob@there.test", "eve@there.test"])
    assert taken.options == f"SIZE={len(RAW)} RET=HDRS ENVID=m"
    assert "EHLO mail.example.org" in sink.commands
    assert "RCPT TO:<bob@there.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob@there.test" in sink.commands


async def test_a_connection_is_used_again(sink: Sink, post: Post) -> None:
    """Mails on the same way share a connection; one that the server has let go meanwhile costs no mail."""
    for _ in range(3):
        assert (await post.send())[0].reply.code == 250
    assert sink.connections == 1
    sink.say("rset", DROP)
    assert (await post.send())[0].reply.code == 250
    assert sink.connections == 2
    sink.say("mail", "421 4.3.2 going")
    assert codes(await post.send()) == [(421, "4.3.2", False)]
    assert (await post.send())[0].reply.code == 250
    assert [mail.connection for mail in sink.mails] == [1, 1, 1, 2, 3]


async def test_each_recipient_has_its_own_outcome(sink: Sink, post: Post) -> None:
    """One who is refused takes no other along."""
    sink.always["rcpt eve@there.test"] = "550-5.1.1 no such\r\n550 5.1.1 person"
    sink.always["rcpt zoe@there.test"] = "450 4.2.1 come back"
    bob, eve, zoe = await post.send(BOB, EVE, person("zoe@there.test"))
    assert codes([bob, eve, zoe]) == [(250, "2.0.0", False), (550, "5.1.1", False), (450, "4.2.1", False)]
    assert eve.reply.text == "no such person"
    assert sink.mails[0].recipients == ["bob@there.test"]


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(("answer", "code"), [("451 4.3.0 later", 451), ("554 5.7.1 never", 554)])
async def test_a_refusal_at_any_step_is_the_outcome(sink: Sink, post: Post, step: str, answer: str, code: int) -> None:
    """Whatever the step, the server's own code and words are what comes of it, and nothing is thought to be sent."""
    if step == "ehlo":
        sink.say("helo", answer)
    sink.say(step, answer)
    (outcome,) = await post.send()
    assert (outcome.reply.code, outcome.unknown) == (code, False)
    assert outcome.reply.text in answer
    assert sink.mails == []


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "body"])
async def test_a_loss_before_the_last_dot_is_no_delivery(sink: Sink, post: Post, step: str) -> None:
    """A connection that is lost before the mail was whole may be tried again without a doubt."""
    sink.extensions = ()
    sink.say(step, DROP)
    (outcome,) = await post.send(raw=b"Subject: x\r\n\r\n" + b"word\r\n" * (3_000_000 if step == "body" else 1))
    assert (outcome.reply.code, outcome.unknown) == (0, False)
    assert outcome.reply.status.startswith("4.")
    assert sink.mails == []


async def test_a_loss_after_the_last_dot_is_unknown(sink: Sink, post: Post) -> None:
    """Only an answer that never came, after the mail was whole, leaves a doubt."""
    sink.say("dot", f"kept {DROP}", DROP)
    first = await post.send()
    assert codes(first) == [(0, "4.4.2", True)]
    assert len(sink.mails) == 1
    assert codes(await post.send()) == [(0, "4.4.2", True)]


async def test_a_silent_server_is_given_up(sink: Sink) -> None:
    """Nothing waits for ever; silence after the last dot is a doubt, silence before it is none."""
    post = Post(sink.port, command_timeout=0.2, data_timeout=0.2)
    sink.say("mail", SILENCE)
    assert codes(await post.send()) == [(0, "4.4.2", False)]
    post.transport.forget_away()
    sink.say("dot", SILENCE)
    assert codes(await post.send()) == [(0, "4.4.2", True)]


async def test_nobody_there(sink: Sink) -> None:
    """A server that does not answer is not dialled anew for each mail that waits for it."""
    post = Post(sink.port)
    sink.always["connect"] = DROP
    assert codes(await post.send()) == [(0, "4.4.2", False)]
    dialled = sink.connections
    assert codes(await post.send()) == [(0, "4.4.2", False)]
    assert sink.connections == dialled
    sink.always.clear()
    post.host.clock.turn(31)
    assert (await post.send())[0].reply.code == 250


async def test_a_mail_that_the_server_cannot_take_is_not_tried(sink: Sink, post: Post) -> None:
    """What EHLO says of size, UTF-8 and 8 bits is believed before anything is handed over."""
    sink.extensions = ("SIZE 20",)
    assert codes(await post.send(raw=b"x" * 50 + b"\r\n")) == [(552, "5.3.4", False)]
    sink.extensions = ()
    await post.transport.close()
    assert codes(await post.send(utf8=True)) == [(550, "5.6.7", False)]
    assert codes(await post.send(person("jürgen@there.test"))) == [(550, "5.6.7", False)]
    assert codes(await post.send(eight_bit=True)) == [(550, "5.6.3", False)]
    assert not [one for one in sink.commands if one.startswith("MAIL")]
    sink.extensions = ("SMTPUTF8", "8BITMIME", "DSN")
    await post.transport.close()
    assert (await post.send(person("jürgen@bücher.test"), eight_bit=True))[0].reply.code == 250
    assert sink.mails[-1].options == "BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=m"


async def test_what_would_leave_its_line_is_refused(sink: Sink, post: Post) -> None:
    """An address with control characters reaches no wire, and a body with bare line ends is never finished."""
    evil = Address("a>\r\nRCPT TO:<x", "y.test")
    assert codes(await post.send(evil)) == [(550, "5.1.3", False)]
    assert codes(await post.send(Address("a> b", "y.test"))) == [(550, "5.1.3", False)]
    for raw in (b"a\r\n.\nMAIL FROM:<x>\r\n", b"a\n.\r\nb\r\n", b"a\r.\r\n"):
        assert codes(await post.send(raw=raw)) == [(0, "4.4.2", False)]
    assert sink.mails == []


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r\n.", b".\r\n"]), max_size=30), st.integers(1, 5))
async def test_dots_are_stuffed_wherever_chunks_end(pieces: list[bytes], size: int) -> None:
    """However the bytes are cut, no line is a lone dot, and taking the dots off gives the same."""
    raw = b"".join(pieces)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(raw), size):
            yield raw[at : at + size]

    wire = b"".join([chunk async for chunk in stuffed(chunks())])
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    whole = raw if raw.endswith(b"\r\n") or not raw else raw + b"\r\n"
    assert (b"\r\n" + wire).replace(b"\r\n..", b"\r\n.")[2:] == whole


def contexts(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("tls", [HostTls.STARTTLS, HostTls.IMPLICIT])
async def test_a_smarthost_must_be_who_it_says(tls: HostTls, tmp_path: Path) -> None:
    """A good certificate is needed: of another name, or by nobody we trust, gets neither password nor mail."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    login = {"user": "me", "password": "pass", "ca": str(tmp_path / "ca.pem")}
    implicit = tls is HostTls.IMPLICIT
    for context, trusted, good in (
        (contexts(authority, "localhost"), login, True),
        (contexts(authority, "other.test"), login, False),
        (contexts(trustme.CA(), "localhost"), login, False),
        (contexts(authority, "localhost"), {**login, "ca": None}, False),
    ):
        async with Sink(context=context, implicit=implicit, extensions=("AUTH PLAIN",)) as sink:
            post = Post(sink.port, tls, "localhost", smarthost=trusted)
            (outcome,) = await post.send()
            await post.transport.close()
            assert (outcome.reply.code == 250) is good
            assert bool([one for one in sink.commands if one.startswith("AUTH")]) is good
            assert [mail.tls for mail in sink.mails] == [True] * good
            if not good:
                assert outcome.reply.status == "4.7.5"


async def test_without_tls_nothing_is_sent(sink: Sink) -> None:
    """A smarthost that offers no STARTTLS, or breaks off in it, gets nothing."""
    assert codes(await Post(sink.port, HostTls.STARTTLS, "localhost").send()) == [(0, "4.0.0", False)]
    async with Sink(context=contexts(trustme.CA(), "localhost")) as server:
        server.always["starttls"] = "454 4.7.0 not now"
        assert (await Post(server.port, HostTls.STARTTLS, "localhost").send())[0].reply.code == 0
        assert server.mails == []
    assert sink.mails == []


async def test_a_wrong_password_waits_for_the_admin(sink: Sink) -> None:
    """A login that is refused fails no mail for ever: the settings may be put right."""
    sink.extensions = ("AUTH PLAIN",)
    sink.always["auth"] = "535 5.7.8 wrong"
    (outcome,) = await Post(sink.port, smarthost={"user": "me", "password": "x"}).send()
    assert (outcome.reply.code, outcome.reply.status) == (0, "4.7.8")
    assert "wrong" in outcome.reply.text


async def test_the_next_smarthost_is_tried(sink: Sink) -> None:
    """Smarthosts are tried in order; those for other domains are not."""
    post = Post(1)
    other = Smarthost(host="127.0.0.1", port=1, tls=HostTls.NONE, domains=["other.test"])
    here = Smarthost(host="127.0.0.1", port=sink.port, tls=HostTls.NONE)
    settings = post.settings.model_copy(update={"smarthosts": [*post.settings.smarthosts, other, here]})
    context: Any = post.host
    transport = SmtpTransport(
        settings, Hops(settings, FixedNames()), context.blobs, context.tasks, context.clock, "mail.example.org"
    )
    post.transport = transport
    assert (await post.send())[0].reply.code == 250
    assert len(sink.mails) == 1
    await transport.close()


# Without a smarthost


NAMES = FixedNames(
    exchangers={
        "there.test": [(20, "b.test."), (10, "A.test.")],
        "null.test": [(0, ".")],
        "inside.test": [(0, "inside.mx.test.")],
        "gone.test": [(0, "gone.mx.test.")],
    },
    hosts={
        "a.test": ["192.0.78.1"],
        "b.test": ["192.0.78.2", "2606:4700::1"],
        "alone.test": ["192.0.78.3"],
        "inside.mx.test": ["10.0.0.1", "::ffff:127.0.0.1", "fd00::1", "169.254.1.1"],
    },
    trouble=frozenset({"slow.test"}),
)


def direct(policies: Any = None, **settings: Any) -> Hops:
    return Hops(Delivery(direct=True, **settings), NAMES, policies)


async def refused(hops: Hops, domain: str) -> tuple[int, str]:
    with pytest.raises(hops_module.NoRouteError) as raised:
        await hops.to(domain)
    return raised.value.reply.code, raised.value.reply.status


async def test_exchangers_come_by_preference() -> None:
    """The lowest preference first; a domain without MX is its own exchanger (RFC 5321, 5.1)."""
    found = await direct().to("there.test")
    assert [(hop.host, hop.port, hop.addresses) for hop in found] == [
        ("a.test", 25, ("192.0.78.1",)),
        ("b.test", 25, ("192.0.78.2", "2606:4700::1")),
    ]
    assert [hop.host for hop in await direct().to("alone.test")] == ["alone.test"]
    assert direct().destination("example.org", BOB) == "there.test"


async def test_a_domain_without_mail_is_told_at_once() -> None:
    """Null MX is 556 (RFC 7505), no server is for ever, DNS that does not answer is for now."""
    assert await refused(direct(), "null.test") == (556, "5.1.10")
    assert await refused(direct(), "nothing.test") == (550, "5.1.2")
    assert await refused(direct(), "gone.test") == (550, "5.1.2")
    assert await refused(direct(), "slow.test") == (0, "4.4.3")
    assert await refused(Hops(Delivery(), NAMES), "there.test") == (550, "5.4.4")


async def test_nobody_leads_us_into_our_own_network() -> None:
    """An MX at a private, loopback, mapped or link-local address is refused, unless the admin wants it."""
    assert await refused(direct(), "inside.test") == (550, "5.4.4")
    assert await refused(direct(), "[127.0.0.1]") == (550, "5.4.4")
    assert await refused(direct(), "[ipv6:::1]") == (550, "5.4.4")
    assert len((await direct(private_addresses=True).to("inside.test"))[0].addresses) == 4


async def test_how_safe_the_way_is() -> None:
    """Opportunistic TLS takes any certificate, required TLS only a good one, MTA-STS makes it required."""

    class Policies:
        def __init__(self, mode: str, *hosts: str) -> None:
            self.policy = StsPolicy("1", mode, hosts, 0)

        async def of(self, domain: str) -> StsPolicy:
            return self.policy

    (hop, _) = await direct().to("there.test")
    assert (hop.starttls, hop.must, hop.verify) == (True, False, False)
    assert hop.context is not None
    assert hop.context.verify_mode is ssl.CERT_NONE
    (hop, _) = await direct(tls=MxTls.REQUIRED).to("there.test")
    assert (hop.must, hop.verify) == (True, True)
    (hop, _) = await direct(tls=MxTls.NONE).to("there.test")
    assert (hop.starttls, hop.must) == (False, False)
    (hop,) = await direct(Policies("enforce", "a.test")).to("there.test")
    assert (hop.host, hop.must, hop.verify) == ("a.test", True, True)
    assert hop.context is not None
    assert hop.context.verify_mode is ssl.CERT_REQUIRED
    assert len(await direct(Policies("testing", "a.test")).to("there.test")) == 2
    assert await refused(direct(Policies("enforce", "c.test")), "there.test") == (0, "4.7.5")


async def test_opportunistic_tls_takes_what_there_is(sink: Sink) -> None:
    """An unknown certificate is better than none, and a server whose TLS fails still gets its mail."""
    for starttls, safe in (("220 go", True), ("454 4.7.0 broken", False)):
        async with Sink(context=contexts(trustme.CA(), "whoever")) as server:
            server.always["starttls"] = starttls
            settings = Delivery(direct=True, private_addresses=True, command_timeout=5, data_timeout=5)
            names = FixedNames({"there.test": [(1, "mx.test.")]}, {"mx.test": ["127.0.0.1"]})
            hops = Hops(settings, names)
            found = [hop_at(hop, server.port) for hop in await hops.to("there.test")]
            post = Post(1)
            post.transport._hops = Fixed(found)  # type: ignore[assignment]
            assert (await post.send())[0].reply.code == 250
            await post.transport.close()
            assert [mail.tls for mail in server.mails] == [safe]


class Fixed:
    """A way that is known."""

    def __init__(self, found: list[hops_module.Hop]) -> None:
        self.found = found

    def destination(self, sender: str, recipient: Address) -> str:
        return recipient.domain

    async def to(self, destination: str) -> list[hops_module.Hop]:
        return self.found


def hop_at(hop: hops_module.Hop, port: int) -> hops_module.Hop:
    import dataclasses

    return dataclasses.replace(hop, port=port)


def test_policies_are_read_as_they_are_written() -> None:
    """MTA-STS files with what they need are policies; others are none (RFC 8461)."""
    text = b"version: STSv1\r\nmode: enforce\r\nmx: Mail.there.test\r\nmx: *.cdn.test\r\nmax_age: 86400\r\n"
    policy = read_policy(text, "x", 1000)
    assert policy == StsPolicy("x", "enforce", ("mail.there.test", "*.cdn.test"), 86_401_000)
    assert policy.allows("mail.there.test.")
    assert policy.allows("a.cdn.test")
    assert not policy.allows("a.b.cdn.test")
    assert not policy.allows("cdn.test")
    for broken in (b"", text.replace(b"STSv1", b"STSv2"), text.replace(b"mx: ", b"my: "), text.replace(b"86400", b"x")):
        assert read_policy(broken, "x", 1000) is None


async def test_who_blocks_dns_does_not_switch_tls_off() -> None:
    """A policy that is known holds while DNS is away; a new id fetches the new one; it ends when it is too old."""
    from bridge_core.api.host import HttpResponse
    from bridges.email.delivery.mtasts import Policies

    class Web:
        body = b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1000\n"

        def __init__(self) -> None:
            self.asked: list[str] = []

        async def request(self, method: str, url: str, **_: Any) -> HttpResponse:
            self.asked.append(url)
            return HttpResponse(200, self.body)

    host, web = MailHost(), Web()

    def policies(**names: Any) -> Policies:
        context: Any = host
        return Policies(FixedNames(**names), web, context.kv, context.clock)  # type: ignore[arg-type]

    assert await policies().of("there.test") is None
    known = policies(texts={"_mta-sts.there.test": ["v=STSv1; id=1;"]})
    found = await known.of("there.test")
    assert found is not None
    assert found.enforced
    assert web.asked == ["https://mta-sts.there.test/.well-known/mta-sts.txt"]
    assert await known.of("there.test") == found
    assert len(web.asked) == 1
    assert await policies(trouble=frozenset({"_mta-sts.there.test"})).of("there.test") == found
    web.body = web.body.replace(b"enforce", b"testing")
    newer = await policies(texts={"_mta-sts.there.test": ["v=STSv1; id=2;"]}).of("there.test")
    assert newer is not None
    assert not newer.enforced
    host.clock.turn(1001)
    assert await policies().of("there.test") is None


@pytest.mark.parametrize(
    ("server", "text", "expected"),
    [
        ("email-smtp.eu-west-1.amazonaws.com", f"Ok {SES}", f"{SES}@eu-west-1.amazonses.com"),
        ("email-smtp.us-east-1.amazonaws.com", f"Ok {SES}", f"{SES}@email.amazonses.com"),
        ("smtp.office365.com", "OK <AM0.prod@AM0.prod.outlook.com> [Hostname=x]", "AM0.prod@AM0.prod.outlook.com"),
        ("mx.evil.test", f"Ok {SES}", ""),
        ("evil-amazonaws.com", f"Ok {SES}", ""),
        ("smtp.office365.com", "OK <x@evil.test>", ""),
        ("mx.there.test", "2.0.0 queued as 123", ""),
    ],
)  # fmt: skip
def test_relays_that_rename_mails_are_known(server: str, text: str, expected: str) -> None:
    """Of those that give a mail another id the new one is learnt; nobody else's words are taken for one."""
    assert given_id(server, text) == expected
