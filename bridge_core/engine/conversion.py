"""What each remote event becomes on Matrix: the final requests, before anything is sent."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, get_args

from bridge_core.api.content import Content
from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteGap,
    RemoteMessage,
    RemotePollEnd,
    RemoteReaction,
    RemoteRedaction,
    RemoteRename,
    RemoteSender,
    RemoteVote,
)
from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine import requests
from bridge_core.engine.expiry import Expiry, mark
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.payload import BotNotice, BotWords, PayloadError, RoomCopy, decode
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.precedence import is_past
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.quoting import FOR_SOME
from bridge_core.engine.rendering import Place, Rendering
from bridge_core.engine.requests import Prepared
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.secrecy import ONLY
from bridge_core.engine.store_ports import GhostRow, MessageRow, Messages, PortalRow
from bridge_core.engine.takebacks import Takebacks
from bridge_core.engine.threads import Threads

Referring = RemoteEdit | RemoteRedaction | RemoteReaction
_MESSAGE: Final = "m.room.message"
_LATEST: Final = 253_402_300_799_000
"""The last second that has a date, in milliseconds: networks say what they like."""


_BY_GHOSTS: Final = frozenset({RemoteMessage, RemoteEdit, RemoteRedaction, RemoteReaction, BotNotice, RoomCopy})
"""What passes the gate when its ghost is looked for, or needs to pass none."""

Converter = Callable[[Entry, Any], Awaitable[list[Prepared]]]
"""Makes the final requests of one event of one class. Raises NothingToDo, and what the Matrix side raises."""

Elsewhere = Callable[[RoomId], Awaitable[RoomId | None]]
"""Where what a portal's room refuses is to be said instead; None: nowhere. RejectedError when the room is gone."""


class NothingToDo(BridgeError):  # noqa: N818 - not a failure: the event ends here, counted with this reason
    """The event has no effect on Matrix; the text says why, for the admin."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is needed to do something to a message: the ghost, the rooms that refuse it and why, the message's events.

    `first` are the first events of the message by room; `txn` makes the id of a send of some kind into a room.
    """

    ghost: GhostRow
    refused: Mapping[RoomId, str]
    first: Mapping[RoomId, MessageRow]
    txn: Callable[[str, RoomId], str]


class Conversion:
    """Converts remote events. Rooms and ghosts that are missing are made on the way: both are idempotent."""

    def __init__(
        self,
        names: Names,
        portals: PortalIndex,
        ghosts: GhostPool,
        messages: Messages,
        rooms: RoomMaker,
        matrix: MatrixSide,
        rendering: Rendering,
        gate: Gate,
        threads: Threads,
        expiry: Expiry,
        puppets: DoublePuppets,
        takebacks: Takebacks,
    ) -> None:
        self._names = names
        self._portals = portals
        self._ghosts = ghosts
        self._messages = messages
        self._rooms = rooms
        self._matrix = matrix
        self._rendering = rendering
        self._gate = gate
        self._threads = threads
        self._takebacks = takebacks
        self._expiry = expiry
        self._puppets = puppets
        self._converters: dict[type, Converter] = {
            RemoteMessage: self._message,
            BotNotice: self._said,
            RemoteEdit: self._edit,
            RemoteRedaction: self._redaction,
            RemoteReaction: self._reaction,
            RemoteGap: self._gap,
            RemoteRename: self._rename,
        }
        self._referring: set[type] = set(get_args(Referring))
        self._past: Callable[[Entry, Any], Awaitable[None]] | None = None
        self._bot_device: str | None = None
        self._elsewhere: Elsewhere | None = None
        self._read: Callable[[RoomId, int], Awaitable[str]] | None = None

    def guard_audience(self, read: Callable[[RoomId, int], Awaitable[str]]) -> None:
        """Ask this why a message for people of some power may not be shown in a room; empty when it may."""
        self._read = read

    def look(self, elsewhere: Elsewhere) -> None:
        """Ask this where a chat is whose room refuses a ghost."""
        self._elsewhere = elsewhere

    def add(self, kind: type, converter: Converter, *, refers: bool = False) -> None:
        """Convert events of a class so. `refers`: only once it is known what became of earlier ones of their lane."""
        if kind in self._converters:
            raise ValueError(f"{kind.__name__} is converted already")
        self._converters[kind] = converter
        if refers:
            self._referring.add(kind)

    def guard_past(self, check: Callable[[Entry, Any], Awaitable[None]]) -> None:
        """Ask this for each event of a chat's past: it raises NothingToDo for what may not be shown."""
        self._past = check

    def looks_back(self, event: RemoteEvent | BotWords) -> bool:
        """Whether the event needs to know what became of earlier ones of its lane."""
        if isinstance(event, RemoteMessage):
            return event.reply_to is not None or event.thread is not None
        return type(event) in self._referring

    async def requests(self, entry: Entry) -> list[Prepared]:
        """The final requests for an entry. Raises NothingToDo, and what the Matrix side raises."""
        converter = self._converters.get(type(entry.event))
        if converter is None:
            raise NothingToDo(f"{type(entry.event).__name__} is not mirrored")
        if self._past is not None and is_past(entry.lane):
            await self._past(entry, entry.event)
        if type(entry.event) not in _BY_GHOSTS:
            self._gate.event(NetworkId(entry.network), entry.event)
        return self._puppets.marked(await converter(entry, entry.event), entry.event)

    async def _said(self, entry: Entry, event: BotNotice) -> list[Prepared]:
        said = await self.notice(entry, event.room, event.text, event.about, event.mentions, event.only)
        return [replace(said, noted=event.key)]

    async def _rename(self, entry: Entry, event: RemoteRename) -> list[Prepared]:
        await self._ghosts.ensure(NetworkId(entry.network), event.new)
        raise NothingToDo("profile updated")

    async def finished(self, entry: Entry) -> None:
        """The entry has ended well, or never will: its files leave the spool."""
        try:
            event = entry.event if entry.event is not None else decode(entry.payload, entry.version)
        except PayloadError:
            return
        if isinstance(event, RemoteMessage | RemoteEdit):
            await self._rendering.finished(event.content)
        elif isinstance(event, RemoteReaction) and event.picture is not None:
            await self._rendering.finished(Content((event.picture,)))

    async def _portal(self, entry: Entry, chat: ChatId, receiver: LoginId | None) -> PortalRow:
        key = PortalKey(NetworkId(entry.network), chat, receiver)
        portal = self._portals.meant(key, entry.id)
        if portal is None:
            if receiver is None:
                raise NothingToDo("no portal for this chat")
            self._gate.unmade(key.network, chat, receiver)
            portal = await self._portals.ensure(key.network, chat, receiver)
        if not portal.rooms:
            if receiver is not None:
                self._gate.unmade(key.network, portal.chat, receiver)
            await self._rooms.ensure(portal)
            portal = self._portals.by_id(portal.id) or portal
        return portal

    async def _ghost(self, portal: PortalRow, sender: RemoteSender) -> tuple[GhostRow, dict[RoomId, str]]:
        """The ghost, and the rooms that will not have it, with the reason (banned there, say).

        For one of our own logins it is the Matrix user, where the bridge may act as them.
        """
        self._gate.incoming(portal, sender)
        if sender.login is not None and (user := await self._puppets.of(portal, sender)) is not None:
            shut = {room: why for room in portal.rooms if (why := self._gate.room(room))}
            return GhostRow(portal.network, sender.id, user), shut
        ghost = self._ghosts.ready(portal.network, sender)
        if ghost is None:
            ghost = await self._ghosts.ensure(portal.network, sender)
        refused: dict[RoomId, str] = {}
        for room in portal.rooms:
            if why := self._gate.room(room):
                refused[room] = why
            elif not self._ghosts.in_room(room, ghost.user):
                try:
                    await self._ghosts.join(room, ghost.user)
                except MatrixRejectedError as error:
                    refused[room] = await self._why(portal, room, error)
        return ghost, refused

    async def _not_for(self, portal: PortalRow, least: int) -> dict[RoomId, str]:
        """The rooms where others than those of this power read along, with what to say of it."""
        if self._read is None:
            return dict.fromkeys(portal.rooms, "it is for some people of the chat only")
        return {room: why for room in portal.rooms if (why := await self._read(room, least))}

    async def _why(self, portal: PortalRow, room: RoomId, error: MatrixRejectedError) -> str:
        """Why a room will not have a ghost. Raises TransientError when the chat is in another room now instead."""
        try:
            moved = await self._elsewhere(room) if self._elsewhere is not None else None
        except RejectedError as gone:
            return str(gone)
        now = self._portals.by_id(portal.id)
        ended = now is not None and now.receiver is not None and room not in now.rooms  # its next room is made anew
        if moved is not None or ended:
            raise TransientError("the chat has another room now")
        return str(error)

    def _identity(self, entry: Entry, message: MessageId | None) -> str:
        # An entry id alone may come again when a database was restored from an older backup.
        return message or f"~{entry.id}.{entry.received_at}"

    def _txn(self, portal: PortalRow, sender: str, identity: str, part: int, kind: str, room: RoomId) -> str:
        return self._names.send_id(
            portal.network, portal.chat, portal.receiver or "", sender, identity, str(part), kind, room
        )

    async def _message(self, entry: Entry, event: RemoteMessage) -> list[Prepared]:
        portal = await self._portal(entry, event.chat, event.receiver)
        said = event.id if event.sender.login is not None else None
        if said is not None and await self._messages.by_message(portal.id, said):
            raise NothingToDo("it was said from here")
        ghost, refused = await self._ghost(portal, event.sender)
        if event.least_power is not None:
            refused = {**await self._not_for(portal, event.least_power), **refused}
        identity = self._identity(entry, event.id)
        timestamp = event.timestamp or entry.received_at
        timer, due = self._expiry.of_remote(portal, event, entry)
        if self._expiry.over(due):
            raise NothingToDo("it had disappeared before it could be shown")
        out = []
        for room in portal.rooms:
            if room in refused:
                out.append(requests.refused(room, refused[room]))
                continue
            reply = await self._event_in(portal, event.reply_to, room)
            thread = await self._event_in(portal, event.thread, room)
            last = self._threads.last(room, thread)
            place = Place(room, reply, thread, last, shared=len(portal.rooms) > 1)
            parts = await self._rendering.parts(
                portal.network, ghost.user, _upload_key(entry), event.content, place, event.profile
            )
            for number, part in enumerate(parts):
                if timer:
                    mark(part.content, timer)
                if event.least_power is not None:
                    part.content[FOR_SOME] = event.least_power
                txn = self._txn(portal, event.sender.id, identity, number, "message", room)
                request = requests.build(room, part.type, txn, ghost.user, ghost.device, part.content, ts=timestamp)
                made = Prepared(request, portal.id, identity, number, event.sender.id, timestamp)
                if event.also and not number:
                    made = replace(made, also=event.also)
                out.append(made if thread is None and not due else replace(made, thread=thread or "", expires=due))
        if not out:
            raise NothingToDo("nothing to show")
        return out

    async def _event_in(self, portal: PortalRow, message: MessageId | None, room: RoomId) -> EventId | None:
        if message is None:
            return None
        for row in await self._messages.by_message(portal.id, message):
            if row.room == room:
                return row.event
        return None

    async def _targets(self, portal: PortalRow, target: MessageId) -> list[MessageRow]:
        rows = await self._messages.by_message(portal.id, target)
        if not rows:
            raise NothingToDo("it refers to a message that is not known")
        return rows

    async def _edit(self, entry: Entry, event: RemoteEdit) -> list[Prepared]:
        portal = await self._portal(entry, event.chat, event.receiver)
        rows = [row for row in await self._targets(portal, event.target) if row.sender == event.sender.id]
        if not rows:
            raise NothingToDo("an edit by somebody else")
        due = self._expiry.of_edit(portal, entry)
        ghost, refused = await self._ghost(portal, event.sender)
        identity = self._identity(entry, event.id)
        timestamp = event.timestamp or entry.received_at
        out = []
        for room in portal.rooms:
            there = sorted((row for row in rows if row.room == room), key=lambda row: row.part)
            if not there:
                continue
            if room in refused:
                out.append(requests.refused(room, refused[room]))
                continue
            place = Place(room, replaces=[row.event for row in there], shared=len(portal.rooms) > 1)
            parts = await self._rendering.parts(portal.network, ghost.user, _upload_key(entry), event.content, place)
            for number, part in enumerate(parts):
                txn = self._txn(portal, event.sender.id, identity, number, "edit", room)
                request = requests.build(room, part.type, txn, ghost.user, ghost.device, part.content, ts=timestamp)
                # What the message has now more than before belongs to it from here on.
                further = there[-1].part + 1 + number - len(there)
                made = (
                    Prepared(request)
                    if number < len(there)
                    else Prepared(request, portal.id, event.target, further, event.sender.id, timestamp)
                )
                out.append(replace(made, expires=due) if due else made)
        return out

    async def _redaction(self, entry: Entry, event: RemoteRedaction) -> list[Prepared]:
        portal = await self._portal(entry, event.chat, event.receiver)
        rows = await self._targets(portal, event.target)
        ghost, refused = await self._ghost(portal, event.sender)
        identity = self._identity(entry, event.id)
        reason = {"reason": event.reason} if event.reason else {}
        out = []
        for row in rows:
            if why := self._gate.room(row.room):
                out.append(requests.refused(row.room, why))
                continue
            # The network allowed it. Somebody else's message is taken back by the bot, which has the power to, and so
            # is that of a ghost which cannot be there any more.
            own = row.sender == event.sender.id and row.room not in refused
            sender, device = (ghost.user, ghost.device) if own else (self._matrix.bot, await self._device())
            txn = self._txn(portal, event.sender.id, identity, row.part, "redaction", row.room)
            request = requests.build(row.room, "m.room.redaction", txn, sender, device, reason, redacts=row.event)
            out.append(Prepared(request))
            rest = await self._takebacks.rest(portal, row, event.target)
            if rest is not None:
                txn = self._txn(portal, row.sender, identity, row.part, "rest", row.room)
                who, at = rest.ghost, row.timestamp
                request = requests.build(row.room, _MESSAGE, txn, who.user, who.device, rest.content, ts=at)
                out.append(Prepared(request, portal.id, rest.ids[0], rest.part, row.sender, at, also=rest.ids[1:]))
        return out

    async def _reaction(self, entry: Entry, event: RemoteReaction) -> list[Prepared]:
        portal = await self._portal(entry, event.chat, event.receiver)
        ghost, refused = await self._ghost(portal, event.sender)
        reaction = MessageId(f"~reaction\x1f{event.target}\x1f{event.sender.id}\x1f{event.key}")
        identity = self._identity(entry, event.id)
        out = []
        rows = await self._targets(portal, reaction if event.removed else event.target)
        for room in portal.rooms:
            first = min((row for row in rows if row.room == room), key=lambda row: row.part, default=None)
            if first is None:
                continue
            if room in refused:
                out.append(requests.refused(room, refused[room]))
                continue
            txn = self._txn(portal, event.sender.id, identity, 0, "reaction", room)
            if event.removed:
                request = requests.build(
                    room, "m.room.redaction", txn, ghost.user, ghost.device, {}, redacts=first.event
                )
                out.append(Prepared(request))
                continue
            relation = await self._annotation(entry, event, ghost, first)
            request = requests.build(room, "m.reaction", txn, ghost.user, ghost.device, relation, ts=event.timestamp)
            timestamp = event.timestamp or entry.received_at
            out.append(Prepared(request, portal.id, reaction, 0, event.sender.id, timestamp))
        return out

    async def _annotation(
        self, entry: Entry, event: RemoteReaction, ghost: GhostRow, target: MessageRow
    ) -> dict[str, Any]:
        picture = None
        if event.picture is not None:
            picture = await self._rendering.uploaded(event.picture, ghost.user, f"{_upload_key(entry)}.reaction")
        relation = {"rel_type": "m.annotation", "event_id": target.event, "key": picture or event.key}
        content: dict[str, Any] = {"m.relates_to": relation}
        if picture is not None:
            content["shortcode"] = content["com.beeper.reaction.shortcode"] = event.key
        return content

    async def scene(self, entry: Entry, event: RemoteVote | RemotePollEnd) -> "Scene":
        """Who does something to which message where: with the ghost ready. Raises NothingToDo, and as `requests`."""
        portal = await self._portal(entry, event.chat, event.receiver)
        rows = await self._targets(portal, event.target)
        ghost, refused = await self._ghost(portal, event.sender)
        first: dict[RoomId, MessageRow] = {}
        for row in sorted(rows, key=lambda row: -row.part):
            if row.room in portal.rooms:
                first[row.room] = row
        identity = self._identity(entry, event.id)

        def txn(kind: str, room: RoomId) -> str:
            return self._txn(portal, event.sender.id, identity, 0, kind, room)

        return Scene(ghost, refused, first, txn)

    async def bot(self) -> tuple[UserId, str | None]:
        """The bot and its device."""
        return self._matrix.bot, await self._device()

    async def _gap(self, entry: Entry, event: RemoteGap) -> list[Prepared]:
        portal = self._portals.get(PortalKey(NetworkId(entry.network), event.chat, event.receiver))
        if portal is None or not portal.rooms:
            raise NothingToDo("nobody reads this chat yet")
        since, until = (
            datetime.fromtimestamp(min(max(ms, 0), _LATEST) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            for ms in (event.since, event.until)
        )
        text = f"Messages between {since} and {until} UTC may be missing here: {event.reason}"
        return [await self.notice(entry, room, text, None) for room in portal.rooms]

    async def notice(
        self,
        entry: Entry,
        room: RoomId,
        text: str,
        about: EventId | None,
        mentions: tuple[UserId, ...] = (),
        only: UserId | None = None,
    ) -> Prepared:
        """The bot says something in a room, once for each entry."""
        named = {"user_ids": list(mentions)} if mentions else {}
        content: dict[str, Any] = {"msgtype": "m.notice", "body": text, "m.mentions": named}
        if about is not None:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": about}}
        if only is not None:
            content[ONLY] = only
        txn = self._names.send_id("bot", room, f"{entry.id}.{entry.received_at}")
        return Prepared(requests.build(room, _MESSAGE, txn, self._matrix.bot, await self._device(), content))

    async def _device(self) -> str | None:
        if self._bot_device is None:
            self._bot_device = await self._matrix.ensure_registered(self._matrix.bot)
        return self._bot_device


def _upload_key(entry: Entry) -> str:
    return f"{entry.id}.{entry.received_at}"
