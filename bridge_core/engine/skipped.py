"""Devices that cannot read what the bridge says, named once in the room: their owners can do something about it."""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import RoomId
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "skippeddevices"
_UNVERIFIED: Final = "their owners have not verified them"
_KEYLESS: Final = "the homeserver has no keys left to reach them by (the bridge tries again while it speaks)"
_SHOWN: Final = 10
_KEPT: Final = 1_000
"""Devices of one room that are remembered as named; the earliest are forgotten."""


class SkippedDevices:
    """Every sender in a room leaves out the same devices: the room is told of each once, over restarts too."""

    def __init__(self, kv: KeyValues, status: Status) -> None:
        self._kv = kv
        self._status = status
        self._lock = asyncio.Lock()

    async def name(self, room: RoomId, devices: Sequence[tuple[str, str]], *, keyless: bool = False) -> None:
        """Tell the room of (user, device) that were not named before. What cannot be stored now is told later.

        `keyless`: they are verified, and had no key left to be reached by.
        """
        try:
            async with self._lock:
                await self._name(room, devices, _KEYLESS if keyless else _UNVERIFIED)
        except BridgeError as error:
            log.info("skipped_devices_not_named", room=room, error=str(error))

    async def _name(self, room: RoomId, devices: Sequence[tuple[str, str]], why: str) -> None:
        stored = await self._kv.get(NAMESPACE, room)
        named: list[list[str]] = orjson.loads(stored) if stored is not None else []
        known = {(user, device) for user, device in named}
        new = sorted({(user, device) for user, device in devices if (user, device) not in known})
        if not new:
            return
        log.info("devices_skipped", room=room, devices=len(new))
        # Said first: a crash in between says it once all the same, by its key.
        key = blake2b(orjson.dumps([room, new]), digest_size=16).hexdigest()
        await self._status.say(room, _words(new, why), key=f"skipped\x1f{key}")
        named = [*named, *([user, device] for user, device in new)][-_KEPT:]
        await self._kv.put(NAMESPACE, room, orjson.dumps(named))


def _words(devices: Sequence[tuple[str, str]], why: str) -> str:
    shown = ", ".join(f"{user} ({device})" for user, device in devices[:_SHOWN])
    more = f" and {len(devices) - _SHOWN} more" if len(devices) > _SHOWN else ""
    return f"These devices cannot read what the bridge says here, since {why}: {shown}{more}"
