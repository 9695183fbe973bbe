"""Mail that says it is from somebody else: a table. None of it may speak as the person it names."""

import pytest

from bridges.email.codec.addresses import parse_address
from bridges.email.mail import Verdict
from bridges.email.ports import Reply
from tests.bridges.email.trust.mails import plain, signed
from tests.bridges.email.trust.test_inspector import inspector, judged
from tests.bridges.email.trust.zone import Records

EVIL = "198.51.100.66"
# Evil owns evil.test with all that is right; bob@there.test wants what is not his refused; soft.test publishes nothing.
WORLD: Records = {
    "evil.test": {"TXT": ["v=spf1 ip4:198.51.100.66 -all"]},
    "_dmarc.evil.test": {"TXT": ["v=DMARC1; p=reject"]},
    "there.test.evil.test": {"TXT": ["v=spf1 +all"]},
}
SPOOFS = {
    "another's address": plain("bob@there.test"),
    "two authors, ours first": plain("x@evil.test, bob@there.test"),
    "two authors, ours last": plain("bob@there.test, x@evil.test"),
    "two From headers": b"From: x@evil.test\r\n" + plain("bob@there.test"),
    "two From headers, the other way round": b"From: bob@there.test\r\n" + plain("x@evil.test"),
    "From in another case": b"FROM: bob@there.test\r\n" + plain("x@evil.test"),
    "From with a blank before the colon": b"From : bob@there.test\r\n" + plain("x@evil.test"),
    "a folded From": plain("x@evil.test,\r\n bob@there.test"),
    "a group": plain("friends: bob@there.test, x@evil.test;"),
    "an encoded address": plain("=?utf-8?q?bob=40there.test?= <bob@there.test>"),
    "a comment": plain("bob@there.test (x@evil.test)"),
    "a quoted local part": plain('"x@evil.test "@there.test'),
    "a name that is an address": plain('"x@evil.test" <bob@there.test>'),
    "two angles": plain("<bob@there.test> <x@evil.test>"),
    "a route": plain("<@evil.test:bob@there.test>"),
    "a bare CR": plain("x@evil.test\rFrom: bob@there.test"),
    "a NUL": plain("bob@there.test\x00@evil.test"),
    "a line that is no field": b"From: x@evil.test\r\nnonsense\r\nFrom: bob@there.test\r\n\r\nHello\r\n",
    "no header at all": b"\r\nFrom: bob@there.test\r\n",
    "a header that never ends": b"X: y\r\n" * 60_000 + plain("bob@there.test"),
    "a Sender": b"Sender: x@evil.test\r\n" + plain("bob@there.test"),
    "a Received-SPF of their own": b"Received-SPF: pass\r\n" + plain("bob@there.test"),
    "Authentication-Results of their own": (
        b"Authentication-Results: mx.example.org; dmarc=pass header.from=there.test\r\n" + plain("bob@there.test")
    ),
    "signed by another domain": signed(plain("bob@there.test")).replace(b"d=there.test", b"d=evil.test"),
    "signed, the body changed": signed(plain("bob@there.test")).replace(b"Hello", b"Hallo"),
    "signed, From changed": signed(plain("eve@there.test")).replace(b"From: eve@", b"From: bob@"),
    "signed, and another From on top": b"From: bob@there.test\r\n" + signed(plain("eve@there.test")),
    "signed with a length, and more behind": signed(plain("bob@there.test"), length=True) + b"more\r\n",
    "a signature of a subdomain that looks alike": signed(plain("bob@there.test")).replace(
        b"d=there.test", b"d=there.test.evil.test"
    ),
    "an ARC chain of their own": (
        b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=evil.test; s=s1; b=AAAA\r\n"
        b"ARC-Message-Signature: i=1; a=rsa-sha256; d=evil.test; s=s1; h=from; bh=AAAA; b=AAAA\r\n"
        b"ARC-Authentication-Results: i=1; mx; dmarc=pass header.from=there.test\r\n"
    )
    + plain("bob@there.test"),
}


@pytest.mark.parametrize("how", SPOOFS)
@pytest.mark.parametrize("sender", ["x@evil.test", "x@there.test.evil.test", None])
@pytest.mark.parametrize("policy", ["reject", "none", ""])
async def test_nobody_speaks_as_somebody_else(how: str, sender: str | None, policy: str) -> None:
    """However the mail is made, bob@there.test is not its verified author."""
    record = {"TXT": [f"v=DMARC1; p={policy}"]} if policy else {}
    made = inspector(WORLD | {"_dmarc.there.test": record}, authserv_id="mx.example.org")
    found = await judged(
        SPOOFS[how], made, peer=EVIL, sender=parse_address(sender) if sender else None, helo="mx.evil.test"
    )

    assert isinstance(found, Reply) or not (found.verified and found.author and found.author.domain == "there.test")
    if isinstance(found, Verdict) and not found.verified:
        assert found.reason


SEVERAL = ("x@evil.test, bob@there.test", "bob@there.test, x@evil.test", "friends: x@evil.test, y@evil.test;")


@pytest.mark.parametrize("authors", SEVERAL)
async def test_several_authors_are_nobody(authors: str) -> None:
    """A mail of several authors has none that is verified, whoever of them answers for it."""
    made = inspector(WORLD, reject="show")
    for raw in (plain(authors), b"From: x@evil.test\r\n" + plain("x@evil.test")):
        found = await judged(raw, made, peer=EVIL, sender=parse_address("x@evil.test"))
        assert isinstance(found, Verdict)
        assert (found.verified, found.author) == (False, None)


async def test_the_table_is_not_empty_talk() -> None:
    """The same world does verify Bob where Bob's own server brings the mail, and Eve's own mail is hers."""
    made = inspector(WORLD)
    assert (await judged(plain("bob@there.test"), made)).verified  # type: ignore[union-attr]
    found = await judged(plain("x@evil.test"), made, peer=EVIL, sender=parse_address("x@evil.test"))
    assert found.verified  # type: ignore[union-attr]
