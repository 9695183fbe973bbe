"""Which rooms are encrypted, and what follows: what is said there is sent encrypted or not at all.

A room that is encrypted stays so (client-server API, "m.room.encryption"). What is not known is asked of the
homeserver, once per room and start; where it cannot be known nothing is sent.
"""

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.api.matrix import MatrixSender
from bridge_core.content.polls import POLL_ENDS, POLL_STARTS, POLL_VOTES
from bridge_core.engine.acts import REASON, without_reason
from bridge_core.engine.decrypting import ClearEvent
from bridge_core.engine.gate import Check
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, NoDeviceError, SendRequest
from bridge_core.engine.portals import ENCRYPTED, PortalIndex, own_rooms
from bridge_core.engine.readers import Readers
from bridge_core.engine.secrecy import CLEAR, ENCRYPTION, MEGOLM, Plain, encryption_in, only_for
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_MOST: Final = 100_000
_TURNS: Final = 3
_UNKNOWN: Final = "it is not known yet whether this room is encrypted"
_NOT_ENCRYPTED: Final = "that network requires encrypted rooms, and this room is not encrypted"
_IN_CLEAR: Final = "that network requires encryption, and this was sent in the clear"
_SPOKEN: Final = frozenset({"m.room.message", "m.sticker", *POLL_STARTS, *POLL_VOTES, *POLL_ENDS})
"""What clients encrypt in encrypted rooms."""
_NOT_HERE: Final = "this room is encrypted, and encryption is off for that network"


async def _nobody(room: RoomId) -> None:
    return None


class RoomPolicy(Enum):
    """What a network's rooms may, shall or must be."""

    OFF = "off"
    ALLOW = "allow"
    DEFAULT = "default"
    REQUIRE = "require"


class Cipher(Protocol):
    """Encrypts: `crypto.machine.CryptoMachine`."""

    def settings(self, room: RoomId) -> object | None:
        """How the room is encrypted; None when it is not, as far as is known. Does not block."""

    async def room_encrypted(self, room: RoomId, content: Mapping[str, Any]) -> bool:
        """The room's m.room.encryption has this content; whether that is believed, once it is stored."""

    async def encrypt(
        self,
        request: SendRequest,
        members: frozenset[UserId],
        still: Callable[[frozenset[UserId]], frozenset[UserId]],
    ) -> SendRequest:
        """The request with its body encrypted for the devices of `members`. Raises where nothing may be sent.

        `still` gives those of them who are there when its turn comes.
        """

    async def lost(self, user: UserId, device: str) -> None:
        """The homeserver has lost a device of ours: its keys are uploaded again before it is used."""


class RoomEncryption(Check):
    """Of one bridge. Implements `matrix.sending.Sealing`.

    `policies` names networks; all others allow encryption. `trouble` says why encryption does not work now, empty when
    it does. `wake` lets lanes try again, `ghosts` tells who of ours is in a room.
    """

    def __init__(
        self,
        cipher: Cipher,
        matrix: MatrixSide,
        portals: PortalIndex,
        readers: Readers,
        is_ours: Callable[[str], bool],
        policies: Mapping[NetworkId, RoomPolicy],
        tasks: TaskOwner,
        wake: Callable[[], None],
        ghosts: Callable[[RoomId], Awaitable[AbstractSet[UserId]]],
        clock: Clock,
    ) -> None:
        self._cipher = cipher
        self._matrix = matrix
        self._portals = portals
        self._readers = readers
        self._is_ours = is_ours
        self._tasks = tasks
        self._wake = wake
        self._ghosts = ghosts
        self._begin = frozenset(
            name for name, one in policies.items() if one in {RoomPolicy.DEFAULT, RoomPolicy.REQUIRE}
        )
        self._ruled = {name: one for name, one in policies.items() if one in {RoomPolicy.OFF, RoomPolicy.REQUIRE}}
        self.trouble = ""
        self.plain = Plain(clock)
        """Rooms that are known not to be encrypted."""
        self._stale: set[RoomId] = set()
        """Rooms whose encryption has changed since it was asked for."""
        self._told: dict[RoomId, Mapping[str, Any]] = {}
        """What events have said of rooms that are not known to be encrypted."""
        self._devices: dict[UserId, str] = {}
        """Devices of those of ours whose requests name none."""
        self._changes = 0
        self._learning: set[RoomId] = set()
        self.made_so: Callable[[RoomId], Awaitable[None]] = _nobody
        """Told of a room that was there before and is encrypted now, by the bridge itself."""

    # What is known of rooms

    def known(self, room: RoomId) -> bool | None:
        """Whether the room is encrypted; None while that is not known. Does not block."""
        if self.plain.was(room):
            return False
        return True if self._cipher.settings(room) is not None else None

    async def encrypted(self, room: RoomId, viewer: UserId | None = None) -> bool:
        """Whether the room is encrypted, asked of the homeserver as the bot or as `viewer` where it is not known.

        Raises RejectedError where it is in a way that is not known here, and as the Matrix side: fail closed.
        """
        if room in self.plain:
            return False
        if room not in self._stale and self._cipher.settings(room) is not None:
            return True
        for _ in range(_TURNS):
            changes = self._changes
            content = await self._content(room, viewer)
            if changes == self._changes:  # else the answer may be older than what came meanwhile
                return await self._found(room, content)
        raise TransientError(_UNKNOWN)

    async def secret(self, room: RoomId, viewer: UserId) -> bool:
        """As `encrypted`, for files: what cannot be known, since nobody of ours may look, counts as encrypted."""
        try:
            return await self.encrypted(room, viewer)
        except RejectedError:
            return True

    async def others(self, room: RoomId, user: UserId) -> bool:
        """Whether anybody but this user reads what the bot says there. Raises as the Matrix side."""
        return not self._alone(await self._readers.of(room, self._matrix.bot), user)

    def _alone(self, readers: AbstractSet[UserId], user: UserId) -> bool:
        return all(reader == user or reader == self._matrix.bot for reader in readers)

    async def loses(self, old: RoomId, new: RoomId) -> str:
        """Why an encrypted room is not to go on as another, in words; empty: it may. Raises as the Matrix side."""
        if await self.secret(old, self._matrix.bot) and not await self.secret(new, self._matrix.bot):
            return "it is not encrypted, as this one is. Turn encryption on there, or bridge it by hand"
        return ""

    def changed(self, room: RoomId, content: Mapping[str, Any]) -> None:
        """The room's m.room.encryption has come in, of whatever content. Does not block."""
        self._changes += 1
        if len(self._told) >= _MOST:
            del self._told[next(iter(self._told))]
        self._told[room] = content
        self.plain.discard(room)
        self._stale.add(room)
        self._learn(room)

    def doubt(self) -> None:
        """Events that came are to come once more, and some may be late: no room counts as plain. Does not block."""
        self.plain.clear()

    async def bridged(self, portal: PortalRow, room: RoomId) -> None:
        """A room that was there is bridged now: find out whether it is encrypted."""
        await self._learned(room)

    def beginning(self, portal: PortalRow, info: ChatInfo | None) -> list[tuple[str, str, dict[str, Any]]]:
        """The state with which a portal's new room begins: a chat that was encrypted once is not put in the clear."""
        stays = portal.options.get(ENCRYPTED) and self._ruled.get(portal.network) is not RoomPolicy.OFF
        return [(ENCRYPTION, "", {"algorithm": MEGOLM})] if stays or portal.network in self._begin else []

    async def keep(self, room: RoomId) -> None:
        """Write down that the room is, or was, encrypted: what its chat says elsewhere follows. Twice does no harm."""
        for portal in self._portals.in_room(room):
            if not portal.options.get(ENCRYPTED):
                await self._portals.set_option(portal, ENCRYPTED, True)

    async def _content(self, room: RoomId, viewer: UserId | None) -> Mapping[str, Any] | None:
        bot = self._matrix.bot
        if viewer is not None and viewer != bot:
            return await encryption_in(self._matrix, room, bot, viewer)
        try:
            return await encryption_in(self._matrix, room, bot)
        except MatrixRejectedError as error:
            if error.status != 403:
                raise
            # People invite ghosts into rooms that will not have the bot.
            viewer = min(await self._ghosts(room) - {bot}, default=None)
            if viewer is None:
                raise
        return await encryption_in(self._matrix, room, viewer)

    async def _found(self, room: RoomId, content: Mapping[str, Any] | None) -> bool:
        known = self._cipher.settings(room) is not None
        if content is None:
            # An answer may be older than the event: of a worker that lags behind, or for somebody who has left since.
            content = self._told.get(room)
        if content is None:
            self._stale.discard(room)
            if not known:
                self.plain.add(room)
            return known
        changes = self._changes
        believed = await self._cipher.room_encrypted(room, content)
        if changes == self._changes:
            self._stale.discard(room)
            if believed or known:
                self._told.pop(room, None)
        if not believed and not known:
            raise RejectedError("this room is encrypted in a way that the bridge does not know")
        await self.keep(room)
        return True

    # Sending

    async def sealed(self, request: SendRequest) -> SendRequest:
        """What is sent instead of a request; the request itself where nothing is to be encrypted.

        Raises NoDeviceError where somebody else has to say it, TransientError and RejectedError where it must not be
        sent (now).
        """
        if request.redacts is not None:
            told = REASON in request.body and await self.secret(request.room, request.sender)
            return without_reason(request) if told else request
        if request.type in CLEAR:
            return request
        only = only_for(request) if request.sender == self._matrix.bot else None
        if not await self.encrypted(request.room, request.sender):
            if only is not None:
                raise RejectedError("it is for an encrypted room, and this one is not")
            return request
        if self.trouble:
            raise TransientError(f"this room is encrypted, and {self.trouble}")
        if not self._is_ours(request.sender):
            raise NoDeviceError("the bridge has no device of theirs to encrypt with")
        if request.device is None:
            # Made before the homeserver knew devices, or by a process that did not.
            request = replace(request, device=await self._device(request.sender))
        readers = await self._readers.of(request.room, request.sender)
        if only is not None and not self._alone(readers, only):
            raise RejectedError("others can read what is said there")  # they came after it was looked at
        try:
            return await self._cipher.encrypt(request, readers, partial(self._readers.still, request.room))
        except MatrixRejectedError as error:
            if error.errcode == "M_UNKNOWN_DEVICE":
                raise  # whoever sends makes it anew
            # It says something of keys and nothing of the message, which must not be lost for it.
            raise TransientError(f"the homeserver refused what encryption needs: {error}") from error

    async def _device(self, user: UserId) -> str:
        device = self._devices.get(user)
        if device is None:
            device = await self._matrix.ensure_registered(user)
            if device is None:
                raise TransientError("this room is encrypted, and the homeserver knows no devices of the bridge")
            if len(self._devices) >= _MOST:
                self._devices.clear()
            self._devices[user] = device
        return device

    async def lost(self, request: SendRequest) -> None:
        """The homeserver had lost the sender's device: its keys go there once more."""
        if request.device is not None:
            await self._cipher.lost(request.sender, request.device)

    # What may cross

    def room(self, room: RoomId) -> str:
        """As `Check.room`. Costs nothing where no network forbids or requires encryption."""
        if not self._ruled:
            return ""
        for portal in self._portals.in_room(room):
            rule = self._ruled.get(portal.network)
            if rule is None:
                continue
            encrypted = self.known(room)
            if encrypted is None:
                self._learn(room)
                raise TransientError(_UNKNOWN)
            if rule is RoomPolicy.OFF and encrypted:
                return _NOT_HERE
            if rule is RoomPolicy.REQUIRE:
                if not encrypted:
                    return _NOT_ENCRYPTED
                if self.trouble:
                    raise TransientError(f"that network requires encryption, and {self.trouble}")
        return ""

    def spend(self, sender: MatrixSender, event: Mapping[str, Any], received_at: int) -> None:
        """As `Check.spend`: what is said in the clear in an encrypted room is not for a network that requires it."""
        if not self._ruled or isinstance(event, ClearEvent) or event["type"] not in _SPOKEN:
            return
        for portal in self._portals.in_room(RoomId(event["room_id"])):
            if self._ruled.get(portal.network) is RoomPolicy.REQUIRE:
                raise RejectedError(_IN_CLEAR)

    def met(self) -> None:
        """The homeserver is there: find out about the rooms of networks that require encryption."""
        wanted = [
            room
            for portal in self._portals.all()
            if self._ruled.get(portal.network) is RoomPolicy.REQUIRE
            for room in portal.rooms
            if self.known(room) is None
        ]
        if wanted:
            self._tasks.start(self._survey(wanted), "room-encryption")

    async def _survey(self, rooms: list[RoomId]) -> None:
        for room in rooms:
            if self.known(room) is None:
                await self._learned(room)
        self._wake()

    def _learn(self, room: RoomId) -> None:
        if room not in self._learning:
            self._learning.add(room)
            self._tasks.start(self._learn_one(room), "room-encryption")

    async def _learn_one(self, room: RoomId) -> None:
        try:
            if await self._learned(room):
                self._wake()
        finally:
            self._learning.discard(room)

    async def _learned(self, room: RoomId) -> bool:
        """Find out whether a room is encrypted, and encrypt it where it must be; whether that is known now."""
        try:
            if await self.encrypted(room):
                await self.keep(room)
            else:
                await self._made_so(room)
        except (TransientError, RateLimitedError) as error:
            log.info("room_encryption_not_known", room=room, error=str(error))  # whoever wants to cross has it asked
        except BridgeError as error:
            if self._portals.in_room(room):
                log.warning("room_encryption_not_usable", room=room, error=str(error))
        return self.known(room) is not None

    async def _made_so(self, room: RoomId) -> None:
        """A room that the bridge made for a network that requires encryption, before it did, becomes encrypted."""
        for portal in self._portals.in_room(room):
            if self._ruled.get(portal.network) is RoomPolicy.REQUIRE and room in own_rooms(portal):
                await self._matrix.set_state(room, ENCRYPTION, "", {"algorithm": MEGOLM}, self._matrix.bot)
                log.info("room_made_encrypted", room=room, network=portal.network)
                self.plain.discard(room)
                await self.encrypted(room)
                await self.made_so(room)
                return
