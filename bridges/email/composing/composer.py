"""Drafts become mails in the spool."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from typing import Final

import orjson

from bridge_core.api.content import Attachment
from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Host
from bridges.email.codec.addresses import Address
from bridges.email.codec.fields import (
    FieldError,
    address_field,
    bare_address,
    ids_field,
    text_field,
    thread_of,
    word_field,
)
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.files import Chosen, chosen, mime_of, name_of
from bridges.email.composing.parts import (
    Part,
    file_part,
    gmail_part,
    html_part,
    multipart,
    reaction_part,
    text_part,
    written,
)
from bridges.email.composing.signing import BodyHash, Key, signature
from bridges.email.composing.words import words_of
from bridges.email.config.composing import Composing, Html
from bridges.email.ports import Draft, OutgoingMail

_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]+")
_LONGEST_SUBJECT: Final = 250
_LONGEST_NAME: Final = 120
_TOO_LARGE: Final = "the mail with its files is larger than may be sent"


@dataclass(frozen=True, slots=True)
class _Written:
    """What went into the spool."""

    blob: str
    size: int
    head: bytes


class MailComposer:
    """The `Composer` of ports. `keys` sign what is from their domain; `bridge` is the id of this bridge in headers."""

    def __init__(
        self, host: Host, tokens: Tokens, settings: Composing, *, bridge: str, keys: Mapping[str, Sequence[Key]]
    ) -> None:
        self._host = host
        self._tokens = tokens
        self._settings = settings
        self._bridge = bridge
        self._keys = keys

    async def compose(self, draft: Draft) -> OutgoingMail:
        """As `Composer.compose`. Reads the files while it writes; never a whole one in memory.

        Raises RejectedError (a file is gone, too many bridges crossed, a name that no header can hold), and what
        `Host.open` and `Blobs.put` raise for now (TransientError, RateLimitedError).
        """
        if draft.hops >= self._settings.max_hops:
            raise RejectedError(f"it came over {draft.hops} bridges already, and would go round in circles")
        draft = _cleaned(draft)
        message_id = self._tokens.message_id(draft.key, draft.author.wire_domain)
        utf8 = not all(one.ascii for one in (draft.author, draft.reply_to, *draft.to, *draft.cc) if one is not None)
        try:
            fields = self._fields(draft, message_id, utf8=utf8)
            try:
                spooled = await self._spool(draft, fields, sure=False)
            except RejectedError:
                if all(file.size is not None for file in draft.content.attachments):
                    raise
                # A file whose size nobody had told was too large.
                spooled = await self._spool(draft, fields, sure=True)
        except FieldError as error:
            raise RejectedError(f"the mail cannot be written: {error}") from error
        name = sha256(message_id.encode()).hexdigest()[:24]
        sender = None if draft.automatic else draft.author.named("")
        return OutgoingMail(name, message_id, sender, spooled.blob, spooled.size, utf8=utf8, head=spooled.head)

    def _fields(self, draft: Draft, message_id: str, *, utf8: bool) -> list[bytes]:
        written_at = datetime.fromtimestamp(draft.written_at / 1000, UTC)
        fields = [
            word_field("Date", format_datetime(written_at)),
            address_field("From", (draft.author,), utf8=utf8),
            address_field("To", draft.to, utf8=utf8) if draft.to else word_field("To", "undisclosed-recipients:;"),
        ]
        if draft.cc:
            fields.append(address_field("Cc", draft.cc, utf8=utf8))
        if draft.reply_to is not None:
            fields.append(address_field("Reply-To", (draft.reply_to,), utf8=utf8))
        fields += [text_field("Subject", draft.subject), word_field("Message-ID", f"<{message_id}>")]
        parent = (draft.reacts and draft.in_reply_to) or draft.in_reply_to or draft.edits or draft.redacts
        for one in (
            ids_field("In-Reply-To", (parent,)),
            # Gmail takes a mail for a reaction only where it names one mail.
            ids_field("References", (parent,) if draft.reacts else thread_of(draft.references, parent)),
            ids_field("Chat-Edit", (draft.edits,)),
            ids_field("Chat-Delete", (draft.redacts,)),
        ):
            if one is not None:
                fields.append(one)
        if draft.edits or draft.redacts:
            fields.append(word_field("Chat-Version", "1.0"))
        fields.append(word_field("X-Matrix-Bridge", f"{self._bridge}; hops={draft.hops + 1}"))
        if draft.automatic:
            fields += [word_field("Auto-Submitted", "auto-generated"), word_field("X-Auto-Response-Suppress", "All")]
        if draft.list_id:
            fields += self._list_fields(draft, utf8=utf8)
        fields.append(word_field("MIME-Version", "1.0"))
        return fields

    def _list_fields(self, draft: Draft, *, utf8: bool) -> list[bytes]:
        post = bare_address("List-Post", draft.reply_to or draft.author, utf8=utf8)
        return [
            word_field("List-Id", f"<{draft.list_id}>"),
            word_field("List-Post", f"<mailto:{post}>"),
            word_field("List-Unsubscribe", f"<mailto:{post}?subject=unsubscribe>"),
            word_field("Precedence", "list"),
        ]

    async def _spool(self, draft: Draft, fields: list[bytes], *, sure: bool) -> _Written:
        files = () if draft.redacts or draft.reacts else draft.content.attachments
        picked = chosen(files, self._settings.max_size, self._host.media_url, sure=sure)
        body = self._body(draft, picked)
        keys = self._keys.get(draft.author.domain, ())
        mime = [one + b"\r\n" for one in re.split(rb"\r\n(?![ \t])", body.fields) if one]
        fields = [*fields, *mime]
        hashed, size = BodyHash(), 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal size
            head = b"".join(fields) + b"\r\n"
            size += len(head)
            yield head
            async for chunk in written(body):
                size += len(chunk)
                if keys:
                    hashed.feed(chunk)
                yield chunk

        try:
            blob = await self._host.blobs.put(chunks(), self._settings.max_size)
        except RejectedError as error:
            if size > self._settings.max_size:
                raise RejectedError(_TOO_LARGE) from error
            raise
        head = b""
        if keys:
            digest = hashed.digest()
            at = self._host.clock.now_ms() // 1000
            head = b"".join(signature(key, fields, digest, at) for key in keys)
        return _Written(blob, size + len(head), head)

    def _body(self, draft: Draft, picked: Chosen) -> Part:
        boundaries = (f"=_{sha256(f'{draft.key}.{number}'.encode()).hexdigest()[:24]}" for number in range(3))
        said = words_of(draft, picked.further, map_links=self._settings.map_links)
        if draft.reacts:
            json = orjson.dumps({"version": 1, "emoji": draft.reacts})
            html = html_part(f"<p>{said.html}</p>")
            return multipart("alternative", (reaction_part(draft.reacts), gmail_part(json), html), next(boundaries))
        pictures = {f"{number}.{draft.author.domain}": file for number, file in enumerate(picked.shown, 1)}
        shown = "".join(f'<p><img src="cid:{cid}" alt=""></p>' for cid in pictures)
        parts = []
        html_wanted = self._settings.html is Html.ALWAYS
        if said.plain or (not picked.attached and not (picked.shown and not html_wanted)):
            parts.append(text_part(said.plain, draft.signature if said.plain else ""))
        images = tuple(self._file(file, cid=cid if html_wanted else "") for cid, file in pictures.items())
        if html_wanted and (said.plain or images):
            parts = [
                text_part(said.plain or _named(picked.shown), draft.signature),
                html_part(said.html + shown, draft.signature),
            ]
            text = multipart("alternative", parts, next(boundaries))
            parts = [multipart("related", (text, *images), next(boundaries))]
        else:
            parts += images
        return multipart("mixed", (*parts, *map(self._file, picked.attached)), next(boundaries))

    def _file(self, file: Attachment, cid: str = "") -> Part:
        return file_part(lambda: self._host.open(file), name_of(file), mime_of(file), cid=cid, inline=bool(cid))


def _named(files: Sequence[Attachment]) -> str:
    return "\n".join(f"[{name_of(file)}]" for file in files)


def _cleaned(draft: Draft) -> Draft:
    """What people of Matrix may have put into names and subject, as it can stand in a header."""

    def person(address: Address) -> Address:
        return address.named(_one_line(address.name, _LONGEST_NAME))

    return replace(
        draft,
        author=person(draft.author),
        to=tuple(map(person, draft.to)),
        cc=tuple(map(person, draft.cc)),
        reply_to=person(draft.reply_to) if draft.reply_to is not None else None,
        subject=_one_line(draft.subject, _LONGEST_SUBJECT),
    )


def _one_line(text: str, longest: int) -> str:
    line = " ".join(_UNSEEN.sub(" ", text).split())
    return line if len(line) <= longest else f"{line[: longest - 4].rstrip()} ..."
