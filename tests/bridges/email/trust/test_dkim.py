"""DKIM: the examples of the RFCs, mails signed by another library, and what must not pass."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.canonical import BodyHash
from bridges.email.codec.dkim import parse_key, parse_seal, parse_signature
from bridges.email.composing.signing import Key, signature
from bridges.email.mail import Result, Signature
from bridges.email.trust.dkim import MOST, DkimCheck
from bridges.email.trust.head import read_mail
from tests.bridges.email.trust.mails import NOW, ed25519, opened, plain, rsa, signed
from tests.bridges.email.trust.zone import Records, Zone

KEY = "s1._domainkey.there.test"
# RFC 8463, appendix A.3.
RFC8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC8463_KEYS: Records = {
    "brisbane._domainkey.football.example.com": {
        "TXT": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
    },
    "test._domainkey.football.example.com": {
        "TXT": [
            "v=DKIM1; k=rsa; p="
            "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J"
            "16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIK"
            "T+l/K4w3QIDAQAB"
        ]
    },
}


async def check(raw: bytes, records: Records | None = None, now: int = NOW, size: int = 70) -> tuple[Signature, ...]:
    """The signatures of a mail, judged."""
    checks: list[DkimCheck] = []

    def wants(head: Any) -> Any:
        checks.append(DkimCheck(head, now))
        return checks[0].feeds

    await read_mail(opened(raw, size), wants)
    return await checks[0].results(Zone({KEY: {"TXT": [rsa()[1]]}} if records is None else records))


async def results(raw: bytes, records: Records | None = None, now: int = NOW) -> list[Result]:
    return [one.result for one in await check(raw, records, now)]


async def test_the_examples_of_the_rfc() -> None:
    """Both signatures of RFC 8463 pass; with a letter changed none does."""
    assert await results(RFC8463, RFC8463_KEYS) == [Result.PASS, Result.PASS]
    assert await results(RFC8463.replace(b"hungry", b"hungrj"), RFC8463_KEYS) == [Result.FAIL, Result.FAIL]
    assert await results(RFC8463.replace(b"dinner", b"dinnes"), RFC8463_KEYS) == [Result.FAIL, Result.FAIL]


BODIES = [
    "", "\r\n", "\r\n\r\n\r\n", "no end of line", "Hello\r\n", "Hello\r\n\r\n\r\n", " \r\n\t\r\n", "a \t b \r\n",
    "\r\n\r\nHello\r\n  \r\n", "a" * 100_000 + "\r\n", "x\r\n" * 3000 + "\r\n" * 9000, "\r\n" * 9000 + "x",
]  # fmt: skip


@pytest.mark.parametrize("canon", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_what_others_sign_passes(canon: str, body: str) -> None:
    """Mails signed by dkimpy pass, in all canonical forms, in whatever pieces they come."""
    raw = signed(plain(body=body, more="X-Folded: a\r\n\t  b \r\n"), canon=canon)
    for size in (1, 7, 4096) if len(body) < 1000 else (4096, 65_536):
        assert [one.result for one in await check(raw, size=size)] == [Result.PASS]


async def test_what_we_sign_passes() -> None:
    """Our own signatures, RSA and Ed25519, pass our own check."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = plain()
    fields = [line + b"\r\n" for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")]
    body = BodyHash(relaxed=True)
    body.feed(b"Hello\r\n")
    digest = body.digest()
    private, record = ed25519()
    keys = [
        Key("there.test", "s1", load_pem_private_key(rsa()[0], None)),  # type: ignore[arg-type]
        Key("there.test", "e1", private),
    ]
    head = b"".join(signature(key, fields, digest, NOW) for key in keys)
    records: Records = {KEY: {"TXT": [rsa()[1]]}, "e1._domainkey.there.test": {"TXT": [record]}}

    assert await results(head + raw, records) == [Result.PASS, Result.PASS]


async def test_each_signature_is_judged_by_itself() -> None:
    """A signature that fails, or cannot be read, takes no other along; of many only the first are looked at."""
    raw = signed(plain())
    broken = b"DKIM-Signature: v=1; a=rsa-sha256; nonsense\r\n"
    other = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=AAAA; b=AAAA\r\n"

    assert await results(broken + other + raw) == [Result.PERMERROR, Result.FAIL, Result.PASS]
    assert len(await results(broken * 50 + raw)) == MOST


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ((b"Subject: Hi", b"Subject: Ho"), Result.FAIL), ((b"Hello", b"Hallo"), Result.FAIL),
        ((b"bob@there", b"bab@there"), Result.FAIL), ((b"Hello\r\n", b"Hello\r\nmore\r\n"), Result.FAIL),
        ((b"To: support", b"to:   support"), Result.PASS), ((b"Hello\r\n", b"Hello  \r\n\r\n"), Result.PASS),
        ((b"rsa-sha256", b"rsa-sha1"), Result.PERMERROR), ((b"v=1", b"v=2"), Result.PERMERROR),
        ((b"d=there.test", b"d=test"), Result.PERMERROR), ((b"rsa-sha256", b"ed25519-sha256"), Result.PERMERROR),
        ((b"s=s1", b"s=s2"), Result.PERMERROR), ((b"relaxed/relaxed", b"relaxed/other"), Result.PERMERROR),
    ],
)  # fmt: skip
async def test_changes(change: tuple[bytes, bytes], result: Result) -> None:
    """What was changed on its way fails, but for white space in relaxed form."""
    raw = signed(plain())
    assert change[0] in raw

    assert await results(raw.replace(*change, 1)) == [result]


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("", Result.PERMERROR), ("v=DKIM1; p=", Result.PERMERROR), ("v=DKIM1; k=rsa; p=AAAA", Result.PERMERROR),
        ("v=DKIM2; p={}", Result.PERMERROR), ("k=rsa; v=DKIM1; p={}", Result.PERMERROR), ("p={}", Result.PASS),
        ("v=DKIM1; h=sha1; p={}", Result.PERMERROR), ("v=DKIM1; h=sha1:sha256; p={}", Result.PASS),
        ("v=DKIM1; s=tlsrpt; p={}", Result.PERMERROR), ("v=DKIM1; s=email; n=note; p={}", Result.PASS),
        ("v=DKIM1; t=y; p={}", Result.NEUTRAL), ("v=DKIM1; t=s; p={}", Result.PASS),
        ("v=DKIM1; k=unknown; p={}", Result.PERMERROR),
    ],
)  # fmt: skip
async def test_keys(record: str, result: Result) -> None:
    """A key counts only where its record says that it is for this; one for tests proves nothing."""
    text = record.format(rsa()[1].partition("p=")[2])

    assert await results(signed(plain()), {KEY: {"TXT": [text]}}) == [result]


async def test_keys_that_cannot_be_asked_for_or_are_too_short() -> None:
    """No key is a permanent error, no answer a temporary one, and a key of 512 bits proves nothing."""
    raw = signed(plain())
    assert await results(raw, {}) == [Result.PERMERROR]
    assert await results(raw, {KEY: {"TROUBLE": []}}) == [Result.TEMPERROR]
    small = (
        "v=DKIM1; p="
        "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMX3WoeiDNBJFSGSd3b6PFlFwPdX7bKl3a2Ic/RTSLWPQMLA2BLTrOGgWpQYxq3kPnK7"
        "8gS0VzPTOmTCnAGpOOcCAwEAAQ=="
    )
    found = await check(raw, {KEY: {"TXT": [small]}})
    assert (found[0].result, "bits" in found[0].reason) == (Result.PERMERROR, True)


async def test_from_must_be_signed() -> None:
    """A signature that leaves From out is none (RFC 6376 section 5.4)."""
    raw = signed(plain(), include_headers=[b"from", b"to", b"subject"])
    assert await results(raw) == [Result.PASS]
    assert await results(re.sub(rb"h=from : ", b"h=", raw, count=1)) == [Result.PERMERROR]


async def test_a_part_of_the_body_is_not_enough() -> None:
    """l= is not believed: what was put behind the signed part makes the signature fail."""
    raw = signed(plain(), length=True)
    assert await results(raw) == [Result.PASS]
    assert await results(raw + b"<a href=evil>click</a>\r\n") == [Result.FAIL]


async def test_time_counts() -> None:
    """A signature that has expired, or is of the future, fails."""
    private, record = ed25519()
    fields = [line + b"\r\n" for line in plain().partition(b"\r\n\r\n")[0].split(b"\r\n")]
    body = BodyHash(relaxed=True)
    body.feed(b"Hello\r\n")
    raw = signature(Key("there.test", "s1", private), fields, body.digest(), NOW) + plain()
    records: Records = {KEY: {"TXT": [record]}}
    assert await results(raw, records) == [Result.PASS]
    assert await results(raw, records, now=NOW - 200_000) == [Result.FAIL]
    ended = await check(raw.replace(b"t=%d;" % NOW, b"t=%d; x=%d;" % (NOW, NOW + 10)), records, now=NOW + 1000)
    assert ended[0].reason == "it has expired"


async def test_identities_must_be_of_the_domain() -> None:
    """i= of another domain is an error; of a subdomain only where the key allows it."""
    raw = signed(plain(), identity=b"x@mail.there.test")
    assert await results(raw) == [Result.PASS]
    assert await results(raw, {KEY: {"TXT": [rsa()[1] + "; t=s"]}}) == [Result.PERMERROR]
    assert await results(raw.replace(b"@mail.there.test", b"@mail.here.test")) == [Result.PERMERROR]


@given(st.binary(max_size=300))
def test_any_field_is_read_or_refused(data: bytes) -> None:
    """Whatever stands in a signature or a key, it is read or refused in words."""
    for parse in (parse_signature, parse_seal):
        for value in (data, b"v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=AAAA; b=AAAA;" + data):
            try:
                parse(b"DKIM-Signature:" + value)
            except ValueError:
                pass
    try:
        parse_key(data.decode("latin-1"))
    except ValueError:
        pass


@given(st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"b\r\n", b" \r\n"]), max_size=40), st.booleans())
def test_pieces_change_no_hash(pieces: list[bytes], relaxed: bool) -> None:
    """A body has the same hash in whatever pieces it comes."""
    whole, parts = BodyHash(relaxed=relaxed), BodyHash(relaxed=relaxed)
    whole.feed(b"".join(pieces))
    for piece in pieces:
        parts.feed(piece)
    assert whole.digest() == parts.digest()
