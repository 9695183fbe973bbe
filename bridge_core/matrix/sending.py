"""Sends events exactly once: verbatim retries, and a look into the room where the homeserver may have forgotten.

Synapse remembers a transaction id for 24 h in its database when the request carried a device, otherwise for 30-60
minutes in memory only (measured). Where that may not be enough, the id hash carried in the content is looked for.
"""

from collections.abc import Container
from typing import Any, Final, Protocol

import orjson
import structlog

from bridge_core.api.errors import TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest
from bridge_core.matrix.accounts import Accounts
from bridge_core.matrix.failures import json_object
from bridge_core.matrix.homeserver import Homeserver

__all__ = ["ID_KEY", "Sealing", "Sender"]

ID_KEY = "dev.matrix_bridge.id"
"""Key of an event's content that carries the hash it is recognised by."""

_REMEMBERED_MS = 20 * 3600 * 1000
# Clocks differ, and `ts` of our own events is the remote network's.
_SLACK_MS = 3600 * 1000
_PAGES = 20
_PAGE = 100

_log = structlog.get_logger(__name__)


_SEALED: Final = "m.room.encrypted"


class Sealing(Protocol):
    """Encrypts what goes to encrypted rooms. One look into `plain` is all that a message to another room costs."""

    @property
    def plain(self) -> Container[RoomId]:
        """Rooms that are known not to be encrypted."""

    async def sealed(self, request: SendRequest) -> SendRequest:
        """What is to be sent instead: encrypted anew for each try, or as it is where the room is not encrypted.

        Raises where it must not be sent: what is not encrypted is not sent to an encrypted room.
        """

    async def lost(self, request: SendRequest) -> None:
        """The homeserver had lost the device that the request names, and with it the keys."""


class Sender:
    """Sends what the journal holds. Safe for any number of calls at once; order is the lanes' affair."""

    sealing: Sealing | None = None

    def __init__(self, homeserver: Homeserver, accounts: Accounts, clock: Clock) -> None:
        self._hs = homeserver
        self._accounts = accounts
        self._clock = clock

    async def send(self, request: SendRequest, first_attempt_at: int) -> EventId:
        """Sends, or finds what an earlier attempt (at `first_attempt_at`, ms; 0: there was none) has sent."""
        if first_attempt_at and self._forgotten(request, first_attempt_at):
            found = await self._look(request, first_attempt_at)
            if found is not None:
                _log.info("event_found_before_resend", room=request.room, event_id=found)
                return found
        try:
            return await self._put(request)
        except MatrixRejectedError as error:
            if error.errcode != "M_UNKNOWN_DEVICE" or not await self._accounts.make_device(request.sender):
                raise
        # Somebody deleted the ghost's device; it is back under its old name now.
        if self.sealing is not None:
            await self.sealing.lost(request)
        return await self._put(request)

    async def _put(self, request: SendRequest) -> EventId:
        sealing = self.sealing
        if sealing is not None and request.room not in sealing.plain:
            request = await sealing.sealed(request)
        answer = await self._hs.send(request)
        event = answer.get("event_id")
        if not isinstance(event, str):
            raise TransientError("the homeserver took the event without naming it")
        return EventId(event)

    def _forgotten(self, request: SendRequest, first_attempt_at: int) -> bool:
        return request.device is None or self._clock.now_ms() - first_attempt_at > _REMEMBERED_MS

    async def _look(self, request: SendRequest, first_attempt_at: int) -> EventId | None:
        """Searches the room backwards, as the bot, or as the sender where the bot is not in the room."""
        try:
            return await self._search(request, first_attempt_at, self._hs.bot)
        except MatrixRejectedError as error:
            if error.errcode != "M_FORBIDDEN":
                raise
        try:
            return await self._search(request, first_attempt_at, request.sender)
        except MatrixRejectedError as error:
            if error.errcode != "M_FORBIDDEN":
                raise
            return None  # whoever is not in the room has nothing there that could be doubled

    async def _search(self, request: SendRequest, first_attempt_at: int, viewer: UserId) -> EventId | None:
        wanted = (json_object(request.body) or {}).get(ID_KEY, request.txn)
        oldest = min(first_attempt_at, request.ts or first_attempt_at) - _SLACK_MS
        kind = request.type if request.redacts is None else "m.room.redaction"
        kinds = [kind] if self.sealing is None else [kind, _SEALED]
        only = orjson.dumps({"senders": [request.sender], "types": kinds, "lazy_load_members": True}).decode()
        query = {"dir": "b", "limit": str(_PAGE), "filter": only}
        for _ in range(_PAGES):
            page = await self._hs.get("rooms", request.room, "messages", user=viewer, query=query)
            events = [event for event in page.get("chunk") or () if isinstance(event, dict)]
            for event in events:
                if _is_sent(event, request, wanted):
                    return EventId(str(event["event_id"]))
            end = page.get("end")
            if not isinstance(end, str) or end == query.get("from") or _is_past(events, oldest):
                return None
            query["from"] = end
        _log.warning("event_search_gave_up", room=request.room, pages=_PAGES)
        return None


def _is_sent(event: dict[str, Any], request: SendRequest, wanted: object) -> bool:
    if event.get("sender") != request.sender or not isinstance(event.get("event_id"), str):
        return False
    content = event.get("content")
    if not isinstance(content, dict):
        return False
    if content.get(ID_KEY) == wanted:
        return True
    if request.redacts is not None:
        return request.redacts in (content.get("redacts"), event.get("redacts"))
    # Redacted meanwhile: its content is gone, what is left is the time we gave it.
    unsigned = event.get("unsigned")
    redacted = isinstance(unsigned, dict) and "redacted_because" in unsigned
    return redacted and request.ts is not None and event.get("origin_server_ts") == request.ts


def _is_past(events: list[dict[str, Any]], oldest: int) -> bool:
    if not events:
        return False
    time = events[-1].get("origin_server_ts")
    return isinstance(time, int) and time < oldest
