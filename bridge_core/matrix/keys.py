"""The homeserver's key endpoints, each call as one of our users and their device: implements `KeyServer`.

Client-Server API v1.17, "End-to-End Encryption" and "Send-to-Device messaging"; the device is named by `device_id`
("Application Service API", "Identity assertion"; MSC3202 before that).
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.errors import IdentityFailedError
from bridge_core.crypto.ports import BackupVersion, Claimed, Owner, Queried
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.matrix.failures import HomeserverFailedError
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.requests import UnreadableAnswerError
from bridge_core.matrix.transaction import is_entry

__all__ = ["Keys", "Synced"]

_log = structlog.get_logger(__name__)

_ELSEWHERE: Final = frozenset({"query", "claim"})
_AT_ONCE: Final = 8
"""Calls that may wait for other servers: far fewer than there are connections, so that messages always have some."""
_REMOTE_MS: Final = 10_000
"""How long the homeserver waits for other servers; those that do not answer are named in `failed`."""
_NOT_FOUND: Final = "M_NOT_FOUND"

# Rooms come with transactions; a filter that names none is the smallest /sync there is.
_ONLY_KEYS: Final = orjson.dumps(
    {"room": {"rooms": []}, "presence": {"types": []}, "account_data": {"types": []}}
).decode()


@dataclass(frozen=True, slots=True)
class Synced:
    """What one /sync of a device brought, in the form of a transaction's; `since` is for the next one."""

    since: str
    to_device: list[dict[str, Any]]
    """As they came, with `to_user_id` and `to_device_id`."""
    device_lists: dict[str, Any]
    otk_counts: dict[str, Any]
    fallback_types: dict[str, Any]


class Keys:
    """Implements `KeyServer`. Holds nothing; nothing is retried.

    What other users' devices say is strangers' text: an answer that holds something unreadable is asked for again
    without its user, so that one user cannot keep the keys of all others from the bridge.
    """

    def __init__(self, homeserver: Homeserver) -> None:
        self._hs = homeserver
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def upload_keys(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, int]:
        """POST /keys/upload; the counts by algorithm. Raises MatrixRejectedError when the device is gone."""
        answer = await self._post("upload", owner, body)
        return {
            algorithm: count
            for algorithm, count in _object(answer, "one_time_key_counts").items()
            if isinstance(count, int)
        }

    async def query_keys(self, owner: Owner, users: Sequence[UserId]) -> Queried:
        """POST /keys/query for all devices of the users; who cannot be read has none."""
        if not users:
            return Queried({}, {}, {}, {})
        try:
            answer = await self._post(
                "query", owner, {"device_keys": {user: [] for user in users}, "timeout": _REMOTE_MS}
            )
        except UnreadableAnswerError:
            if len(users) == 1:
                _log.warning("keys_unreadable", user=users[0])
                return Queried({}, {}, {}, {})
            middle = len(users) // 2
            return _both(
                await self.query_keys(owner, users[:middle]),
                await self.query_keys(owner, users[middle:]),
            )
        return Queried(
            _object(answer, "device_keys"),
            _object(answer, "master_keys"),
            _object(answer, "self_signing_keys"),
            _object(answer, "user_signing_keys"),
            frozenset(_object(answer, "failures")),
        )

    async def claim_keys(self, owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Claimed:
        """POST /keys/claim: user to device to algorithm. Who cannot be read gave none."""
        if not wanted:
            return Claimed({})
        try:
            answer = await self._post("claim", owner, {"one_time_keys": wanted, "timeout": _REMOTE_MS})
        except UnreadableAnswerError:
            users = list(wanted)
            if len(users) == 1:
                _log.warning("keys_unreadable", user=users[0])
                return Claimed({})
            middle = len(users) // 2
            first = await self.claim_keys(owner, {user: wanted[user] for user in users[:middle]})
            rest = await self.claim_keys(owner, {user: wanted[user] for user in users[middle:]})
            return Claimed({**first.keys, **rest.keys}, first.failed | rest.failed)
        return Claimed(_object(answer, "one_time_keys"), frozenset(_object(answer, "failures")))

    async def send_to_device(
        self, owner: Owner, event_type: str, txn: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """PUT /sendToDevice: user to device (or `*`) to content.

        The same `txn` of the same owner again is sent once, as long as the homeserver remembers it (Synapse: half an
        hour, not over a restart).
        """
        # Synapse's key of an appservice's transaction does not hold the user: two of ours must not share one.
        name = blake2b("\0".join((owner.user, owner.device, txn)).encode(), digest_size=16).hexdigest()
        await self._hs.put(
            "sendToDevice",
            event_type,
            name,
            content={"messages": messages},
            user=owner.user,
            query={"device_id": owner.device},
        )

    async def upload_cross_signing(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """POST /keys/device_signing/upload; appservice users need no user-interactive authentication.

        Raises IdentityFailedError for 500, which is Synapse's answer to keys that it had before and that were replaced.
        """
        try:
            await self._post("device_signing", owner, body, "upload")
        except HomeserverFailedError as error:
            if error.status == 500:
                raise IdentityFailedError(str(error)) from error
            raise

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """POST /keys/signatures/upload; the failures, by user and device or key."""
        return _object(await self._post("signatures", owner, body, "upload"), "failures")

    async def backup_version(self, owner: Owner) -> BackupVersion | None:
        """GET /room_keys/version; None when the user has no backup."""
        try:
            answer = await self._hs.get("room_keys", "version", user=owner.user)
        except MatrixRejectedError as error:
            if error.errcode == _NOT_FOUND:
                return None
            raise
        version, algorithm, count = answer.get("version"), answer.get("algorithm"), answer.get("count")
        if not isinstance(version, str) or not isinstance(algorithm, str):
            raise TransientError("the homeserver does not say which backup of keys there is")
        return BackupVersion(version, algorithm, _object(answer, "auth_data"), count if isinstance(count, int) else 0)

    async def make_backup(self, owner: Owner, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """POST /room_keys/version; its version."""
        answer = await self._hs.post(
            "room_keys", "version", content={"algorithm": algorithm, "auth_data": auth_data}, user=owner.user
        )
        version = answer.get("version")
        if not isinstance(version, str):
            raise TransientError("the homeserver does not say which backup of keys it made")
        return version

    async def put_backup(self, owner: Owner, version: str, rooms: Mapping[RoomId, Mapping[str, Any]]) -> int:
        """PUT /room_keys/keys; how many sessions the backup has."""
        answer = await self._hs.put(
            "room_keys",
            "keys",
            content={"rooms": {room: {"sessions": sessions} for room, sessions in rooms.items()}},
            user=owner.user,
            query={"version": version},
        )
        count = answer.get("count")
        return count if isinstance(count, int) else 0

    async def backed_up(self, owner: Owner, version: str, room: RoomId, session: str) -> Mapping[str, Any] | None:
        """GET /room_keys/keys/{room}/{session}; None when there is none, or no such version."""
        try:
            return await self._hs.get("room_keys", "keys", room, session, user=owner.user, query={"version": version})
        except MatrixRejectedError as error:
            if error.errcode == _NOT_FOUND:
                return None
            raise

    async def account_data(self, owner: Owner, kind: str) -> Mapping[str, Any] | None:
        """GET /user/{userId}/account_data/{type}; None when there is none."""
        try:
            return await self._hs.get("user", owner.user, "account_data", kind, user=owner.user)
        except MatrixRejectedError as error:
            if error.errcode == _NOT_FOUND:
                return None
            raise

    async def put_account_data(self, owner: Owner, kind: str, content: Mapping[str, Any]) -> None:
        """PUT /user/{userId}/account_data/{type}."""
        await self._hs.put("user", owner.user, "account_data", kind, content=content, user=owner.user)

    async def sync(self, owner: Owner, since: str | None, *, wait: float = 0) -> Synced:
        """GET /sync of a device, without rooms: waits up to `wait` seconds (less than the requests' own bound).

        For homeservers that bring no to-device messages with transactions, and after an outage of the bridge: Synapse
        (1.163, measured) then drops those, device lists and counts from the transactions it sends later, and keeps the
        messages in the devices' inboxes until a /sync went beyond them, also those that were pushed. `since` None
        brings what is in the inbox; whose devices changed is told from a `since` on only.
        """
        query = {
            "device_id": owner.device,
            "timeout": str(int(wait * 1000)),
            "filter": _ONLY_KEYS,
            "set_presence": "offline",
        }
        if since is not None:
            query["since"] = since
        answer = await self._hs.get("sync", user=owner.user, query=query)
        token = answer.get("next_batch")
        if not isinstance(token, str):
            raise TransientError("the homeserver's sync names no place to go on from")
        events = _object(answer, "to_device").get("events")
        unused = answer.get("device_unused_fallback_key_types")
        return Synced(
            token,
            [
                {**event, "to_user_id": owner.user, "to_device_id": owner.device}
                for event in (events if isinstance(events, list) else [])
                if is_entry(event)
            ],
            _object(answer, "device_lists"),
            {owner.user: {owner.device: _object(answer, "device_one_time_keys_count")}},
            {owner.user: {owner.device: unused}} if isinstance(unused, list) else {},
        )

    async def _post(self, endpoint: str, owner: Owner, body: Mapping[str, Any], *more: str) -> dict[str, Any]:
        async with self._gate if endpoint in _ELSEWHERE else contextlib.nullcontext():
            return await self._hs.post(
                "keys", endpoint, *more, content=body, user=owner.user, query={"device_id": owner.device}
            )


def _object(answer: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = answer.get(key)
    return value if isinstance(value, dict) else {}


def _both(one: Queried, other: Queried) -> Queried:
    return Queried(
        {**one.devices, **other.devices},
        {**one.masters, **other.masters},
        {**one.self_signing, **other.self_signing},
        {**one.user_signing, **other.user_signing},
        one.failed | other.failed,
    )
