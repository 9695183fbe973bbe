"""Of which device an event is, and how far that is trusted. What is of a device that nobody lists waits, if it must be.

Lists come late: of a new login, of a server that is away. So an event is never refused for a device that is not listed;
it is looked at again when its sender's list changes, and every ten minutes.
"""

from collections.abc import Callable, Iterable
from typing import Final

from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.errors import CryptoRejectedError, MissingKeyError, Reason
from bridge_core.crypto.inbound import Read
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.userkeys import UserKeys, trust_of
from bridge_core.engine.matrix_ports import MatrixRejectedError

__all__ = ["Senders"]

_EVERY: Final = 600.0
"""Seconds until lists are asked for again by themselves."""
_MOST: Final = 10_000

Place = tuple[RoomId, str]


class Senders:
    """`told(room, session)` lets what waits be tried again; it must not block."""

    def __init__(
        self,
        devices: DeviceLists,
        is_ours: Callable[[str], bool],
        clock: Clock,
        policy: Policy,
        told: Callable[[RoomId, str], None],
    ) -> None:
        self._devices = devices
        self._is_ours = is_ours
        self._clock = clock
        self._policy = policy
        self._told = told
        self._waiting: dict[UserId, set[Place]] = {}
        self._count = 0

    async def trust(self, room: RoomId, session: str, sender: UserId, read: Read) -> tuple[Trust, str]:
        """How far the device is trusted, and its name (empty: it is not listed).

        Raises CryptoRejectedError where it is not trusted enough, MissingKeyError where it is not listed (yet) and
        would have to be, TransientError where the homeserver has to be asked and cannot be.
        """
        if read.owner != sender:
            return self._enough(Trust.MISMATCHED), ""
        if self._is_ours(sender):
            return Trust.VERIFIED, ""
        keys = await self._keys(sender, read)
        device = keys.by_key(read.sender_key)
        if device is not None and device.ed25519 != read.ed25519:
            raise CryptoRejectedError(Reason.KEYS, "the session claims another device's keys")
        trust = _trust(keys, read)
        listed = device is not None and keys.by_key(read.by) is not None
        if not listed and Trust.BLOCKED < trust < self._policy.receive:
            self._wait(sender, (room, session))
            raise MissingKeyError(room, session, sender, listed=False)
        return self._enough(trust), device.id if device is not None else ""

    def changed(self, users: Iterable[UserId]) -> None:
        """The lists of these users are old now: what waits for them is tried again. Does not block."""
        if self._waiting:
            for user in users:
                places = self._waiting.pop(user, set())
                self._count -= len(places)
                for room, session in places:
                    self._told(room, session)

    async def watch(self) -> None:
        """Have lists asked for again, in case nobody tells of a change. Runs until cancelled."""
        while True:
            await self._clock.sleep(_EVERY)
            users = list(self._waiting)
            if users:
                self._devices.met(users)
                self.changed(users)

    async def _keys(self, sender: UserId, read: Read) -> UserKeys:
        wanted = self._policy.receive
        try:
            keys = (await self._devices.current([sender]))[sender]
            if keys.by_key(read.sender_key) is None or _trust(keys, read) < wanted:
                keys = await self._devices.since(sender, read.received_at)
        except MatrixRejectedError as error:
            if wanted > Trust.UNKNOWN:
                # It says something of the question, and nothing of the message, which must not be refused for it.
                raise TransientError(f"the homeserver does not say whose device it is: {error}") from error
            keys = await self._devices.known(sender)
        except BridgeError:
            if wanted > Trust.UNKNOWN:
                raise
            keys = await self._devices.known(sender)
        return keys

    def _enough(self, trust: Trust) -> Trust:
        if trust < self._policy.receive:
            raise CryptoRejectedError(Reason.TRUST, "sent by a device that is not trusted enough")
        return trust

    def _wait(self, user: UserId, place: Place) -> None:
        if self._count >= _MOST or place in self._waiting.get(user, ()):
            return  # where there are too many: tried again at the next start
        self._waiting.setdefault(user, set()).add(place)
        self._count += 1


def _trust(keys: UserKeys, read: Read) -> Trust:
    trust = _of(keys, read.sender_key, read.ed25519)
    return trust if read.by == read.sender_key else min(trust, _of(keys, read.by))


def _of(keys: UserKeys, curve25519: str, ed25519: str = "") -> Trust:
    trust = trust_of(keys, keys.by_key(curve25519))
    if trust is Trust.UNKNOWN and (name := keys.was_listed(curve25519, ed25519)):
        # Its owner has logged it out since, and what it said or passed on is theirs all the same.
        return Trust.BLOCKED if name in keys.blocked else Trust.UNSIGNED
    return trust
