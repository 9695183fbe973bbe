"""What a message becomes on Matrix: the contents of its events, its files uploaded on the way."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.content import Attachment, Content, Mention, Plain, RichText
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, NetworkId, UserId
from bridge_core.content.limits import Limits
from bridge_core.content.messages import media_content, message_content
from bridge_core.content.parts import cost, fit_event
from bridge_core.engine.matrix_ports import MatrixRejectedError, TooLargeError
from bridge_core.engine.media import MediaCarrier
from bridge_core.engine.names import Names

log = structlog.get_logger(__name__)

_REMOVED: Final = Content((Plain("(removed by an edit)"),))
_UNITS: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Rendering:
    """Renders messages."""

    def __init__(self, names: Names, media: MediaCarrier, limits: Limits) -> None:
        self._names = names
        self._media = media
        self._limits = limits
        self._resolvers: dict[str, Callable[[Mention], UserId | None]] = {}

    async def parts(
        self,
        network: NetworkId,
        user: UserId,
        key: str,
        content: Content,
        *,
        reply_to: EventId | None = None,
        thread: EventId | None = None,
        replaces: Sequence[EventId] = (),
    ) -> list[dict[str, Any]]:
        """The contents of the events that say it: files first, the first with the text as caption, then long text.

        `user` says it, and `key` names the message in the ids of its uploads. A file that is refused is left out, and
        the text says so. An edit `replaces` the message's events one by one: what is more follows as further events,
        and of those that are too many each says that it was removed. Raises TransientError and RateLimitedError.
        """
        resolver = self._resolver(network)
        files, notes = await self._carried(content.attachments, user, key)
        if notes:
            content = replace(content, text=(*content.text, Plain("\n" * bool(content.text) + "\n".join(notes))))
        # An edit says its text twice: the new content, and the same for old clients.
        budget = self._limits.event_bytes // 2 if replaces else self._limits.event_bytes
        parts: list[dict[str, Any]] = []

        def replaced() -> EventId | None:
            return replaces[len(parts)] if len(parts) < len(replaces) else None

        text = content.text
        for file in files:
            # A caption is part of its file's event; a text too long for that follows on its own.
            caption = text if not parts and cost(text, resolver) <= budget // 2 else ()
            text = () if caption else text
            parts.append(
                media_content(
                    file,
                    file.source,
                    file=orjson.loads(file.keys) if file.keys is not None else None,
                    caption=caption,
                    reply_to=reply_to if not parts else None,
                    thread=thread,
                    replaces=replaced(),
                    resolver=resolver,
                )
            )
        if text is content.text and not replaces and is_short(text):
            parts.append(
                message_content(content, reply_to=reply_to if not parts else None, thread=thread, resolver=resolver)
            )
        elif text:
            for piece in fit_event(text, budget, resolver):
                parts.append(
                    message_content(
                        replace(content, text=piece),
                        reply_to=reply_to if not parts else None,
                        thread=thread,
                        replaces=replaced(),
                        resolver=resolver,
                    )
                )
        while (event := replaced()) is not None:
            parts.append(message_content(_REMOVED, replaces=event))
        return parts

    async def finished(self, content: Content) -> None:
        """The message has ended well, or never will: its files leave the spool."""
        for attachment in content.attachments:
            await self._media.done(attachment)

    async def _carried(
        self, attachments: Sequence[Attachment], user: UserId, key: str
    ) -> tuple[list[Attachment], list[str]]:
        """The files on Matrix, and what is to be said of those that are not."""
        files: list[Attachment] = []
        notes: list[str] = []
        for index, attachment in enumerate(attachments):
            try:
                files.append(await self._media.to_matrix(attachment, user, f"{key}.{index}"))
            except RejectedError as error:
                log.warning("file_left_out", size=attachment.size, error=str(error))
                notes.append(_note(attachment, error))
        return files, notes

    def _resolver(self, network: NetworkId) -> Callable[[Mention], UserId | None]:
        resolver = self._resolvers.get(network)
        if resolver is None:

            def resolve(mention: Mention) -> UserId | None:
                return self._names.ghost(network, mention.remote) if mention.remote else None

            resolver = self._resolvers[network] = resolve
        return resolver


def is_short(text: RichText) -> bool:
    """Whether a text surely fits into one event, told without rendering it: nearly every message is."""
    return len(text) == 1 and isinstance(text[0], Plain) and len(text[0].text) < 8_000


def _note(attachment: Attachment, error: RejectedError) -> str:
    too_large = isinstance(error, TooLargeError) or (
        isinstance(error, MatrixRejectedError) and error.errcode == "M_TOO_LARGE"
    )
    size = f"{_size(attachment.size)}, " if attachment.size is not None else ""
    name = " ".join(attachment.name[:100].split())
    return f"(file {name}: {size}{'too large' if too_large else 'could not be carried'})"


def _size(number: int) -> str:
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{number} bytes"
