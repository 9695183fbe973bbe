"""What is remembered of mails that were written here: to write them anew, as long as they are held back."""

import contextlib
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from bridge_core.api.content import Content
from bridge_core.api.host import KV
from bridge_core.api.ids import MessageId
from bridges.email.codec.addresses import Address
from bridges.email.ports import Draft
from bridges.email.threads import Rows


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail without its words. `user` is who wrote it."""

    draft: Draft
    user: str


class SentMails:
    """Kept in the network's store, sealed."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def get(self, message_id: MessageId) -> SentMail | None:
        """The mail; None where it was not written here."""
        row = await self._kv.get(_key(message_id))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if row is not None:
                return _opened(orjson.loads(row))
        return None

    def rows(self, message_id: MessageId, mail: SentMail) -> Rows:
        """What to commit."""
        draft = mail.draft
        reply_to = (draft.reply_to,) if draft.reply_to is not None else ()
        return {
            _key(message_id): orjson.dumps(
                {
                    "key": draft.key,
                    "user": mail.user,
                    "people": [_plain(group) for group in ((draft.author,), draft.to, draft.cc, reply_to)],
                    "subject": draft.subject,
                    "in_reply_to": draft.in_reply_to,
                    "references": draft.references,
                    "written_at": draft.written_at,
                }
            )
        }


def _plain(group: tuple[Address, ...]) -> list[tuple[str, str, str]]:
    return [(one.local, one.domain, one.name) for one in group]


def _opened(data: dict[str, object]) -> SentMail:
    people = data["people"]
    assert isinstance(people, list)
    author, to, cc, reply_to = (tuple(Address(*one) for one in group) for group in people)
    draft = Draft(
        str(data["key"]),
        Content(),
        author[0],
        to,
        cc,
        reply_to=reply_to[0] if reply_to else None,
        subject=str(data["subject"]),
        in_reply_to=str(data["in_reply_to"]),
        references=tuple(data["references"]),  # type: ignore[arg-type]
        written_at=int(data["written_at"]),  # type: ignore[call-overload]
    )
    return SentMail(draft, str(data["user"]))


def _key(message_id: str) -> str:
    return f"o/{blake2b(message_id.encode(errors='replace'), digest_size=16).hexdigest()}"
