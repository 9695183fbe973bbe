"""Transactions of the homeserver: what one holds and how its body is read.

Application Service API v1.19, "Pushing events"; to-device, device lists and key counts as MSC4203 and MSC3202 name
them, stable or not. One bad event never costs the others: it is left out and counted.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from bridge_core.matrix.salvage import salvage

__all__ = [
    "BadTransactionError",
    "Transaction",
    "TransactionSink",
    "is_entry",
    "read_transaction",
    "receive_transaction",
]

_ID_KEYS = ("event_id", "room_id", "sender", "type")
_MAX_ID = 255


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction. `digest` is of the body's bytes: ids alone repeat when a homeserver restarts.

    `events` have string `event_id`, `room_id`, `sender`, `type` and an object `content`; `ephemeral` and `to_device`
    entries are objects with a string `type` and an object `content`. The rest is as it came, `{}` when absent.
    """

    id: str
    digest: bytes
    events: list[dict[str, Any]]
    ephemeral: list[dict[str, Any]]
    to_device: list[dict[str, Any]]
    device_lists: dict[str, Any]
    otk_counts: dict[str, Any]
    fallback_types: dict[str, Any]
    skipped: int = 0
    """How many entries were left out since they were malformed."""


class TransactionSink(Protocol):
    """Where transactions go."""

    async def accept(self, txn: Transaction) -> None:
        """Return when everything in it is committed; the homeserver is answered 200 only then.

        Raises TransientError, RateLimitedError or BackpressureError: answered 503, the homeserver tries again later.
        """


class BadTransactionError(Exception):
    """The body is not a transaction: `errcode` (M_NOT_JSON or M_BAD_JSON) and why."""

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.errcode = errcode


async def receive_transaction(txn_id: str, body: bytes) -> Transaction:
    """As `read_transaction`, without blocking the loop for long: a body that no parser takes is read in a thread."""
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        return await asyncio.to_thread(read_transaction, txn_id, body)
    return _made(txn_id, body, whole, 0)


def read_transaction(txn_id: str, body: bytes) -> Transaction:
    """Returns the transaction in `body`; may take a second for one of many megabytes that no parser takes.

    Raises BadTransactionError when the whole is unusable.
    """
    lost = 0
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # One event nested deeper than the parser goes, or with half a surrogate pair, must not stop the queue.
        rescued = salvage(body)
        if rescued is None:
            raise BadTransactionError("M_NOT_JSON", f"the body is not JSON: {error}") from error
        whole, lost = rescued
    return _made(txn_id, body, whole, lost)


def _made(txn_id: str, body: bytes, whole: Any, lost: int) -> Transaction:
    if not isinstance(whole, dict):
        raise BadTransactionError("M_BAD_JSON", "the body must be an object")
    events = [event for event in _list(whole, "events") if is_event(event)]
    lost += len(_list(whole, "events")) - len(events)
    # With both registration flags set Synapse sends every EDU under both names.
    ephemeral_raw = _first(whole, "ephemeral", "de.sorunome.msc2409.ephemeral")
    to_device_raw = _first(whole, "to_device", "de.sorunome.msc2409.to_device")
    ephemeral = [entry for entry in ephemeral_raw if is_entry(entry)]
    to_device = [entry for entry in to_device_raw if is_entry(entry)]
    lost += len(ephemeral_raw) - len(ephemeral) + len(to_device_raw) - len(to_device)
    return Transaction(
        id=txn_id,
        digest=hashlib.sha256(body).digest(),
        events=events,
        ephemeral=ephemeral,
        to_device=to_device,
        device_lists=_mapping(whole, "device_lists"),
        otk_counts=_mapping(whole, "device_one_time_keys_count", "device_one_time_key_counts"),
        fallback_types=_mapping(whole, "device_unused_fallback_key_types"),
        skipped=lost,
    )


def _list(whole: dict[str, Any], key: str) -> list[Any]:
    value = whole.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadTransactionError("M_BAD_JSON", f"{key} must be a list")
    return value


def _first(whole: dict[str, Any], stable: str, unstable: str) -> list[Any]:
    return _list(whole, stable) or _list(whole, unstable)


def _mapping(whole: dict[str, Any], *names: str) -> dict[str, Any]:
    for prefix in ("", "org.matrix.msc3202."):
        for name in names:
            value = whole.get(prefix + name)
            if isinstance(value, dict):
                return value
    return {}


def is_event(event: Any) -> bool:
    """Whether it has all that an event needs, in the right types."""
    if not isinstance(event, dict) or not isinstance(event.get("content"), dict):
        return False
    for key in _ID_KEYS:
        value = event.get(key)
        # No grammar of ids has NUL, and PostgreSQL's text cannot: stored or refused, it would stop the queue.
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID or "\0" in value:
            return False
    return isinstance(event.get("state_key", ""), str)


def is_entry(entry: Any) -> bool:
    """Whether it is a signal or a to-device message: an object with a type, and an object as content."""
    return isinstance(entry, dict) and isinstance(entry.get("type"), str) and isinstance(entry.get("content", {}), dict)
