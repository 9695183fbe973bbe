"""The homeserver's key endpoints, each call as one of our users and their device: implements `KeyServer`.

Client-Server API v1.17, "End-to-End Encryption" and "Send-to-Device messaging"; the device is named by `device_id`
("Application Service API", "Identity assertion"; MSC3202 before that).
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import structlog

from bridge_core.api.ids import UserId
from bridge_core.crypto.ports import Claimed, Owner, Queried
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.requests import UnreadableAnswerError

__all__ = ["Keys"]

_log = structlog.get_logger(__name__)

_REMOTE_MS: Final = 10_000
"""How long the homeserver waits for other servers; those that do not answer are named in `failed`."""


class Keys:
    """Implements `KeyServer`. Holds nothing; nothing is retried.

    What other users' devices say is strangers' text: an answer that holds something unreadable is asked for again
    without its user, so that one user cannot keep the keys of all others from the bridge.
    """

    def __init__(self, homeserver: Homeserver) -> None:
        self._hs = homeserver

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
        """POST /keys/device_signing/upload; appservice users need no user-interactive authentication."""
        await self._post("device_signing", owner, body, "upload")

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """POST /keys/signatures/upload; the failures, by user and device or key."""
        return _object(await self._post("signatures", owner, body, "upload"), "failures")

    async def _post(self, endpoint: str, owner: Owner, body: Mapping[str, Any], *more: str) -> dict[str, Any]:
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
