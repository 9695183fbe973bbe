"""Votes and the end of polls, both ways. The poll itself is a message."""

from collections.abc import Mapping
from typing import Any

from bridge_core.api.events import RemotePollEnd, RemoteVote
from bridge_core.api.ids import EventId, RoomId
from bridge_core.api.matrix import MatrixPollEnd, MatrixSender, MatrixVote
from bridge_core.content.limits import Limits
from bridge_core.content.polls import (
    POLL_ENDS,
    POLL_VOTES,
    end_content,
    poll_of,
    read_end,
    read_vote,
    vote_content,
)
from bridge_core.engine import requests
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import MessageRow, PortalRow
from bridge_core.engine.translation import Kind, Translation, timestamp_of


class Polls:
    """Carries votes and ends."""

    def __init__(self, translation: Translation, conversion: Conversion, limits: Limits) -> None:
        self._translation = translation
        self._conversion = conversion
        self._limits = limits
        for kind in POLL_VOTES:
            translation.add(kind, Kind(self._vote))
        for kind in POLL_ENDS:
            translation.add(kind, Kind(self._end))
        conversion.add(RemoteVote, self._voted, refers=True)
        conversion.add(RemotePollEnd, self._ended, refers=True)

    async def _poll(self, event: Mapping[str, Any], portal: PortalRow) -> MessageRow | None:
        target = poll_of(event["content"])
        if target is None:
            return None
        return await self._translation.row(RoomId(event["room_id"]), target, portal, must=True)

    async def _vote(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixVote | None:
        row = await self._poll(event, portal)
        if row is None:
            return None
        return MatrixVote(
            RoomId(event["room_id"]),
            EventId(event["event_id"]),
            portal.chat,
            sender,
            await self._translation.ref(row),
            read_vote(event["content"]),
            timestamp_of(event),
        )

    async def _end(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixPollEnd | None:
        row = await self._poll(event, portal)
        if row is None:
            return None
        return MatrixPollEnd(
            RoomId(event["room_id"]),
            EventId(event["event_id"]),
            portal.chat,
            sender,
            await self._translation.ref(row),
            read_end(event["content"], self._limits),
            timestamp_of(event),
        )

    async def _voted(self, entry: Entry, event: RemoteVote) -> list[Prepared]:
        there = await self._conversion.scene(entry, event)
        out = []
        for room, poll in there.first.items():
            if room in there.refused:
                out.append(requests.refused(room, there.refused[room]))
                continue
            content = vote_content(poll.event, event.answers)
            txn = there.txn("vote", room)
            out.append(
                Prepared(
                    requests.build(
                        room, POLL_VOTES[-1], txn, there.ghost.user, there.ghost.device, content, ts=event.timestamp
                    )
                )
            )
        return out

    async def _ended(self, entry: Entry, event: RemotePollEnd) -> list[Prepared]:
        there = await self._conversion.scene(entry, event)
        out = []
        for room, poll in there.first.items():
            # Only who began a poll may end it, or who may redact (MSC3381); the network has allowed it.
            own = poll.sender == event.sender.id and room not in there.refused
            sender, device = (there.ghost.user, there.ghost.device) if own else await self._conversion.bot()
            content = end_content(poll.event, event.text)
            txn = there.txn("poll_end", room)
            out.append(Prepared(requests.build(room, POLL_ENDS[-1], txn, sender, device, content, ts=event.timestamp)))
        if not out:
            raise NothingToDo("the poll is in no room")
        return out
