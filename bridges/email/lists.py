"""Mailing lists and senders of bulk mail: where each takes mail, and how one leaves it. Nothing of it is a stranger's
word alone: a verified author said it first, and nobody from elsewhere changes it."""

import contextlib
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import orjson

from bridge_core.api.host import KV
from bridges.email.codec.addresses import Address
from bridges.email.letterhead import LetterheadError, addresses
from bridges.email.mail import Mail, Result, Verdict
from bridges.email.people import Author

_LONGEST: Final = 2000
"""Characters of an address that is kept."""
Rows = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is known of a list (its List-Id) or of a sender (their address). `post` is where a list takes mail.

    `leave` is where a POST ends its mails (RFC 8058), as `domain` said, whose mail alone changes it.
    """

    name: str
    post: str = ""
    leave: str = ""
    domain: str = ""


class Lists:
    """Kept in the network's store; changes are rows that are committed with the mail that made them."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def get(self, mailbox: str, name: str) -> Bulk | None:
        """What a mailbox knows of a list or sender."""
        row = await self._kv.get(_key(mailbox, name))
        return _opened(row) if row is not None else None

    async def leavable(self, mailbox: str) -> list[Bulk]:
        """All that a mailbox can unsubscribe from by one click, by name."""
        rows = (await self._kv.items(_begin(mailbox))).values()
        found = [bulk for row in rows if (bulk := _opened(row)) is not None and bulk.leave]
        return sorted(found, key=lambda bulk: bulk.name)

    async def learnt(self, mailbox: str, mail: Mail, author: Author, verdict: Verdict) -> tuple[Rows, str]:
        """What to commit of a mail that is shown, and words for its room where a list wants to be written to elsewhere.

        A list's address is the first that a verified author named and that is of the list's own domain. How to leave is
        believed of verified authors whose mail is signed (RFC 8058 section 4), of the domain that said it first.
        """
        name = bulk_of(mail, author)
        if not author.verified or not name:
            return {}, ""
        before = await self.get(mailbox, name) or Bulk(name)
        now, words = before, ""
        post = post_of(mail)
        if post and mail.list_id and _own(post, mail.list_id):
            if not before.post:
                now = replace(now, post=post)
            elif before.post != post:
                words = f"the list says that it takes mail at {post} now; what is written here goes to {before.post}"
        signed = any(one.result is Result.PASS for one in verdict.signatures)
        leave = mail.unsubscribe[0] if mail.one_click and mail.unsubscribe else ""
        if leave and signed and len(leave) <= _LONGEST and before.domain in ("", author.address.domain):
            now = replace(now, leave=leave, domain=author.address.domain)
        return ({} if now == before else {_key(mailbox, name): _packed(now)}), words


def came_by_list(mail: Mail, author: Author, sender: Address | None, verdict: Verdict) -> bool:
    """Whether the list's own domain answers for a mail that says to be of a list: by a signature, its reverse-path, or
    as its author's. `sender` is the reverse-path. A List-Id alone stands in public archives, for anybody to use."""
    answering = [one.domain for one in verdict.signatures if one.result is Result.PASS]
    answering += [sender.domain] if sender is not None and verdict.spf is Result.PASS else []
    answering += [author.address.domain] if author.verified else []
    return bool(mail.list_id) and any(_is_below(mail.list_id, domain.casefold()) for domain in answering)


def bulk_of(mail: Mail, author: Author) -> str:
    """The name of who sends a mail to many: its list, or its author where it says how to leave; else empty."""
    return mail.list_id or (author.address.key if author.verified and mail.one_click else "")


def post_of(mail: Mail) -> str:
    """The address that its list takes mail at; empty without one, and without a list."""
    try:
        found = addresses(mail.list_post.partition("?")[0]) if mail.list_id else ()
    except LetterheadError:
        return ""
    return found[0].key if len(found) == 1 else ""


def _own(post: str, list_id: str) -> bool:
    return _is_below(list_id, post.rpartition("@")[2])


def _is_below(list_id: str, domain: str) -> bool:
    return list_id.casefold() == domain or list_id.casefold().endswith(f".{domain}")


def _packed(bulk: Bulk) -> bytes:
    return orjson.dumps([bulk.name, bulk.post, bulk.leave, bulk.domain])


def _opened(row: bytes) -> Bulk | None:
    with contextlib.suppress(ValueError, TypeError):
        return Bulk(*orjson.loads(row))
    return None


def _begin(mailbox: str) -> str:
    return f"n/{_hash(mailbox)}/"


def _key(mailbox: str, name: str) -> str:
    return _begin(mailbox) + _hash(name)


def _hash(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
