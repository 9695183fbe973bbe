"""What was said in one room of a chat, as its other rooms are shown it.

By the user themselves where they are in that room and the bridge may act as them, else by the bot under their name
(a profile of the message, MSC4144). Both are known for the bridge's own when they come back, so no copy is copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from bridge_core.api.content import Content, Profile
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import EventId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction, MatrixSender
from bridge_core.content.profiles import add_profile
from bridge_core.engine import requests
from bridge_core.engine.barred import Barred
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.expiry import Expiry, mark
from bridge_core.engine.gate import Gate
from bridge_core.engine.matrix_ports import MatrixSide, SendRequest
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import NetworkOptions, Networks
from bridge_core.engine.payload import RoomCopy, decode
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.puppets import PUPPET_KEY, DoublePuppets
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.rendering import Part, Place, Rendering
from bridge_core.engine.requests import Prepared
from bridge_core.engine.roomrules import rules_of
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import MessageRow, Messages, PortalRow
from bridge_core.engine.threads import Threads
from bridge_core.engine.translation import Translation, timestamp_of

_SHARED: Final = "~copied"
"""Message ids under which the bot's reactions are remembered: one of them may stand for several people."""
_ASKED: Final = 20
"""People of one shared reaction who are asked about before it is taken off: with more it stays."""
ELSEWHERE: Final = "another room of this chat"


@dataclass(frozen=True, slots=True)
class _Copy:
    """One event on its way into one room, and who says it there."""

    entry: Entry
    portal: PortalRow
    source: RoomId
    room: RoomId
    event: EventId
    sender: MatrixSender
    user: UserId
    device: str | None
    own: bool
    """Whether the user says it themselves."""
    at: int
    """When it was said: another server may claim any time, but none that is to come."""


class Copies:
    """Converts copies."""

    def __init__(
        self,
        names: Names,
        portals: PortalIndex,
        networks: Networks,
        messages: Messages,
        members: Members,
        barred: Barred,
        matrix: MatrixSide,
        rendering: Rendering,
        translation: Translation,
        relaying: Relaying,
        gate: Gate,
        threads: Threads,
        expiry: Expiry,
        puppets: DoublePuppets,
        status: Status,
    ) -> None:
        self._names = names
        self._portals = portals
        self._networks = networks
        self._messages = messages
        self._members = members
        self._barred = barred
        self._matrix = matrix
        self._rendering = rendering
        self._translation = translation
        self._relaying = relaying
        self._gate = gate
        self._threads = threads
        self._expiry = expiry
        self._puppets = puppets
        self._status = status
        self._conversion: Conversion | None = None

    def add_to(self, conversion: Conversion) -> None:
        """Take part in what goes to Matrix."""
        self._conversion = conversion
        conversion.add(RoomCopy, self._copied, refers=True)

    async def rejected(self, entry: Entry, reason: str) -> None:
        """Tell who said it that another room does not have it. Raises TransientError when that cannot be stored."""
        copy = entry.event if entry.event is not None else decode(entry.payload, entry.version)
        if isinstance(copy, RoomCopy):
            event = EventId(orjson.loads(copy.event)["event_id"])
            await self._status.once(copy.room, event, ELSEWHERE, reason)

    async def still_wanted(self, entry: Entry, room: RoomId) -> None:
        """Right before a copy is shown: whether the room wants it still. Raises RejectedError, and as `Barred.why`."""
        if isinstance(entry.event, RoomCopy):
            sender = UserId(orjson.loads(entry.event.event)["sender"])
            if why := await self._barred.why(room, sender):
                raise RejectedError(why)

    async def _copied(self, entry: Entry, copy: RoomCopy) -> list[Prepared]:
        portal, network = self._portals.by_id(copy.portal), self._networks.get(NetworkId(entry.network))
        if portal is None or network is None or portal.network != network.id:
            raise NothingToDo("the chat is not bridged any more")
        event: dict[str, Any] = orjson.loads(copy.event)
        sender = await self._translation.sender(event)
        message = await self._translation.outgoing(event, portal, sender)
        out: list[Prepared] = []
        for room in portal.rooms:
            if room == copy.room or not self._is_first(portal, copy.room, room):
                continue
            if not rules_of(portal, room).copies:
                continue  # its admins do not want it
            try:
                self._gate.outgoing(portal, sender, room)
                if why := await self._barred.why(room, sender.id):
                    raise RejectedError(why)
                one = await self._spoken_by(entry, portal, copy.room, room, event, sender)
                out += await self._made(one, network.options, event, message)
            except RejectedError as error:
                out.append(requests.refused(room, str(error)))
        if not out:
            raise NothingToDo("there is nothing to copy, or nowhere to copy it to")
        return out

    def _is_first(self, portal: PortalRow, source: RoomId, room: RoomId) -> bool:
        """Of several chats that have both rooms, one copies: nobody is to read the same twice."""
        return portal.id == min((one.id for one in self._portals.in_room(source) if room in one.rooms), default=0) or (
            source not in portal.rooms
        )

    async def _spoken_by(
        self,
        entry: Entry,
        portal: PortalRow,
        source: RoomId,
        room: RoomId,
        event: Mapping[str, Any],
        sender: MatrixSender,
    ) -> _Copy:
        said = timestamp_of(event)
        at = said if 0 < said <= entry.received_at else entry.received_at
        own = sender.id in await self._members.of(room) and await self._puppets.can(sender.id)
        user, device = (sender.id, None) if own else await self._bot()
        return _Copy(entry, portal, source, room, EventId(event["event_id"]), sender, user, device, own, at)

    async def _bot(self) -> tuple[UserId, str | None]:
        assert self._conversion is not None
        return await self._conversion.bot()

    async def _made(self, one: _Copy, options: NetworkOptions, event: Mapping[str, Any], said: Any) -> list[Prepared]:
        match said:
            case MatrixMessage():
                return await self._message(one, options, event, said)
            case MatrixEdit():
                return await self._edit(one, options, event, said)
            case MatrixReaction():
                return await self._reaction(one, said)
            case MatrixRedaction():
                return await self._redaction(one, said)
        return []

    # Messages

    async def _message(
        self, one: _Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixMessage
    ) -> list[Prepared]:
        ids = await self._ids(one)
        if not ids:
            raise NothingToDo("it is not known what became of it")
        reply = await self._there(one, said.reply_to.event_id) if said.reply_to is not None else None
        thread = await self._there(one, said.thread.event_id) if said.thread is not None else None
        place = Place(reply, thread, self._threads.last(one.room, thread))
        timer, due = self._disappears(one)
        if self._expiry.over(due):
            raise NothingToDo("it had disappeared before it could be shown")
        out: list[Prepared] = []
        for number, part in enumerate(await self._parts(one, options, event, said, place)):
            if timer:
                mark(part.content, timer)
            made = self._prepared(one, part, "message", number)
            made = replace(made, portal=one.portal.id, message=ids[0], part=number, thread=thread or "", expires=due)
            out.append(replace(made, also=tuple(ids[1:])) if not number else made)
        return out

    async def _edit(
        self, one: _Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixEdit
    ) -> list[Prepared]:
        there = await self._events(one, said.target.event_id)
        if not there:
            return []
        if await self._sender_of(one, there[0].event) != one.user:
            raise RejectedError("the bridge cannot edit there what it did not say there itself")
        due = self._expiry.of_edit(one.portal, one.entry)
        place = Place(replaces=[row.event for row in there])
        out: list[Prepared] = []
        for number, part in enumerate(await self._parts(one, options, event, said, place)):
            made = self._prepared(one, part, "edit", number)
            if number >= len(there):
                further = there[-1].part + 1 + number - len(there)
                made = replace(made, portal=one.portal.id, message=there[-1].message, part=further)
            out.append(replace(made, expires=due) if due else made)
        return out

    async def _parts(
        self, one: _Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixMessage | MatrixEdit, at: Place
    ) -> list[Part]:
        content, profile = said.content, None
        if not one.own:
            # Named as the relay names them, so that nobody can be taken for another member of the room.
            spoken: Any = await self._relaying.spoken(options, event, replace(said, room=one.room))
            content, name = spoken.content, spoken.sender.name
            content = replace(content, mentions_all=False)  # the bot may do what its users may not
            profile = Profile(one.sender.id, name, one.sender.avatar)
        key = f"{one.entry.id}.{one.entry.received_at}"
        if not at.replaces:
            return await self._rendering.parts(one.portal.network, one.user, key, content, at, profile)
        parts = await self._rendering.parts(one.portal.network, one.user, key, content, at)
        if profile is not None:
            for part in parts:
                add_profile(part.content, profile, profile.avatar)
                new = part.content.get("m.new_content")
                if isinstance(new, dict):  # it is what clients show of an edit
                    add_profile(new, profile, profile.avatar)
        return parts

    def _disappears(self, one: _Copy) -> tuple[int, int]:
        sender = RemoteSender(RemoteUserId(one.sender.id))
        as_remote = RemoteMessage(one.portal.chat, sender, Content(), timestamp=one.at)
        return self._expiry.of_remote(one.portal, as_remote, one.entry)

    # Reactions and what is taken back

    async def _reaction(self, one: _Copy, said: MatrixReaction) -> list[Prepared]:
        ids, there = await self._ids(one), await self._there(one, said.target.event_id)
        if not ids or there is None:
            return []
        key = said.picture.source if said.picture is not None and said.picture.source else said.key
        content: dict[str, Any] = {"m.relates_to": {"rel_type": "m.annotation", "event_id": there, "key": key}}
        if said.picture is not None and said.picture.alt:
            content["shortcode"] = content["com.beeper.reaction.shortcode"] = said.picture.alt
        made = self._prepared(one, Part("m.reaction", content), "reaction", 0)
        made = replace(made, portal=one.portal.id, message=ids[0])
        if one.own:
            return [made]
        # A homeserver takes the same reaction of the same user once: the bot's stands for all whom it speaks for.
        shared = MessageId(f"{_SHARED}\x1f{there}\x1f{key}")
        for row in await self._messages.by_message(one.portal.id, shared):
            if row.room == one.room and await self._stands(one.room, row.event, one.user):
                return [replace(made, already=row.event)]
        return [replace(made, also=(shared,))]

    async def _redaction(self, one: _Copy, said: MatrixRedaction) -> list[Prepared]:
        row = await self._translation.row(one.source, said.target.event_id, one.portal)
        if row is None or row.sender != one.sender.id:
            # Who moderates one room does not moderate the others; what the network takes back, it says itself.
            raise NothingToDo("only what is one's own is taken back in other rooms too")
        out: list[Prepared] = []
        for number, target in enumerate(await self._events(one, said.target.event_id)):
            by = await self._sender_of(one, target.event)
            if by == self._matrix.bot and await self._shared_by_others(one, row.message, target.event):
                continue
            user, device = (one.user, one.device) if by == one.user else await self._bot()
            content = {"reason": said.reason} if said.reason else {}
            txn = self._txn(one, "redaction", number)
            request = requests.build(one.room, "m.room.redaction", txn, user, device, content, redacts=target.event)
            made = Prepared(request, copied=True)
            out.append(self._puppets.as_user(made, one.sender) if user != self._matrix.bot else made)
        return out

    async def _shared_by_others(self, one: _Copy, message: MessageId, event: EventId) -> bool:
        """Whether an event of the bot's stands for somebody else too, who has not taken theirs back."""
        rows = await self._messages.by_event(one.room, event)
        others = [
            row.message
            for row in rows
            if row.portal == one.portal.id and row.message != message and not row.message.startswith(_SHARED)
        ]
        if len(others) > _ASKED:
            return True
        for other in others:
            for row in await self._messages.by_message(one.portal.id, other):
                if row.event != event and await self._stands(row.room, row.event, UserId(row.sender)):
                    return True
        return False

    async def _stands(self, room: RoomId, event: EventId, by: UserId) -> bool:
        """Whether an event is there, said by that user, and not taken back."""
        found = await self._matrix.event(room, event, self._matrix.bot)
        return found is not None and found.get("sender") == by and bool(found.get("content"))

    # What they share

    async def _ids(self, one: _Copy) -> list[MessageId]:
        """Under which ids the chat knows the event."""
        rows = await self._messages.by_event(one.source, one.event)
        return [row.message for row in rows if row.portal == one.portal.id]

    async def _events(self, one: _Copy, event: EventId) -> Sequence[MessageRow]:
        """What an event of the other room is here, by part."""
        row = await self._translation.row(one.source, event, one.portal)
        if row is None:
            return ()
        known = await self._messages.by_message(one.portal.id, row.message)
        found = {row.event: row for row in reversed(known)}
        return sorted((row for row in found.values() if row.room == one.room), key=lambda row: row.part)

    async def _there(self, one: _Copy, event: EventId) -> EventId | None:
        found = await self._events(one, event)
        return found[0].event if found else None

    async def _sender_of(self, one: _Copy, event: EventId) -> str | None:
        found = await self._matrix.event(one.room, event, self._matrix.bot)
        return found.get("sender") if found is not None else None

    def _txn(self, one: _Copy, kind: str, number: int) -> str:
        return self._names.send_id("copy", str(one.portal.id), one.room, one.user, one.event, kind, str(number))

    def _prepared(self, one: _Copy, part: Part, kind: str, number: int) -> Prepared:
        txn = self._txn(one, kind, number)
        request = requests.build(one.room, part.type, txn, one.user, one.device, part.content, ts=one.at)
        made = Prepared(request, remote_sender=one.sender.id, timestamp=one.at, copied=True)
        return self._puppets.as_user(made, one.sender) if one.own else made


def stood_in(item: Prepared, bot: UserId, device: str | None) -> SendRequest:
    """What the bot says where a user cannot be acted as any more. Raises RejectedError where it cannot stand in."""
    content = orjson.loads(item.request.body)
    if item.request.redacts is None and "m.new_content" in content:
        raise RejectedError("only they themselves can edit there what they said there")
    content.pop(PUPPET_KEY, None)
    if item.request.type == "m.room.message":
        add_profile(content, Profile(item.instead, item.instead_name), None)
    return replace(item.request, sender=bot, device=device, body=orjson.dumps(content))
