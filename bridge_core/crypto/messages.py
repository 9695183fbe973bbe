"""What to-device messages and events say, read and judged. Pure functions: nothing is looked up or stored.

Source: client-server API, "m.olm.v1.curve25519-aes-sha2" (what a plaintext must hold), "m.room_key",
"m.forwarded_room_key", "m.room_key.withheld", "m.room_key_request".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import OLM
from bridge_core.crypto.errors import CryptoRejectedError, OlmError, Reason
from bridge_core.crypto.olm import InboundSession
from bridge_core.crypto.ports import Owner
from bridge_core.engine.secrecy import MEGOLM

__all__ = [
    "Envelope",
    "Inner",
    "KeyRequest",
    "RoomKey",
    "Withheld",
    "envelope",
    "event_inside",
    "inner",
    "key_request",
    "olm_body",
    "packed",
    "room_key",
    "text",
    "withheld",
]

_LARGEST: Final = 65_536
_LONGEST: Final = 255
_KEY_LONGEST: Final = 1024
_JUDGED: Final = ("m.room.", "m.space.", "m.policy.")
"""Beginnings of types that mean something only since a homeserver has judged whether the sender may: state, redactions.
Of them one may be encrypted: m.room.message."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A to-device message as it came, for one of our devices."""

    to: Owner
    sender: UserId
    type: str
    content: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inner:
    """What was inside an Olm message, from the device with these keys (the Ed25519 one is only claimed)."""

    sender: UserId
    sender_key: str
    ed25519: str
    type: str
    content: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A session that was given, its own device's keys with it."""

    room: RoomId
    session: InboundSession = field(repr=False)
    sender_key: str
    ed25519: str
    forwarded: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """A key that will not be given; without a room it is that there is no Olm session."""

    room: RoomId
    session: str
    code: str


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Somebody's device asks for a session's key."""

    request: str
    device: str
    room: RoomId
    session: str


def text(value: Any, key: str, longest: int = _LONGEST) -> str:
    """A text of an object. Raises OlmError when it is none, empty, too long, or holds NUL."""
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, str) or not 0 < len(found) <= longest or "\0" in found:
        raise OlmError(Reason.DAMAGED, f"no usable {key}")
    return found


def packed(entry: Mapping[str, Any]) -> bytes:
    """A to-device message as it came, to be stored: bounded, and the same whenever it comes again. Raises OlmError."""
    content = entry.get("content", {})
    if not isinstance(content, Mapping):
        raise OlmError(Reason.DAMAGED, "no content")
    value = {
        "to": text(entry, "to_user_id"),
        "device": text(entry, "to_device_id"),
        "sender": text(entry, "sender"),
        "type": text(entry, "type"),
        "content": content,
    }
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise OlmError(Reason.DAMAGED, "cannot be stored") from error
    if len(data) > _LARGEST:
        raise OlmError(Reason.DAMAGED, "too large")
    return data


def envelope(value: bytes) -> Envelope:
    """Undo `packed`."""
    found = orjson.loads(value)
    return Envelope(
        Owner(UserId(found["to"]), found["device"]), UserId(found["sender"]), found["type"], found["content"]
    )


def olm_body(content: Mapping[str, Any], ours: str) -> tuple[str, int, str]:
    """Sender key, message type and body of what is for our device. Raises OlmError."""
    if content.get("algorithm") != OLM:
        raise OlmError(Reason.ALGORITHM, "not Olm")
    ciphertext = content.get("ciphertext")
    mine = ciphertext.get(ours) if isinstance(ciphertext, Mapping) else None
    if not isinstance(mine, Mapping):
        raise OlmError(Reason.KEYS, "not for this device's key")
    kind, body = mine.get("type"), mine.get("body")
    if type(kind) is not int or not isinstance(body, str):
        raise OlmError(Reason.DAMAGED, "no usable body")
    return text(content, "sender_key"), kind, body


def inner(plaintext: bytes, outer: Envelope, sender_key: str, our_ed25519: str) -> Inner:
    """What an Olm message says, if it says for whom and of whom it is as the envelope does. Raises OlmError."""
    try:
        found = orjson.loads(plaintext)
    except orjson.JSONDecodeError as error:
        raise OlmError(Reason.DAMAGED, "not JSON") from error
    if not isinstance(found, Mapping):
        raise OlmError(Reason.DAMAGED, "not an object")
    if found.get("sender") != outer.sender:
        raise OlmError(Reason.SENDER, "of another sender than the homeserver says")
    keys = found.get("recipient_keys")
    if found.get("recipient") != outer.to.user or not isinstance(keys, Mapping) or keys.get("ed25519") != our_ed25519:
        raise OlmError(Reason.KEYS, "made for another recipient")
    content = found.get("content")
    if not isinstance(content, Mapping):
        raise OlmError(Reason.DAMAGED, "no content")
    _check_device_keys(found.get("sender_device_keys"), outer.sender, sender_key, claimed := _ed25519(found))
    return Inner(outer.sender, sender_key, claimed, text(found, "type"), content)


def _ed25519(found: Mapping[str, Any]) -> str:
    return text(found.get("keys"), "ed25519")


def _check_device_keys(value: Any, sender: UserId, sender_key: str, ed25519: str) -> None:
    # Optional (MSC4147), but where they are they must be of the device that sends.
    if value is None:
        return
    keys = value.get("keys") if isinstance(value, Mapping) else None
    if (
        not isinstance(keys, Mapping)
        or value.get("user_id") != sender
        or sender_key not in keys.values()
        or ed25519 not in keys.values()
    ):
        raise OlmError(Reason.KEYS, "with the keys of another device")


def room_key(found: Inner) -> RoomKey:
    """The session in an m.room_key or m.forwarded_room_key. Raises OlmError."""
    content = found.content
    if content.get("algorithm") != MEGOLM:
        raise OlmError(Reason.ALGORITHM, "not Megolm")
    room, key = RoomId(text(content, "room_id")), text(content, "session_key", _KEY_LONGEST)
    forwarded = found.type == "m.forwarded_room_key"
    session = InboundSession.exported(key) if forwarded else InboundSession.of_key(key)
    if session.id != text(content, "session_id"):
        raise OlmError(Reason.KEYS, "the key is of another session")
    if not forwarded:
        return RoomKey(room, session, found.sender_key, found.ed25519, forwarded=False)
    sender_key, ed25519 = text(content, "sender_key"), text(content, "sender_claimed_ed25519_key")
    return RoomKey(room, session, sender_key, ed25519, forwarded=True)


def withheld(content: Mapping[str, Any]) -> Withheld:
    """Of an m.room_key.withheld. Raises OlmError."""
    code = text(content, "code")
    if code == "m.no_olm":
        return Withheld(RoomId(""), text(content, "sender_key"), code)
    return Withheld(RoomId(text(content, "room_id")), text(content, "session_id"), code)


def key_request(content: Mapping[str, Any]) -> KeyRequest | None:
    """Of an m.room_key_request; None when it takes one back. Raises OlmError."""
    request, device = text(content, "request_id"), text(content, "requesting_device_id")
    if content.get("action") != "request":
        return None
    body = content.get("body")
    if not isinstance(body, Mapping) or body.get("algorithm") != MEGOLM:
        raise OlmError(Reason.ALGORITHM, "not Megolm")
    return KeyRequest(request, device, RoomId(text(body, "room_id")), text(body, "session_id"))


def event_inside(plaintext: bytes, room: RoomId) -> tuple[str, dict[str, Any]]:
    """Type and content of the event that a Megolm message holds. Raises CryptoRejectedError."""
    try:
        found = orjson.loads(plaintext)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise CryptoRejectedError(Reason.DAMAGED, "what was decrypted is no event")
    if found.get("room_id") != room:
        raise CryptoRejectedError(Reason.ROOM, "the message was made for another room")
    kind, content = found.get("type"), found.get("content")
    if not isinstance(kind, str) or not isinstance(content, dict):
        raise CryptoRejectedError(Reason.DAMAGED, "what was decrypted is no event")
    if kind.startswith(_JUDGED) and kind != "m.room.message":
        raise CryptoRejectedError(Reason.KIND, "such an event may not be encrypted")
    return kind, content
