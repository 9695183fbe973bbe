"""Fits what goes to a network to what its chat can carry, and tells the sender what was left out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from zlib import crc32

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, MessageId, RoomId
from bridge_core.api.matrix import MatrixMessage, MatrixOutgoing, MatrixReaction
from bridge_core.api.network import Capabilities
from bridge_core.engine.enforcement import REFUSALS, Fit, too_many
from bridge_core.engine.networks import Speaker
from bridge_core.engine.ports import Write
from bridge_core.engine.reactions import reaction_note
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import Messages, PortalRow
from bridge_core.engine.translation import redacted_by

_PUT: Final = "~put"
_TAKEN: Final = "~taken"
"""Rows of the message map that count reactions, where a chat allows each person but so many on a message."""


class Carrying:
    """Asks each client what its chats can carry, for every message anew: that may change at any time.

    `asked` is told of each answer of whoever stands for the chat. It must not block.
    """

    def __init__(
        self, messages: Messages, status: Status, clock: Clock, asked: Callable[[PortalRow, Capabilities], None]
    ) -> None:
        self._messages = messages
        self._status = status
        self._clock = clock
        self._asked = asked
        self._limited: set[int] = set()
        """Portals whose chats limit reactions."""

    async def fitted(self, portal: PortalRow, speaker: Speaker, message: MatrixOutgoing) -> MatrixOutgoing:
        """The message as the chat can carry it. What it shows less is told the sender, once per room.

        Raises RejectedError and UnsupportedError in words for the sender.
        """
        can = speaker.client.capabilities(portal.chat)
        if speaker.relayed or portal.receiver is not None:
            self._asked(portal, can)
        if speaker.relayed and isinstance(message, MatrixMessage) and message.content.mentions_all:
            # The relay may be allowed there what its users are not: to call everybody.
            message = replace(message, content=replace(message.content, mentions_all=False))
        fit = Fit(can, self._clock.now_ms())
        fitted = fit.fitted(message)
        if can.max_reactions is not None:
            await self._count(portal, can, fitted)
        for feature in fit.missing:
            await self._status.less(message.room, message.event_id, portal.network, REFUSALS[feature])
        return fitted

    async def _count(self, portal: PortalRow, can: Capabilities, message: MatrixOutgoing) -> None:
        self._limited.add(portal.id)
        if isinstance(message, MatrixReaction):
            there = await self._put(portal, message)
            if words := too_many(can, len(there)):
                raise RejectedError(words)

    async def _put(self, portal: PortalRow, reaction: MatrixReaction) -> set[str]:
        """The person's reactions that are on the message."""
        rows = await self._messages.by_message(portal.id, _put(reaction.target.event_id, reaction.sender.id))
        found = {row.event for row in rows} - {f"~{reaction.event_id}"}
        return {event for event in found if not await self._messages.by_message(portal.id, _taken(event))}

    def writes(self, portal: PortalRow, event: dict[str, Any], at: int) -> tuple[Write, ...]:
        """What is to be remembered of a reaction, or of taking one back, that has arrived. Does not block."""
        noted: tuple[Write, ...] = ()
        if event["type"] == "m.reaction":
            noted = (reaction_note(self._messages, portal.id, event, at),)
        if portal.id not in self._limited:
            return noted
        room, number, sender = RoomId(event["room_id"]), event["event_id"], event["sender"]
        if event["type"] == "m.reaction":
            message = _put(event["content"]["m.relates_to"]["event_id"], sender)
        elif (redacted := redacted_by(event)) is not None:
            message = _taken(f"~{redacted}")
        else:
            return ()
        # No event has such an id: what an event is must not be found here.
        mark = EventId(f"~{number}")
        return (*noted, self._messages.write(portal.id, message, crc32(number.encode()), room, mark, sender, at))


def _put(target: EventId, sender: str) -> MessageId:
    return MessageId(f"{_PUT}\x1f{target}\x1f{sender}")


def _taken(mark: str) -> MessageId:
    return MessageId(f"{_TAKEN}\x1f{mark}")
