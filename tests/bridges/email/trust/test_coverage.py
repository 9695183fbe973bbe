"""A signed mail of somebody's with fields of others on top: what nobody signed is nobody's word."""

import pytest

from bridges.email.codec.addresses import parse_address
from bridges.email.mail import Door, Verdict
from tests.bridges.email.office import BOX, Office, mail
from tests.bridges.email.trust.mails import plain, rsa, signed
from tests.bridges.email.trust.test_inspector import RESULTS, inspector, judged
from tests.bridges.email.trust.zone import Records

ELSEWHERE = "198.51.100.1"
"""Who does not send for the author's domain."""
LISTS: Records = {"s1._domainkey.lists.test": {"TXT": [rsa()[1]]}}
ADDED = {
    "reply-to": b"Reply-To: eve@evil.test\r\n",
    "chat-edit": b"Chat-Edit: <one@there.test>\r\n",
    "chat-delete": b"Chat-Delete: <one@there.test>\r\n",
    "in-reply-to": b"In-Reply-To: <one@there.test>\r\n",
    "references": b"References: <one@there.test>\r\n",
    "list-unsubscribe": b"List-Unsubscribe: <https://evil.test/>\r\n",
    "cc": b"Cc: eve@evil.test\r\n",
    "to": b"To: eve@evil.test\r\n",
}


async def loose(raw: bytes, **changes: str) -> tuple[str, ...]:
    found = await judged(raw, inspector(LISTS), **changes)
    assert isinstance(found, Verdict) and found.verified
    return found.loose


async def behind(results: str, raw: bytes) -> tuple[str, ...]:
    """The same by what the server in front says."""
    found = await judged(
        RESULTS.format(results).encode() + raw, inspector(authserv_id="mx.example.org"), door=Door.LMTP, peer=""
    )
    assert isinstance(found, Verdict) and found.verified
    return found.loose


@pytest.mark.parametrize("name", ADDED)
async def test_a_field_on_top_of_a_signed_mail_is_nobodys(name: str) -> None:
    """It still passes, and what was added is named; what the author's own server sends is the author's."""
    raw = signed(plain())
    assert await loose(raw, peer=ELSEWHERE) == ()
    assert await loose(ADDED[name] + raw, peer=ELSEWHERE) == (name,)
    assert await loose(ADDED[name] + raw) == ()
    own = plain(more=ADDED[name].decode() if name != "to" else "")
    names = [b"from", b"to", b"subject", b"date", *([name.encode()] if name != "to" else [])]
    assert await loose(signed(own, include_headers=names), peer=ELSEWHERE) == ()


async def test_a_list_answers_for_its_own_fields() -> None:
    """What a list's own signature covers of its fields is the list's word; not of other lists', nor of other fields."""
    head = b"List-Id: <friends.lists.test>\r\nList-Post: <mailto:friends@lists.test>\r\n"
    listed = signed(head + signed(plain()), "lists.test")
    assert await loose(listed, peer=ELSEWHERE) == ()
    assert await loose(head + signed(plain()), peer=ELSEWHERE) == ("list-id", "list-post")
    other = head.replace(b"friends.lists", b"friends.others")
    assert await loose(signed(other + signed(plain()), "lists.test"), peer=ELSEWHERE) == ("list-id", "list-post")
    assert "reply-to" in await loose(signed(ADDED["reply-to"] + head + signed(plain()), "lists.test"), peer=ELSEWHERE)


@pytest.mark.parametrize(
    ("results", "left"),
    [
        ("spf=pass smtp.mailfrom=bob@there.test; dkim=pass header.d=there.test", ()),
        ("spf=pass smtp.mailfrom=x@forwarder.test; dkim=pass header.d=there.test header.s=s1", ("reply-to",)),
        ("dkim=pass header.d=there.test", ("reply-to",)),
        ("dmarc=pass header.from=there.test", ("reply-to",)),
    ],
)
async def test_the_server_in_front_does_not_say_what_is_signed(results: str, left: tuple[str, ...]) -> None:
    """Where it has checked, what its signatures cover is read off the mail; none there means that it was not signed."""
    raw = signed(plain())
    assert await behind(results, ADDED["reply-to"] + raw) == left
    assert await behind("dmarc=pass header.from=there.test", ADDED["reply-to"] + plain()) == ()


@pytest.mark.parametrize("results", ["dkim=pass header.d=there.test header.s=s1", "dmarc=pass header.from=there.test"])
async def test_signatures_that_only_pretend_cover_nothing(results: str) -> None:
    """Made-up signatures that name everything hide a true one neither by number nor where that cannot be read."""
    head = ADDED["reply-to"]
    fake = b"DKIM-Signature: v=1; a=rsa-sha256; d=there.test; s=s1; h=from:to:reply-to; bh=aGVsbG8=; b=aGVsbG8=\r\n"
    assert await behind(results, head + fake * 8 + signed(plain())) == ("reply-to", "to")
    unread = signed(plain()).replace(b"v=1;", b"v=2;", 1)
    assert await behind(results, head + fake + unread) == ("reply-to", "to")


async def test_what_nobody_signed_does_nothing() -> None:
    """Answers go on to the author, others' mails stay as they are, and the room is told once what was left out."""
    office = Office()
    await office.comes(mail("one@x.net"))
    seen = await office.comes(
        mail("two@x.net", "second", reply_to=(parse_address("eve@evil.test"),), in_reply_to=("one@x.net",)),
        loose=("reply-to",),
    )
    assert "reply-to" in str(seen[0])
    await office.says("Only for Bob", reply_to="two@x.net")
    assert [str(one) for one in list(office.outbox.mails.values())[-1][1]] == ["bob@x.net"]
    for taken in ({"deletes": ("one@x.net",)}, {"edits": "one@x.net"}):
        (event,) = await office.comes(
            mail(f"{len(office.inbox.events)}@x.net", **taken), loose=("chat-delete", "chat-edit")
        )
        assert type(event).__name__ == "RemoteMessage"
    (event,) = await office.comes(
        mail("six@x.net", in_reply_to=("one@x.net",)), BOX, loose=("in-reply-to", "references")
    )
    assert event.thread is None  # type: ignore[union-attr]
