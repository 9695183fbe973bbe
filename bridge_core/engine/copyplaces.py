"""Where messages stand in the rooms of a chat, and the requests that put copies of them there."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge_core.api.ids import EventId, MessageId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine import requests
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.ports import Entry
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.rendering import Part
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import MessageRow, Messages, PortalRow
from bridge_core.engine.translation import Translation


@dataclass(frozen=True, slots=True)
class Copy:
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


class CopyPlaces:
    """Answers from the message map, and asks the homeserver who said what."""

    def __init__(
        self, names: Names, messages: Messages, translation: Translation, matrix: MatrixSide, puppets: DoublePuppets
    ) -> None:
        self._names = names
        self._messages = messages
        self._translation = translation
        self._matrix = matrix
        self._puppets = puppets

    async def ids(self, one: Copy) -> list[MessageId]:
        """Under which ids the chat knows the event."""
        rows = await self._messages.by_event(one.source, one.event)
        return [row.message for row in rows if row.portal == one.portal.id]

    async def events(self, one: Copy, event: EventId) -> Sequence[MessageRow]:
        """What an event of the other room is here, by part."""
        row = await self._translation.row(one.source, event, one.portal)
        if row is None:
            return ()
        known = await self._messages.by_message(one.portal.id, row.message)
        found = {row.event: row for row in reversed(known)}
        return sorted((row for row in found.values() if row.room == one.room), key=lambda row: row.part)

    async def there(self, one: Copy, event: EventId) -> EventId | None:
        """The first of them."""
        found = await self.events(one, event)
        return found[0].event if found else None

    async def before(self, one: Copy) -> list[EventId]:
        """What another chat that has both rooms made of it here already, by part: nobody is to read the same twice.

        Two that do so at the same time send it under the same id, so that the homeserver takes it once.
        """
        for source in await self._messages.by_event(one.source, one.event):
            if source.portal != one.portal.id:
                known = await self._messages.by_message(source.portal, source.message)
                found = {row.event: row for row in reversed(known) if row.room == one.room}
                if found:
                    return [row.event for row in sorted(found.values(), key=lambda row: row.part)]
        return []

    async def sender_of(self, one: Copy, event: EventId) -> str | None:
        """Who sent an event of the copy's room, as the homeserver says; None when it cannot be seen."""
        found = await self._matrix.event(one.room, event, self._matrix.bot)
        return found.get("sender") if found is not None else None

    def txn(self, one: Copy, kind: str, number: int) -> str:
        """The id of a send into the copy's room: the same for all chats that have both rooms."""
        return self._names.send_id("copy", one.source, one.room, one.user, one.event, kind, str(number))

    def prepared(self, one: Copy, part: Part, kind: str, number: int) -> Prepared:
        """The request for one event of the copy, to be sent by whom it names."""
        txn = self.txn(one, kind, number)
        request = requests.build(one.room, part.type, txn, one.user, one.device, part.content, ts=one.at)
        made = Prepared(request, remote_sender=one.sender.id, timestamp=one.at, copied=True)
        return self._puppets.as_user(made, one.sender) if one.own else made

    async def stands(self, room: RoomId, event: EventId, by: UserId) -> bool:
        """Whether an event is there, said by that user, and not taken back."""
        found = await self._matrix.event(room, event, self._matrix.bot)
        return found is not None and found.get("sender") == by and bool(found.get("content"))
