"""What is remembered of mails that were written here: to write them anew, as long as they are held back."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from bridge_core.api.content import Content
from bridge_core.api.host import KV
from bridge_core.api.ids import MessageId
from bridges.email.codec.addresses import Address
from bridges.email.letterhead import Letterhead
from bridges.email.ports import Draft
from bridges.email.threads import Rows


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail without its words. `user` is who wrote it, `token` names its conversation.

    `said` are the keys of those whom the lines on top of it named, in their order: To, Cc, Bcc.
    """

    draft: Draft
    user: str
    token: str = ""
    bcc: tuple[Address, ...] = ()
    said: tuple[tuple[str, ...], ...] = ((), (), ())
    openly: tuple[str, ...] = ()
    """The keys of those whom lines or commands named in To or Cc: they take part from now on."""
    correction: str = ""
    correction_key: str = ""
    """The id of the last correction that was sent after it, and the key that this one was made from."""
    withdrawn: bool = False
    """It was taken back before anybody got it."""

    def to_others(self, head: Letterhead) -> bool:
        """Whether these lines name other people than those that the mail had."""
        return head.given and named(head) != self.said


class SentMails:
    """Kept in the network's store."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def get(self, mailbox: str, message_id: MessageId) -> SentMail | None:
        """The mail; None where it was not written here, by that mailbox."""
        row = await self._kv.get(_key(mailbox, message_id))
        return opened(row) if row is not None else None

    def rows(self, mailbox: str, message_id: MessageId, mail: SentMail) -> Rows:
        """What to commit."""
        return {_key(mailbox, message_id): packed(mail)}


def named(head: Letterhead) -> tuple[tuple[str, ...], ...]:
    """The keys of whom the lines on top of a mail name."""
    return tuple(tuple(one.key for one in people) for people in (head.to, head.cc, head.bcc))


def packed(mail: SentMail) -> bytes:
    """As it is stored."""
    draft = mail.draft
    reply_to = (draft.reply_to,) if draft.reply_to is not None else ()
    return orjson.dumps(
        {
            "key": draft.key,
            "user": mail.user,
            "token": mail.token,
            "people": [_plain(group) for group in ((draft.author,), draft.to, draft.cc, reply_to, mail.bcc)],
            "said": mail.said,
            "openly": mail.openly,
            "correction": [mail.correction, mail.correction_key, mail.withdrawn],
            "subject": draft.subject,
            "in_reply_to": draft.in_reply_to,
            "references": draft.references,
            "written_at": draft.written_at,
            "signature": draft.signature,
            "hops": draft.hops,
        }
    )


def opened(row: bytes) -> SentMail | None:
    """What was stored; None where it cannot be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
        data: Mapping[str, Any] = orjson.loads(row)
        author, to, cc, reply_to, bcc = (tuple(Address(*one) for one in group) for group in data["people"])
        draft = Draft(
            data["key"],
            Content(),
            author[0],
            to,
            cc,
            reply_to=reply_to[0] if reply_to else None,
            subject=data["subject"],
            in_reply_to=data["in_reply_to"],
            references=tuple(data["references"]),
            written_at=data["written_at"],
            signature=data["signature"],
            hops=data["hops"],
        )
        said = tuple(tuple(one) for one in data["said"])
        correction, correction_key, withdrawn = data["correction"]
        openly = tuple(data["openly"])
        return SentMail(draft, data["user"], data["token"], bcc, said, openly, correction, correction_key, withdrawn)
    return None


def _plain(group: Iterable[Address]) -> list[tuple[str, str, str]]:
    return [(one.local, one.domain, one.name) for one in group]


def _key(mailbox: str, message_id: str) -> str:
    return f"o/{blake2b(f'{mailbox} {message_id}'.encode(errors='replace'), digest_size=16).hexdigest()}"
