"""Devices that cannot read what the bridge says, named once: in the room to its admins, and at the desks of admins.

What is said in the room is encrypted, so who has no other device reads nothing of it: clients tell them by the code
with which the key is withheld (client-server API, "m.room_key.withheld").
"""

import asyncio
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.engine.roomadmins import RoomAdmins
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "skippeddevices"
_UNVERIFIED: Final = "their owners have not verified them"
_KEYLESS: Final = "the homeserver has no keys left to reach them by (the bridge tries again while it speaks)"
_SHOWN: Final = 10
_OFTEN: Final = 86_400_000
"""Milliseconds between two notices for one reason in one room: anybody may add devices, or come with new ones."""
_LONGEST: Final = 20
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Names of devices that are said: their owners choose them, and the bot is to say no words or addresses of theirs."""
_KEPT: Final = 1_000
"""Devices of one room that are remembered as named; the earliest are forgotten."""


class SkippedDevices:
    """Every sender in a room leaves out the same devices: the room is told of each once, over restarts too."""

    def __init__(self, kv: KeyValues, status: Status, admins: RoomAdmins, clock: Clock) -> None:
        self._admins = admins
        self._kv = kv
        self._status = status
        self._clock = clock
        self._lock = asyncio.Lock()

    async def name(self, room: RoomId, devices: Sequence[tuple[str, str]], *, keyless: bool = False) -> None:
        """Tell the room of (user, device) that were not named before, at most once a day.

        Who is not told of now is told of when they are left out again later. `keyless`: they are verified, and had no
        key left to be reached by.
        """
        try:
            async with self._lock:
                await self._name(room, devices, keyless=keyless)
        except BridgeError as error:
            log.info("skipped_devices_not_named", room=room, error=str(error))

    async def _name(self, room: RoomId, devices: Sequence[tuple[str, str]], *, keyless: bool) -> None:
        stored = await self._kv.get(NAMESPACE, room)
        row: dict[str, Any] = orjson.loads(stored) if stored is not None else {"named": [], "told": {}}
        known = {(user, device) for user, device in row["named"]}
        new = sorted({(user, device) for user, device in devices if (user, device) not in known})
        now, reason = self._clock.now_ms(), "keyless" if keyless else "unverified"
        if not new or 0 <= now - row["told"].get(reason, 0) < _OFTEN:
            return
        log.info("devices_skipped", room=room, devices=len(new))
        # Said first: a crash in between says it once all the same, by its key.
        words, admins = _words(new, _KEYLESS if keyless else _UNVERIFIED), await self._admins.of(room)
        await self._status.say(room, words, key=f"skipped\x1f{_key([room, new])}", mentions=admins)
        for admin, desk in (await self._admins.desks(admins)).items():
            # Once for all rooms in which they are; anew in another management room: the last may not have been read.
            key = f"skipped\x1f{admin}\x1f{_key([reason, desk, new])}"
            await self._status.say(desk, words.replace("here", f"in {room}", 1), key=key)
        named = [*row["named"], *([user, device] for user, device in new)][-_KEPT:]
        await self._kv.put(NAMESPACE, room, orjson.dumps({"named": named, "told": {**row["told"], reason: now}}))


def _key(value: object) -> str:
    return blake2b(orjson.dumps(value), digest_size=16).hexdigest()


def _words(devices: Sequence[tuple[str, str]], why: str) -> str:
    shown = ", ".join(f"{user} ({_plain(device)})" for user, device in devices[:_SHOWN])
    more = f" and {len(devices) - _SHOWN} more" if len(devices) > _SHOWN else ""
    return f"These devices cannot read what the bridge says here, since {why}: {shown}{more}"


def _plain(device: str) -> str:
    return device[:_LONGEST] if _PLAIN.fullmatch(device) else "a device"
