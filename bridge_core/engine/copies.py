"""What was said in one room of a chat, as its other rooms are shown it.

By the user themselves where they are in that room and the bridge may act as them, else by the bot under their name
(a profile of the message, MSC4144). Both are known for the bridge's own when they come back, so no copy is copied.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from bridge_core.api.content import Content, Profile
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import EventId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction, MatrixSender
from bridge_core.content.profiles import add_profile
from bridge_core.engine import requests
from bridge_core.engine.barred import Barred
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.copyacts import CopyActs
from bridge_core.engine.copyplaces import Copy, CopyPlaces
from bridge_core.engine.expiry import Expiry, mark
from bridge_core.engine.gate import Gate
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.engine.members import Members
from bridge_core.engine.networks import NetworkOptions, Networks
from bridge_core.engine.payload import RoomCopy, decode
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.puppets import PUPPET_KEY, DoublePuppets
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.rendering import Part, Place, Rendering
from bridge_core.engine.requests import Prepared
from bridge_core.engine.roomrules import rules_of
from bridge_core.engine.secrecy import Secrecy
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.threads import Threads
from bridge_core.engine.translation import Translation, redacted_by, timestamp_of

ELSEWHERE: Final = "another room of this chat"


class Copies:
    """Converts copies."""

    def __init__(
        self,
        conversion: Conversion,
        places: CopyPlaces,
        acts: CopyActs,
        portals: PortalIndex,
        networks: Networks,
        members: Members,
        barred: Barred,
        rendering: Rendering,
        translation: Translation,
        relaying: Relaying,
        gate: Gate,
        threads: Threads,
        expiry: Expiry,
        puppets: DoublePuppets,
        status: Status,
        secrecy: Secrecy,
    ) -> None:
        self._conversion = conversion
        self._places = places
        self._acts = acts
        self._portals = portals
        self._networks = networks
        self._members = members
        self._barred = barred
        self._rendering = rendering
        self._translation = translation
        self._relaying = relaying
        self._gate = gate
        self._threads = threads
        self._expiry = expiry
        self._puppets = puppets
        self._status = status
        self._secrecy = secrecy
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
            await self._let_in(entry.event.room, room, orjson.loads(entry.event.event))

    async def _let_in(self, source: RoomId, room: RoomId, event: Mapping[str, Any]) -> None:
        if redacted_by(event) is not None:
            return  # who was banned may still take back what they said
        if why := await self._secrecy.why(source, room):
            raise RejectedError(why)
        if why := await self._barred.why(room, UserId(event["sender"])):
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
            if room == copy.room:
                continue
            if not rules_of(portal, room).copies:
                continue  # its admins do not want it
            try:
                self._gate.outgoing(portal, sender, room)
                await self._let_in(copy.room, room, event)
                one = await self._spoken_by(entry, portal, copy.room, room, event, sender)
                out += await self._made(one, network.options, event, message)
            except RejectedError as error:
                out.append(requests.refused(room, str(error)))
        if not out:
            raise NothingToDo("there is nothing to copy, or nowhere to copy it to")
        return out

    async def _spoken_by(
        self,
        entry: Entry,
        portal: PortalRow,
        source: RoomId,
        room: RoomId,
        event: Mapping[str, Any],
        sender: MatrixSender,
    ) -> Copy:
        said = timestamp_of(event)
        at = said if 0 < said <= entry.received_at else entry.received_at
        own = sender.id in await self._members.of(room) and await self._puppets.can(sender.id)
        user, device = (sender.id, None) if own else await self._conversion.bot()
        return Copy(entry, portal, source, room, EventId(event["event_id"]), sender, user, device, own, at)

    async def _made(self, one: Copy, options: NetworkOptions, event: Mapping[str, Any], said: Any) -> list[Prepared]:
        match said:
            case MatrixMessage():
                return await self._message(one, options, event, said)
            case MatrixEdit():
                return await self._edit(one, options, event, said)
            case MatrixReaction():
                return await self._acts.reaction(one, said)
            case MatrixRedaction():
                return await self._acts.redaction(one, said)
        return []

    # Messages

    async def _message(
        self, one: Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixMessage
    ) -> list[Prepared]:
        ids = await self._places.ids(one)
        if not ids:
            raise NothingToDo("it is not known what became of it")
        if known := await self._places.before(one):
            made = self._places.prepared(one, Part("", {}), "message", 0)
            made = replace(made, portal=one.portal.id, message=ids[0], also=tuple(ids[1:]))
            return [replace(made, already=known[0])] + [
                replace(made, part=part, also=(), already=event) for part, event in enumerate(known[1:], start=1)
            ]
        reply = await self._places.there(one, said.reply_to.event_id) if said.reply_to is not None else None
        thread = await self._places.there(one, said.thread.event_id) if said.thread is not None else None
        place = Place(one.room, reply, thread, self._threads.last(one.room, thread), shared=True)
        timer, due = self._disappears(one)
        if self._expiry.over(due):
            raise NothingToDo("it had disappeared before it could be shown")
        out: list[Prepared] = []
        for number, part in enumerate(await self._parts(one, options, event, said, place)):
            if timer:
                mark(part.content, timer)
            made = self._places.prepared(one, part, "message", number)
            made = replace(made, portal=one.portal.id, message=ids[0], part=number, thread=thread or "", expires=due)
            out.append(replace(made, also=tuple(ids[1:])) if not number else made)
        return out

    async def _edit(
        self, one: Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixEdit
    ) -> list[Prepared]:
        there = await self._places.events(one, said.target.event_id)
        if not there:
            return []
        by, (bot, device) = await self._places.sender_of(one, there[0].event), await self._conversion.bot()
        if by == bot:
            one = replace(one, user=bot, device=device, own=False)  # said by the bot, it stays the bot's
        if by != one.user:
            raise RejectedError("the bridge cannot edit there what it did not say there itself")
        due = self._expiry.of_edit(one.portal, one.entry)
        place = Place(one.room, replaces=[row.event for row in there], shared=True)
        out: list[Prepared] = []
        for number, part in enumerate(await self._parts(one, options, event, said, place)):
            made = self._places.prepared(one, part, "edit", number)
            if number >= len(there):
                further = there[-1].part + 1 + number - len(there)
                made = replace(made, portal=one.portal.id, message=there[-1].message, part=further)
            out.append(replace(made, expires=due) if due else made)
        return out

    async def _parts(
        self, one: Copy, options: NetworkOptions, event: Mapping[str, Any], said: MatrixMessage | MatrixEdit, at: Place
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

    def _disappears(self, one: Copy) -> tuple[int, int]:
        sender = RemoteSender(RemoteUserId(one.sender.id))
        as_remote = RemoteMessage(one.portal.chat, sender, Content(), timestamp=one.at)
        return self._expiry.of_remote(one.portal, as_remote, one.entry)


def stood_in(item: Prepared, bot: UserId, device: str | None) -> SendRequest:
    """What the bot says where a user cannot be acted as any more. Raises RejectedError where it cannot stand in."""
    content = orjson.loads(item.request.body)
    if item.request.redacts is None and "m.new_content" in content:
        raise RejectedError("only they themselves can edit there what they said there")
    content.pop(PUPPET_KEY, None)
    if item.request.type == "m.room.message":
        add_profile(content, Profile(item.instead, item.instead_name), None)
    return replace(item.request, sender=bot, device=device, body=orjson.dumps(content))
