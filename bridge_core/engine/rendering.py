"""What a message becomes on Matrix: the contents of its events, its files uploaded on the way."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.content import Attachment, Content, MediaKind, Mention, Node, Picture, Plain, Profile, RichText
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, NetworkId, RoomId, UserId
from bridge_core.content.limits import Limits
from bridge_core.content.messages import media_content, message_content, related, sticker_content
from bridge_core.content.parts import cost, fit_event
from bridge_core.content.places import location_content
from bridge_core.content.polls import POLL_STARTS, poll_content
from bridge_core.content.profiles import add_profile
from bridge_core.content.tree import changed, nodes_of
from bridge_core.engine.matrix_ports import MatrixRejectedError, TooLargeError
from bridge_core.engine.media import MediaCarrier
from bridge_core.engine.names import Names

log = structlog.get_logger(__name__)

_REMOVED: Final = Content((Plain("(removed by an edit)"),))
_MESSAGE: Final = "m.room.message"
_STICKER: Final = "m.sticker"
_MOST_PICTURES: Final = 20
_MOST_MENTIONS: Final = 50
_UNITS: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True, slots=True)
class Part:
    """One event of a message: its type and content."""

    type: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: its room, what it answers, its thread and the latest event there, what it replaces."""

    room: RoomId
    reply_to: EventId | None = None
    thread: EventId | None = None
    last: EventId | None = None
    replaces: Sequence[EventId] = ()
    shared: bool = False
    """Other rooms may show the same files."""


class Rendering:
    """Renders messages."""

    def __init__(self, names: Names, media: MediaCarrier, limits: Limits) -> None:
        self._names = names
        self._media = media
        self._limits = limits
        self._resolvers: dict[str, Callable[[Mention], UserId | None]] = {}
        self._sealed: Callable[[RoomId, UserId], Awaitable[bool]] | None = None

    def seal_by(self, sealed: Callable[[RoomId, UserId], Awaitable[bool]]) -> None:
        """Ask this whether what a user says in a room is encrypted: then its files are too."""
        self._sealed = sealed

    async def parts(
        self,
        network: NetworkId,
        user: UserId,
        key: str,
        content: Content,
        place: Place,
        profile: Profile | None = None,
    ) -> list[Part]:
        """The events that say it: a poll or place, files, the first with the text as caption, then long text.

        `user` says it, for whom `profile` says, and `key` names the message in the ids of its uploads. A file that is
        refused is left out, and the text says so. An edit replaces the message's events one by one: what is more
        follows as further events, and of those that are too many each says that it was removed. Raises TransientError
        and RateLimitedError.
        """
        if profile is None and not place.replaces and _is_plain(content):  # nearly every message
            said = message_content(content, reply_to=place.reply_to, thread=place.thread, last=place.last)
            return [Part(_MESSAGE, said)]
        resolver = self._resolver(network)
        sealed = await self._is_sealed(place.room, user)
        files, notes = await self._carried(content.attachments, user, key, sealed=sealed)
        text = await self._with_pictures(content.text, user, key, sealed=sealed)
        carried = bool(content.attachments) or text is not content.text
        if carried and not sealed and await self._is_sealed(place.room, user):
            # It became encrypted while they were uploaded: who reads there never hears of the clear ones.
            sealed, there = True, {attachment.source for attachment in content.attachments}
            clear = [file.source for file in files if file.source not in there]
            await self._media.withdraw(clear, shared=place.shared)
            files, notes = await self._carried(content.attachments, user, key, sealed=True)
            text = await self._with_pictures(content.text, user, key, sealed=True)
        content = replace(content, text=text)
        if notes:
            content = replace(content, text=(*content.text, Plain("\n" * bool(content.text) + "\n".join(notes))))
        writing = _Writing(content, place, resolver)
        # An edit says its text twice, the new content and the same for old clients; so does a text behind a name.
        named = profile is not None and bool(profile.name)
        most = self._limits.encrypted_event_bytes if sealed else self._limits.event_bytes
        budget = most // ((2 if place.replaces else 1) * (2 if named else 1))
        text = writing.whole(content.text)
        for file in files:
            # A caption is part of its file's event; a text too long for that follows on its own.
            caption = text if not writing.parts and cost(text, resolver) <= budget // 2 else ()
            text = () if caption else text
            writing.file(file, caption)
        for piece in fit_event(text, budget, resolver) if text else ():
            writing.text(piece)
        writing.rest()
        if profile is not None:
            avatar = await self._address("avatar", profile.avatar, user, f"{key}.profile") if profile.avatar else None
            for part in writing.parts:
                add_profile(part.content, profile, avatar)
        return writing.parts

    async def _is_sealed(self, room: RoomId, user: UserId) -> bool:
        return self._sealed is not None and await self._sealed(room, user)

    async def uploaded(self, picture: Picture, user: UserId, key: str) -> str | None:
        """The picture's address on Matrix; None when it cannot be had. Raises TransientError and RateLimitedError."""
        return await self._address(picture.alt or "emoji", picture.source, user, key) if picture.source else None

    async def _address(self, name: str, source: str, user: UserId, key: str) -> str | None:
        try:
            file = await self._media.to_matrix(Attachment(MediaKind.IMAGE, name, source), user, key)
        except RejectedError as error:
            log.info("picture_left_out", error=str(error))
            return None
        return file.source

    async def _with_pictures(self, text: RichText, user: UserId, key: str, *, sealed: bool) -> RichText:
        """The text with its pictures on Matrix; those that cannot be there are words.

        So are all in an encrypted room: a picture within a text cannot be encrypted.
        """
        elsewhere = sorted({source for source in _sources(text) if not source.startswith("mxc://")})
        if not elsewhere:
            return text
        there = {
            source: await self._address("emoji", source, user, f"{key}.emoji.{number}")
            for number, source in enumerate(elsewhere[: 0 if sealed else _MOST_PICTURES])
        }

        def carried(node: Node) -> RichText | None:
            if not isinstance(node, Picture) or node.source is None or node.source.startswith("mxc://"):
                return None
            return (replace(node, source=there.get(node.source)),)

        return changed(text, carried)

    async def finished(self, content: Content) -> None:
        """The message has ended well, or never will: its files leave the spool."""
        for attachment in content.attachments:
            await self._media.done(attachment)
        if not is_short(content.text):
            for source in _sources(content.text):
                await self._media.done(Attachment(MediaKind.IMAGE, "", source))

    async def _carried(
        self, attachments: Sequence[Attachment], user: UserId, key: str, *, sealed: bool
    ) -> tuple[list[Attachment], list[str]]:
        """The files on Matrix, and what is to be said of those that are not."""
        files: list[Attachment] = []
        notes: list[str] = []
        for index, attachment in enumerate(attachments):
            try:
                files.append(await self._media.to_matrix(attachment, user, f"{key}.{index}", sealed=sealed))
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


class _Writing:
    """Collects the events of one message, each in its place."""

    def __init__(self, content: Content, place: Place, resolver: Callable[[Mention], UserId | None]) -> None:
        self.parts: list[Part] = []
        self._content = content
        self._place = place
        self._resolver = resolver
        named = [resolver(one) if one.matrix is None else one.matrix for one in content.mentions[:_MOST_MENTIONS]]
        self._users = tuple(dict.fromkeys(user for user in named if user is not None))

    def whole(self, text: RichText) -> RichText:
        """Write what is a kind of message of its own; the text that is left."""
        content = self._content
        kind, said = _MESSAGE, None
        if content.poll is not None:
            kind, said = POLL_STARTS[-1], poll_content(content.poll, text)
        elif content.location is not None:
            said = location_content(content.location, text)
        if said is None:
            return text
        self._add(kind, related(said, self._reply(), self._place.thread, self._replaced(), self._place.last))
        return ()

    def file(self, file: Attachment, caption: RichText) -> None:
        """Write a file; a sticker that is nothing else as one."""
        place, replaces = self._place, self._replaced()
        keys = orjson.loads(file.keys) if file.keys is not None else None
        if file.kind is MediaKind.STICKER and not caption and replaces is None:
            said = sticker_content(
                file, file.source, file=keys, reply_to=self._reply(), thread=place.thread, last=place.last
            )
            self._add(_STICKER, said)
            return
        said = media_content(
            file,
            file.source,
            file=keys,
            caption=caption,
            reply_to=self._reply(),
            thread=place.thread,
            replaces=replaces,
            last=place.last,
            resolver=self._resolver,
            notify=self._notified(),
        )
        self._add(_MESSAGE, said)

    def text(self, text: RichText) -> None:
        """Write a text that fits into one event."""
        self._say(replace(self._content, text=text))

    def rest(self) -> None:
        """Of the events that an edit leaves over, each says that it was removed."""
        while self._replaced() is not None:
            self._say(_REMOVED)

    def _say(self, content: Content) -> None:
        said = message_content(
            content,
            reply_to=self._reply(),
            thread=self._place.thread,
            replaces=self._replaced(),
            last=self._place.last,
            resolver=self._resolver,
            notify=self._notified(),
        )
        self._add(_MESSAGE, said)

    def _add(self, kind: str, content: dict[str, Any]) -> None:
        if self._content.mentions_all and not self.parts and not self._place.replaces:
            content["m.mentions"] = {**content["m.mentions"], "room": True}
        self.parts.append(Part(kind, content))

    def _notified(self) -> tuple[UserId, ...]:
        return self._users if not self.parts else ()

    def _reply(self) -> EventId | None:
        return self._place.reply_to if not self.parts else None

    def _replaced(self) -> EventId | None:
        number = len(self.parts)
        return self._place.replaces[number] if number < len(self._place.replaces) else None


def _is_plain(content: Content) -> bool:
    if not is_short(content.text) or content.attachments or content.mentions or content.mentions_all:
        return False
    return content.poll is None and content.location is None


def _sources(text: RichText) -> set[str]:
    return {node.source for node in nodes_of(text) if isinstance(node, Picture) and node.source is not None}


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
