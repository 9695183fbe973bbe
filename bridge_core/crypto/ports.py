"""What encryption needs of the store and of the homeserver. Implemented in `store` and `matrix`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.rows import (
    AccountRow,
    InboundRow,
    InboundSaved,
    InboundUsed,
    IndexRow,
    KeysWanted,
    OlmSessionGone,
    OlmSessionRow,
    OutboundRow,
    Outdated,
    Owner,
    RequestGone,
    RequestRow,
    RoomRow,
    Row,
    SecretRow,
    SharesRow,
    ToDeviceDone,
    ToDeviceRow,
    TrackedRow,
    Used,
    WithheldRow,
)
from bridge_core.engine.ports import Write

__all__ = [
    "AccountRow",
    "BackupVersion",
    "Claimed",
    "CryptoStore",
    "InboundRow",
    "InboundSaved",
    "InboundUsed",
    "IndexRow",
    "KeyServer",
    "KeysWanted",
    "OlmSessionGone",
    "OlmSessionRow",
    "OutboundRow",
    "Outdated",
    "Owner",
    "Queried",
    "RequestGone",
    "RequestRow",
    "RoomRow",
    "Row",
    "SecretRow",
    "SharesRow",
    "ToDeviceDone",
    "ToDeviceRow",
    "TrackedRow",
    "Used",
    "WithheldRow",
]


class CryptoStore(Protocol):
    """Keeps keys. One commit holds all rows it was given, in their order, or none.

    Every read sees all that was committed and all that was handed to `later`. Raises TransientError while the database
    cannot be used. What does not open with the configured secret comes with an empty value (one damaged row must not
    hide those beside it), but for secrets, rooms and requests, which raise UnreadableError.
    """

    @property
    def pickle_key(self) -> bytes:
        """32 bytes derived from the configured secret: what vodozemac encrypts its pickles with."""

    async def commit(self, rows: Sequence[Row]) -> None:
        """Return when all rows are committed."""

    def later(self, rows: Sequence[Row]) -> None:
        """Commit soon, not after what is settled in the journal later on. Never blocks."""

    def writes(self, rows: Sequence[Row]) -> tuple[Write, ...]:
        """The rows as writes of the journal, to be committed together with something else. Does not block."""

    async def account(self, owner: Owner) -> AccountRow | None:
        """A device's account."""

    async def owners(self) -> list[Owner]:
        """All devices of ours that have an account, in any order."""

    async def wanting(self, limit: int) -> list[Owner]:
        """Devices of ours whose one-time keys are marked as wanted."""

    async def tracked(self, users: Sequence[UserId]) -> list[TrackedRow]:
        """Those of the users that are tracked, in any order; in one statement for hundreds of users."""

    async def olm_sessions(self, owner: Owner, peers: Sequence[str]) -> list[OlmSessionRow]:
        """All Olm sessions with devices that have these identity keys; in one statement for hundreds of keys."""

    async def outbound(self, owner: Owner, room: RoomId) -> OutboundRow | None:
        """The outbound session of a device in a room."""

    async def shares(self, room: RoomId, session: str) -> list[SharesRow]:
        """Who has got a session's key, by part."""

    async def inbound(self, room: RoomId, session: str) -> list[InboundRow]:
        """The inbound sessions with this id: as many as there are devices that claim it, mostly one."""

    async def unsaved(self, generation: int, limit: int) -> list[InboundRow]:
        """Inbound sessions that are not in the backup of this generation, at most `limit`, in any order."""

    async def count_unsaved(self, generation: int) -> int:
        """How many such sessions there are. Reads an index of all: for people who ask."""

    async def used(self, room: RoomId, session: str, sender_key: str) -> Used:
        """How far an inbound session was used, also before it was swept and came again."""

    async def index(self, room: RoomId, session: str, sender_key: str, index: int) -> IndexRow | None:
        """Which event used an index."""

    async def withheld(self, room: RoomId, session: str) -> list[WithheldRow]:
        """Who will not give us a session's key."""

    async def last_to_device(self) -> int:
        """The highest id of a to-device message so far; 0 when there was none."""

    async def to_device(self, after: int, limit: int) -> list[ToDeviceRow]:
        """To-device messages that are not handled, with ids above `after`, in order; empty values do not open."""

    async def requests(self, room: RoomId, session: str) -> list[RequestRow]:
        """Our open requests for a session's key."""

    async def secret(self, name: str) -> bytes | None:
        """A named secret."""

    async def rooms(self) -> list[RoomRow]:
        """All encrypted rooms."""

    async def sweep(self, *, received_before: int, unused_before: int, forgotten_before: int) -> dict[str, int]:
        """Remove, in small pieces, what is too old; return how many rows of what (`inbound`, `to_device`, ...).

        Inbound sessions received before `received_before` or used last before `unused_before` (0: none), with their
        shares and their indexes but for the highest; shares, handled to-device messages, withheld notes and requests
        older than `forgotten_before`.
        """


@dataclass(frozen=True, slots=True)
class Queried:
    """The answer of /keys/query as it came: objects by user. `failed` are servers that did not answer."""

    devices: Mapping[str, Any]
    masters: Mapping[str, Any]
    self_signing: Mapping[str, Any]
    user_signing: Mapping[str, Any]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer of /keys/claim as it came: user to device to key id to key. `failed` are silent servers."""

    keys: Mapping[str, Any]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BackupVersion:
    """A backup of keys at the homeserver, as it says. `count`: sessions in it."""

    version: str
    algorithm: str
    auth_data: Mapping[str, Any]
    count: int = 0


class KeyServer(Protocol):
    """The homeserver's key endpoints, each call as one device of ours (user_id and device_id).

    Errors: TransientError (no answer, 5xx), RateLimitedError (429), MatrixRejectedError. Nothing is retried inside;
    every call waits for a bounded time.
    """

    async def upload_keys(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, int]:
        """POST /keys/upload (device_keys, one_time_keys, fallback_keys); return the counts by algorithm."""

    async def query_keys(self, owner: Owner, users: Sequence[UserId]) -> Queried:
        """POST /keys/query for all devices of the users."""

    async def claim_keys(self, owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Claimed:
        """POST /keys/claim: user to device to algorithm."""

    async def send_to_device(
        self, owner: Owner, event_type: str, txn: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """PUT /sendToDevice: user to device (or `*`) to content. The same `txn` again is sent once."""

    async def upload_cross_signing(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """POST /keys/device_signing/upload (master_key, self_signing_key, user_signing_key), as an appservice user.

        Raises IdentityFailedError where the homeserver may refuse these keys for good without saying so.
        """

    async def account_data(self, owner: Owner, kind: str) -> Mapping[str, Any] | None:
        """GET /user/{userId}/account_data/{type} of the owner's user; None when there is none."""

    async def put_account_data(self, owner: Owner, kind: str, content: Mapping[str, Any]) -> None:
        """PUT /user/{userId}/account_data/{type}: it is as `content` from now on."""

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """POST /keys/signatures/upload: user to device id or key to signed object; return the failures."""

    async def backup_version(self, owner: Owner) -> BackupVersion | None:
        """GET /room_keys/version: the current backup of the owner's user; None when there is none."""

    async def make_backup(self, owner: Owner, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """POST /room_keys/version: a new backup, which is the current one from now on. Others stay as they are."""

    async def put_backup(self, owner: Owner, version: str, rooms: Mapping[RoomId, Mapping[str, Any]]) -> int:
        """PUT /room_keys/keys: room to session to key data; return how many sessions are in the backup.

        Sessions that are there as good stay as they are. Raises MatrixRejectedError (M_NOT_FOUND,
        M_WRONG_ROOM_KEYS_VERSION) when the version is not the current one.
        """

    async def backed_up(self, owner: Owner, version: str, room: RoomId, session: str) -> Mapping[str, Any] | None:
        """GET /room_keys/keys of one session: its key data; None when the backup, or the version, has none."""
