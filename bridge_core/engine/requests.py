"""Send requests as the journal keeps them: final, so that each try sends the same bytes under the same id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.engine.payload import PayloadError

ID_KEY: Final = "dev.matrix_bridge.id"
"""Content key that carries the transaction id, so that an event can be found again where ids are not remembered."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A final request, and which message it will be once it is sent (`message` None: nothing to remember).

    With `refused` it is not to be sent at all: it ends as rejected, for that reason. With `act` it is not an event but
    something to bring about (see `acts`): the request's `type` and `body` say what. With `noted` the event that it
    becomes is remembered under that name (see `botwords`). With `instead` a Matrix user is to send it; where they
    cannot, the ghost of that remote user (named `instead_name`) does.
    """

    request: SendRequest
    portal: int = 0
    message: str | None = None
    part: int = 0
    remote_sender: str = ""
    timestamp: int = 0
    refused: str = ""
    act: str = ""
    thread: str = ""
    """The root of the thread that it is said in."""
    noted: str = ""
    expires: int = 0
    """When it disappears, in milliseconds since 1970; 0 for never."""
    instead: str = ""
    instead_name: str | None = None
    also: tuple[str, ...] = ()
    """Further ids of the message, by part; empty for one that is of no event any more."""
    copied: bool = False
    """It was said in another room: with `instead` (here their own id) the bot stands in, and names them."""
    already: str = ""
    """The event that it became before: nothing is sent, it is only remembered as this message too."""


def refused(room: RoomId, reason: str) -> Prepared:
    """What will not reach `room` (empty: none is known), and why."""
    return Prepared(SendRequest(room, "", "", UserId(""), None, b""), refused=reason)


def act(kind: str, room: RoomId, sender: UserId, content: Mapping[str, Any], *, subject: str = "") -> Prepared:
    """Something to bring about in a room as one of our users. `subject` (a user, an event) is what it is about."""
    return Prepared(SendRequest(room, subject, "", sender, None, orjson.dumps(content)), act=kind)


def build(
    room: RoomId,
    event_type: str,
    txn: str,
    sender: UserId,
    device: str | None,
    content: Mapping[str, Any],
    *,
    ts: int | None = None,
    redacts: EventId | None = None,
) -> SendRequest:
    """The request for `content`, with its id in it."""
    return SendRequest(
        room, event_type, txn, sender, device, orjson.dumps({**content, ID_KEY: txn}), ts=ts, redacts=redacts
    )


def encode(prepared: Prepared) -> bytes:
    """The prepared request as the journal keeps it."""
    request = prepared.request
    head: list[object] = [
        request.room,
        request.type,
        request.txn,
        request.sender,
        request.device,
        request.ts,
        request.redacts,
        prepared.portal,
        prepared.message,
        prepared.part,
        prepared.remote_sender,
        prepared.timestamp,
        prepared.refused,
        prepared.act,
        prepared.thread,
        prepared.noted,
        prepared.expires,
    ]
    further = bool(prepared.copied or prepared.already)
    if prepared.instead or prepared.also or further:
        head += [prepared.instead, prepared.instead_name]
    if prepared.also or further:
        head.append(prepared.also)
    if further:
        head += [prepared.copied, prepared.already]
    return orjson.dumps(head) + b"\n" + request.body


def decode(stored: bytes) -> Prepared:
    """The prepared request that `encode` was given. Raises PayloadError when it is damaged."""
    head, separator, body = stored.partition(b"\n")
    try:
        room, event_type, txn, sender, device, ts, redacts, *mapping = orjson.loads(head)
        prepared = Prepared(SendRequest(room, event_type, txn, sender, device, body, ts=ts, redacts=redacts), *mapping)
    except (ValueError, TypeError) as error:
        raise PayloadError("this stored request is damaged") from error
    if not separator:
        raise PayloadError("this stored request has no body")
    return prepared
