"""What admins do with the bridge's identities and with the devices of others, where encryption is on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.config.encryption import Encryption as Settings
from bridge_core.config.encryption import EncryptionMode
from bridge_core.crypto.errors import OlmError
from bridge_core.crypto.ports import Owner
from bridge_core.engine.commands.encryption import NONE, EncryptionState
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.store_ports import KeyValues

if TYPE_CHECKING:
    from bridge_core.crypto.machine import CryptoMachine

__all__ = ["IdentityKeeper"]

_CONFIRMED: Final = "encryption.confirmed"
"""Users with a confirmed identity, whatever becomes of what is known of their devices."""
_OTHER_DEVICE: Final = (
    "the homeserver has other keys of the device {device} than this database, so the database was lost, or another "
    "bridge has the same name: "
)
_RESTORE: Final = (
    "the recovery key in use did not make the identities there. Say `encryption restore KEY` if you have the one that "
    "did, then {rename}"
)
_RENAME: Final = "set encryption.device to a new name, such as {device}, and start again"
_FITS: Final = "the recovery key is the right one; now {rename}"


class IdentityKeeper:
    """As `engine.commands.encryption.Keeper`. `polling` tells whether keys are asked for by /sync.

    `failing` tells which tasks of encryption fail now, and why.
    """

    def __init__(
        self,
        machine: CryptoMachine,
        rooms: RoomEncryption,
        settings: Settings,
        policies: Mapping[NetworkId, RoomPolicy],
        bot: Owner,
        is_ours: Callable[[UserId], bool],
        polling: Callable[[], bool],
        failing: Callable[[], Mapping[str, str]],
        kv: KeyValues,
        is_admin: Callable[[UserId], bool],
    ) -> None:
        self._machine = machine
        self._rooms = rooms
        self._settings = settings
        self._policies = policies
        self._bot = bot
        self._is_ours = is_ours
        self._polling = polling
        self._failing = failing
        self._kv = kv
        self._is_admin = is_admin
        self._lost = False
        """The homeserver has other keys of the bot's device."""

    def state(self) -> EncryptionState:
        """How encryption is. Does not block."""
        return EncryptionState(
            self._settings.mode.value,
            self._way(),
            self._settings.ghost_devices.value,
            {name: policy.value for name, policy in self._policies.items()},
            self._machine.encrypted_rooms,
            self._machine.accounts.made,
            self._rooms.trouble,
            self._failing(),
        )

    def _way(self) -> str:
        if not self._polling():
            return "with the homeserver's transactions"
        if self._settings.mode is EncryptionMode.AUTO:
            return "by /sync, until the homeserver's transactions bring them"
        return "by /sync"

    async def recovery_key(self) -> str:
        """The key that opens all identities."""
        return await self._machine.cross.recovery_key()

    async def rotate(self) -> None:
        """A new recovery key, and new identities: the bot's at once, a ghost's when it speaks next."""
        await self._machine.identities.rotate(self._bot)
        self._key_changed()

    async def reset(self, user: UserId) -> None:
        """A new identity for one user of ours, uploaded at once."""
        self.resettable(user)
        await self._machine.identities.reset(self._device(user))

    def resettable(self, user: UserId) -> None:
        """Raises RejectedError where a user has no identity of ours."""
        if not self._is_ours(user):
            raise RejectedError(f"{user} is no user of this bridge")
        if not self._machine.accounts.has(self._device(user)):
            raise RejectedError(f"{user} has no identity yet: it has not spoken in an encrypted room")

    def _device(self, user: UserId) -> Owner:
        return Owner(user, self._bot.device)

    async def replaces(self, key: str) -> bool:
        """Whether a recovery key that was written down would replace another, which identities are made of."""
        try:
            return await self._machine.cross.differs(key) and self._machine.accounts.made > 0
        except OlmError as error:
            raise RejectedError(str(error)) from error

    async def restore(self, key: str) -> bool:
        """Take a recovery key that was written down: all identities are then those it made.

        Whether it made the identity that the homeserver has of the bot, where that matters and can be told.
        """
        try:
            await self._machine.cross.restore(key)
        except OlmError as error:
            raise RejectedError(str(error)) from error
        self._key_changed()
        fits = True
        if self._lost:
            with contextlib.suppress(BridgeError):
                fits = await self._machine.identities.fits(self._bot)
            with contextlib.suppress(BridgeError):  # it is looked at again and again until all is well
                await self.stand()
        if not self._rooms.trouble:
            await self._machine.accounts.ready(self._bot)
        return fits

    async def stand(self) -> None:
        """Compare the bot's device with what the homeserver has of it. Raises TransientError where it is not ours."""
        from bridge_core.crypto.identities import Standing

        identities, device = self._machine.identities, self._bot.device
        self._lost = await identities.standing(self._bot) is Standing.OTHER
        if not self._lost:
            self._rooms.trouble = ""
            return
        rename = _RENAME.format(device=_next(device))
        advice = _FITS if await identities.fits(self._bot) else _RESTORE
        self._rooms.trouble = _OTHER_DEVICE.format(device=device) + advice.format(rename=rename)
        raise TransientError(self._rooms.trouble)

    def _key_changed(self) -> None:
        if self._machine.backup is not None:
            self._machine.backup.wake()

    async def guarded(self) -> bool:
        """Whether an admin's identity is confirmed."""
        return any(self._is_admin(UserId(user)) for user in await self._kv.items(_CONFIRMED, ""))

    async def confirmed(self, user: UserId) -> str:
        """A user's master key that an admin has confirmed; empty: none."""
        return (await self._machine.devices.known(user)).confirmed

    async def confirm(self, user: UserId, key: str) -> str:
        """A user's master key, confirmed where `key` is just that; `none` takes a confirmation back."""
        devices = self._machine.devices
        devices.met([user])  # while no room is shared no homeserver tells of a change
        keys = (await devices.current([user]))[user]
        if key == NONE:
            keys = await devices.change(user, confirm="")
            await self._kv.put(_CONFIRMED, user, None)
        elif not keys.master:
            raise RejectedError(f"{user} has no identity, as far as I know")
        elif key == keys.master:
            keys = await devices.change(user, confirm=key)
            await self._kv.put(_CONFIRMED, user, key.encode())
        elif key:
            raise RejectedError(f"the identity of {user} is another: {keys.master}")
        return keys.master

    async def block(self, user: UserId, device: str, *, blocked: bool) -> bool:
        """A device is blocked, or no more; whether it was otherwise before."""
        known = await self._machine.devices.known(user)
        if device not in known.devices and device not in known.blocked:
            raise RejectedError(f"{user} has no device {device}, as far as I know")
        if (device in known.blocked) is blocked:
            return False
        if blocked:
            await self._machine.devices.change(user, block=[device])
        else:
            await self._machine.devices.change(user, unblock=[device])
        return True


def _next(name: str) -> str:
    """Another name of a device: MATRIXBRIDGE2 behind MATRIXBRIDGE."""
    stem = name.rstrip("0123456789") or name
    return f"{stem}{int(name[len(stem) :] or 1) + 1}"
