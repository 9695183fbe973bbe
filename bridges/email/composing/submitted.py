"""Mails that a mail program wrote, made ready to be sent on: as they are, but for what a submission server does.

Source: RFC 6409, section 8 (what a submission server may add), RFC 5322 3.6.3 (Bcc goes no further than to it).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from typing import Final, cast

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Blobs, Clock
from bridges.email.codec.canonical import field_name
from bridges.email.codec.fields import FieldError, word_field
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.signing import BodyHash, Key, signature
from bridges.email.mail import Envelope
from bridges.email.ports import OpenRaw, OutgoingMail
from bridges.email.trust.head import LARGEST, Head, read_mail

_KEPT_HERE: Final = frozenset({"bcc", "resent-bcc", "return-path"})
_END: Final = b"\r\n\r\n"


class SubmittedMails:
    """Makes what goes into the outbox. `keys` sign what is from their domain; `max_size` is of the whole in bytes."""

    def __init__(
        self, blobs: Blobs, clock: Clock, tokens: Tokens, keys: Mapping[str, Sequence[Key]], max_size: int
    ) -> None:
        self._blobs = blobs
        self._clock = clock
        self._tokens = tokens
        self._keys = keys
        self._max_size = max_size

    def own_id(self, envelope: Envelope) -> str:
        """The Message-ID, without brackets, of a mail that has none: the same each time."""
        domain = envelope.sender.wire_domain if envelope.sender is not None else (envelope.login or "").split("@")[-1]
        return self._tokens.message_id(f"submitted {envelope.id}", domain)

    async def prepared(self, envelope: Envelope, message_id: str, open_raw: OpenRaw) -> OutgoingMail:
        """The mail as it goes out, in the spool; `message_id` is put in where it has none. Reads it twice, in pieces.

        Another call for the same envelope makes the same mail. Raises RejectedError in words, and as `Blobs.put`.
        """
        head = await read_mail(open_raw, lambda _: ())
        authors = head.authors()
        if not authors:
            raise RejectedError("the head of the mail cannot be read")
        if envelope.size > self._max_size:
            raise RejectedError(f"it is larger than {self._max_size >> 20} MiB, which is the most that is sent")
        try:
            fields = self._fields(envelope, head, message_id)
        except FieldError as error:
            raise RejectedError(f"the mail cannot be sent on: {error}") from error
        keys = self._keys.get(authors[0].domain, ())
        hashed, size, eight_bit = BodyHash(), 0, False

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal size, eight_bit
            whole = b"".join(fields) + b"\r\n"
            size += len(whole)
            yield whole
            async with aclosing(_body(open_raw)) as body:
                async for chunk in body:
                    size += len(chunk)
                    eight_bit = eight_bit or not chunk.isascii()
                    if keys:
                        hashed.feed(chunk)
                    yield chunk

        blob = await self._blobs.put(chunks(), self._max_size + LARGEST)
        signatures = b""
        if keys:
            digest, at = hashed.digest(), envelope.received_at // 1000
            signatures = b"".join(signature(key, fields, digest, at) for key in keys)
        utf8 = envelope.utf8 or not b"".join(fields).isascii()
        name = sha256(f"submitted {envelope.id}".encode()).hexdigest()[:24]
        size += len(signatures)
        return OutgoingMail(name, message_id, envelope.sender, blob, size, utf8, eight_bit, signatures)

    def _fields(self, envelope: Envelope, head: Head, message_id: str) -> list[bytes]:
        kept = [one for one in head.fields if field_name(one) not in _KEPT_HERE]
        there = {field_name(one) for one in kept}
        if not there & {"to", "cc"}:
            # Mail to Bcc alone: some servers refuse what has no recipient at all in its head.
            kept.append(word_field("To", "undisclosed-recipients:;"))
        if "date" not in there:
            written_at = datetime.fromtimestamp(envelope.received_at / 1000, UTC)
            kept.append(word_field("Date", format_datetime(written_at)))
        if not envelope.has_id:
            kept.append(word_field("Message-ID", f"<{message_id}>"))
        return kept


async def _body(open_raw: OpenRaw) -> AsyncGenerator[bytes, None]:
    """What comes behind the empty line."""
    seen = b""
    within = False
    async with aclosing(cast("AsyncGenerator[bytes, None]", open_raw())) as chunks:
        async for chunk in chunks:
            if within:
                yield chunk
                continue
            # The mail begins with a header of our own, so that the line is never the first.
            seen += chunk
            end = seen.find(_END)
            if end >= 0:
                within = True
                if rest := seen[end + len(_END) :]:
                    yield rest
                seen = b""
