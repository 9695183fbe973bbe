"""Small pieces that fit the parts to each other's ports."""

import os
from dataclasses import dataclass

from bridge_core.api.host import Clock
from bridge_core.engine.faults import FaultPoints, NoFaults
from bridge_core.matrix.media import StoredAddress
from bridge_core.store.media import MediaRow, MediaStore


@dataclass(frozen=True, slots=True)
class StoredMediaKeys:
    """The Matrix side's `MediaKeys`, over the media store."""

    store: MediaStore
    clock: Clock

    async def get(self, key: str) -> StoredAddress | None:
        """What is stored for `key`."""
        row = await self.store.get(key)
        return StoredAddress(row.mxc, row.uploaded) if row is not None else None

    async def put(self, key: str, address: StoredAddress) -> None:
        """Return when committed."""
        await self.store.save(MediaRow(key, address.mxc, address.uploaded, self.clock.now_ms()))


def faults_from_environment() -> FaultPoints:
    """Fault points that kill this process where the environment says so (crash tests); none otherwise."""
    if "MATRIX_BRIDGE_KILL_AT" not in os.environ:
        return NoFaults()
    from bridge_core.testing.faults import KillingFaults

    return KillingFaults()
