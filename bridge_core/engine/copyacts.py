"""Reactions, and what is taken back, as the other rooms of a chat are shown it."""

from dataclasses import replace
from typing import Any, Final

from bridge_core.api.ids import EventId, MessageId, UserId
from bridge_core.api.matrix import MatrixReaction, MatrixRedaction
from bridge_core.engine import requests
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.copyplaces import Copy, CopyPlaces
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.rendering import Part
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import Messages
from bridge_core.engine.translation import Translation

_SHARED: Final = "~copied"
"""Message ids under which the bot's reactions are remembered: one of them may stand for several people."""
_ASKED: Final = 20
"""People of one shared reaction who are asked about before it is taken off: with more it stays."""


class CopyActs:
    """Makes the requests of such copies."""

    def __init__(
        self,
        places: CopyPlaces,
        messages: Messages,
        translation: Translation,
        matrix: MatrixSide,
        puppets: DoublePuppets,
        conversion: Conversion,
    ) -> None:
        self._places = places
        self._messages = messages
        self._translation = translation
        self._matrix = matrix
        self._puppets = puppets
        self._conversion = conversion

    async def reaction(self, one: Copy, said: MatrixReaction) -> list[Prepared]:
        """Put on the same message."""
        ids, there = await self._places.ids(one), await self._places.there(one, said.target.event_id)
        if not ids or there is None:
            return []
        key = said.picture.source if said.picture is not None and said.picture.source else said.key
        content: dict[str, Any] = {"m.relates_to": {"rel_type": "m.annotation", "event_id": there, "key": key}}
        if said.picture is not None and said.picture.alt:
            content["shortcode"] = content["com.beeper.reaction.shortcode"] = said.picture.alt
        made = self._places.prepared(one, Part("m.reaction", content), "reaction", 0)
        made = replace(made, portal=one.portal.id, message=ids[0])
        known = await self._places.before(one)
        if one.own:
            return [replace(made, already=known[0]) if known else made]
        # A homeserver takes the same reaction of the same user once: the bot's stands for all whom it speaks for.
        shared = MessageId(f"{_SHARED}\x1f{there}\x1f{key}")
        if known:
            return [replace(made, also=(shared,), already=known[0])]
        for row in await self._messages.by_message(one.portal.id, shared):
            if row.room == one.room and await self._places.stands(one.room, row.event, one.user):
                return [replace(made, already=row.event)]
        return [replace(made, also=(shared,))]

    async def redaction(self, one: Copy, said: MatrixRedaction) -> list[Prepared]:
        """Taken back. Raises NothingToDo for what is not the sender's own."""
        row = await self._translation.row(one.source, said.target.event_id, one.portal)
        if row is None or row.sender != one.sender.id:
            # Who moderates one room does not moderate the others; what the network takes back, it says itself.
            raise NothingToDo("only what is one's own is taken back in other rooms too")
        out: list[Prepared] = []
        for number, target in enumerate(await self._places.events(one, said.target.event_id)):
            by = await self._places.sender_of(one, target.event)
            if by == self._matrix.bot and await self._shared_by_others(one, row.message, target.event):
                continue
            user, device = (one.user, one.device) if by == one.user else await self._conversion.bot()
            content = {"reason": said.reason} if said.reason else {}
            txn = self._places.txn(one, "redaction", number)
            request = requests.build(one.room, "m.room.redaction", txn, user, device, content, redacts=target.event)
            made = Prepared(request, copied=True)
            out.append(self._puppets.as_user(made, one.sender) if user != self._matrix.bot else made)
        return out

    async def _shared_by_others(self, one: Copy, message: MessageId, event: EventId) -> bool:
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
                if row.event != event and await self._places.stands(row.room, row.event, UserId(row.sender)):
                    return True
        return False
