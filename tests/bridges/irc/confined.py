"""What needs a network of its own: the ident port that IRC servers ask, and addresses that no interface has.

``python -m tests.bridges.irc.confined FOLDER`` runs within one (see test_real_access) and prints what servers saw.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bridges.irc.demo.options import ServerOptions
from bridges.irc.demo.server import DemoIrcServer
from tests.bridges.irc.rig import Rig
from tests.servers.inspircd import InspIRCd

PREFIX = "2001:db8:1::/48"
USERS = ("@anna:one.test", "@ben:one.test", "@anna:two.test")


async def inspircd(folder: Path) -> dict[str, str]:
    """What InspIRCd says of users whom it asks the ident server about, by their real names."""
    server = InspIRCd(folder, modules=["ident"], config='<ident timeout="20">')
    server.use_ident = True
    await server.start()
    rig = Rig(server.port, addresses={"prefix": "127.16.0.0/12", "block": 24}, ident={})
    try:
        await rig.start()
        for user in USERS:
            await rig.puppet(user)
        witness = await rig.witness("eve")
        found = {}
        for user in USERS:
            own = rig.puppets[user]._session
            assert own is not None
            since = witness.mark()
            witness.raw(f"WHOIS {own.nick}")
            line = await witness.wait_for(lambda line: line.command == "311", 30, since=since)
            found[line.params[5]] = f"{line.params[2]}@{line.params[3]}"
        return found
    finally:
        await rig.stop()
        server.kill()


async def freebind() -> list[str]:
    """Where a server sees users come from who have IPv6 addresses of their own."""
    server = DemoIrcServer(ServerOptions(host="::"))
    await server.start()
    rig = Rig(server.port or 0, host="2001:db8:1::1", addresses={"prefix": PREFIX, "block": 64})
    try:
        await rig.start()
        for user in USERS:
            await rig.puppet(user)
        return sorted(f"{client.real} {client.host}" for client in server.world.clients.values())
    finally:
        await rig.stop()
        await server.stop()


async def _main(folder: Path) -> dict[str, Any]:
    async with asyncio.timeout(100):
        return {"freebind": await freebind(), "inspircd": await inspircd(folder)}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(asyncio.run(_main(Path(sys.argv[1])))) + "\n")
