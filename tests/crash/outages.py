"""Outages that several tests make."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.crash.rig import Rig
from tests.crash.talk import Load


async def restart_ircd(rig: Rig, *, wait: bool = True) -> None:
    """Kills and starts the IRC server; the witness is back in the channel before the bridge may connect."""
    assert rig.gate is not None and rig.irc is not None
    rig.away("ircd")
    rig.ircd.kill()
    await rig.irc.read_to_the_end()
    await rig.gate.shut()
    await rig.irc.close()
    await rig.ircd.start()
    await rig.irc.connect()
    at = time.time()
    await rig.gate.open()
    if wait:
        await rig.wait_back(at)


async def kill_homeserver(rig: Rig, load: Load, *, bridge: bool = False) -> None:
    """SIGKILL of Synapse, and of the bridge with it."""
    async with _nothing_owed(rig, load):
        if bridge:
            rig.kill()
        rig.site.synapse.kill()


async def stop_homeserver(rig: Rig, load: Load) -> None:
    """SIGTERM of Synapse, which ends it at once, too."""
    async with _nothing_owed(rig, load):
        await rig.site.synapse.stop()


@contextlib.asynccontextmanager
async def _nothing_owed(rig: Rig, load: Load) -> AsyncIterator[None]:
    """The user is silent, and all that was said has crossed or its sender was told.

    Synapse keeps in memory only which events it owes to a service until it has made a transaction of them
    (handlers/appservice.py, 1.163, moves its stored position before that), and forgets them when it ends. What that
    means has a test of its own.
    """
    async with load.matrix.turn:
        async with asyncio.timeout(60):
            while (await rig.look(load)).lost_to_network():
                await asyncio.sleep(0.1)
        yield
