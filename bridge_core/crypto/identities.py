"""What an admin does with the bridge's own devices and identities: look, reset, rotate, restore.

Source: client-server API, "Cross-signing". Users of an appservice need no interactive authentication for it (v1.17).
"""

from collections.abc import Mapping
from enum import StrEnum

import structlog

from bridge_core.crypto.accounts import Accounts
from bridge_core.crypto.crosssigning import CrossSigning
from bridge_core.crypto.keyobjects import read_cross_key, read_device
from bridge_core.crypto.ports import KeyServer, Owner

__all__ = ["Identities", "Standing"]

_log = structlog.get_logger(__name__)


class Standing(StrEnum):
    """How what the homeserver has of a device of ours compares with what we have."""

    RIGHT = "right"
    ABSENT = "absent"
    """It has no keys of the device: they are uploaded with its next message."""
    OTHER = "other"
    """It has other keys under the device's name, which never change: the device has to be deleted and made anew."""
    UNSIGNED = "unsigned"
    """The device's keys are right, and its owner's identity is not ours or has not signed them."""


class Identities:
    """For commands and the check at start. Raises as KeyServer and CryptoStore."""

    def __init__(self, server: KeyServer, accounts: Accounts, cross: CrossSigning) -> None:
        self._server = server
        self._accounts = accounts
        self._cross = cross

    async def standing(self, owner: Owner) -> Standing:
        """Compare with the homeserver. A device that it has lost is uploaded again by the next `Accounts.ready`."""
        answer = await self._server.query_keys(owner, [owner.user])
        given = answer.devices.get(owner.user)
        value = given.get(owner.device) if isinstance(given, Mapping) else None
        ours = await self._accounts.known(owner)
        if value is None:
            await self._accounts.lost(owner)
            return Standing.ABSENT
        master = read_cross_key(answer.masters.get(owner.user), owner.user, "master")
        signer = read_cross_key(answer.self_signing.get(owner.user), owner.user, "self_signing", master)
        device = read_device(value, owner.user, owner.device, signer)
        if device is None or ours is None or device.ed25519 != ours.account.ed25519:
            _log.warning("device_is_not_ours", user=owner.user, device=owner.device)
            return Standing.OTHER
        identity = await self._cross.identity(owner.user)
        if not self._accounts.signs:
            return Standing.RIGHT
        return Standing.RIGHT if device.signed and master == identity.master.public else Standing.UNSIGNED

    async def fits(self, owner: Owner) -> bool:
        """Whether the identity that the homeserver has of the owner is one that the recovery key makes."""
        answer = await self._server.query_keys(owner, [owner.user])
        master = read_cross_key(answer.masters.get(owner.user), owner.user, "master")
        return bool(master) and await self._cross.makes(owner.user, master)

    async def reset(self, owner: Owner) -> None:
        """Give a user another identity, uploaded at once. Others see it change and have to trust it anew."""
        await self._cross.reset(owner.user)
        await self._accounts.lost(owner)
        await self._accounts.ready(owner)

    async def rotate(self, bot: Owner) -> str:
        """A new recovery key, which is returned, and new identities: the bot's at once, a ghost's when it speaks."""
        await self._cross.rotate()
        await self._accounts.ready(bot)
        return await self._cross.recovery_key()

    async def restore(self, bot: Owner, text: str) -> None:
        """Take a recovery key that was written down: all identities are then those it made. Raises OlmError."""
        await self._cross.restore(text)
        await self._accounts.ready(bot)
