"""The servers that all crash tests share: Synapse, an IRC server of each kind; one registration, one Matrix user."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bridge_core.demo.ports import free_port
from bridge_core.demo.synapse import Synapse
from tests.harness import write_config
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

Ircd = InspIRCd | NgIRCd
TOKENS = ("as-Zr41mWq8Xc27Vb60", "hs-Ln95dTy3Fg18Pk74")
PUPPET_TOKEN = "pp-Qw83nRt5Hj17Lk29Zx64Vb80Mc31Df57"
_PUPPETS = {
    "id": "puppets",
    "url": None,
    "as_token": PUPPET_TOKEN,
    "hs_token": "unused-Bn46vCx90Zq12",
    "sender_localpart": "puppeteer",
    "rate_limited": False,
    "namespaces": {"users": [{"exclusive": False, "regex": "@twin:hs\\.test"}]},
}
"""A second registration, by whose token the bridge acts as the user twin. Here it is interested in nobody else: Synapse
numbers the transactions of all services together, and holes in those of the bridge mean nothing then (see
`bridge_core.matrix.leftovers`). What that costs where it is for all users is in `test_two_services`."""


@dataclass(slots=True)
class Site:
    """Synapse, two IRC servers, and where the one bridge at a time listens. Outlives every event loop."""

    folder: Path
    synapse: Synapse
    ircd: Ircd
    ngircd: NgIRCd
    port: int
    token: str = ""
    twin: str = ""
    """Token of the user as whom the bridge may act."""
    admin: str = ""
    """Token of an admin of the homeserver, who can count what there is of a thing."""
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def start(cls, folder: Path, *, puppets: str = "") -> Self:
        """Starts the servers with the registration that all bridges here use.

        `puppets`: whom the second registration is for, as a regular expression, instead of the user twin.
        """
        port = free_port()
        files = folder / "registration"
        files.mkdir()
        # Written for its registration.yaml only; the echo network takes the place of all that have ghosts.
        networks = {name: {"type": "echo"} for name in ("irc", "echo", "stage", "mail")}
        write_config(files, "http://127.0.0.1:1", networks, port=port, tokens=TOKENS)
        users = {"users": [{"exclusive": False, "regex": puppets}]}
        second = {**_PUPPETS, "namespaces": users} if puppets else _PUPPETS
        (files / "puppets.yaml").write_text(json.dumps(second))
        registrations = [files / "registration.yaml", files / "puppets.yaml"]
        synapse = Synapse(folder / "synapse", registrations=registrations)
        site = cls(folder, synapse, InspIRCd(folder / "ircd"), NgIRCd(folder / "ngircd"), port)
        try:
            await site.ircd.start()
            await site.ngircd.start()
            await synapse.start()
            site.token = await synapse.register_user("alice", "alice-password")
            site.twin = await synapse.register_user("twin", "twin-password")
            site.admin = await synapse.register_user("root", "root-password", admin=True)
        except BaseException:
            site.kill()
            raise
        return site

    async def repaired(self) -> Self:
        """The site with its servers running, whatever an earlier test left."""
        if not self.ircd.running:
            await self.ircd.start()
        if not self.ngircd.running:
            await self.ngircd.start()
        if not self.synapse.running:
            await self.synapse.start()
        return self

    def kill(self) -> None:
        """Ends all servers."""
        self.ircd.kill()
        self.ngircd.kill()
        self.synapse.kill()
