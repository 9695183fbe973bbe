"""Outages that several tests make."""

import time

from tests.crash.rig import Rig


async def restart_ircd(rig: Rig, *, wait: bool = True) -> None:
    """Kills and starts the IRC server; the witness is back in the channel before the bridge may connect."""
    assert rig.gate is not None and rig.irc is not None
    rig.away("ircd")
    rig.ircd.kill()
    await rig.gate.shut()
    await rig.irc.close()
    await rig.ircd.start()
    await rig.irc.connect()
    at = time.time()
    await rig.gate.open()
    if wait:
        await rig.wait_back(at)
