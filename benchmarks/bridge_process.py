"""The one place that knows how the bridge under test is configured and started."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Child

DOMAIN = "bench.test"
BOT = "bridgebot"
AS_TOKEN = "as-1f6b0c29d84e7a35b1c0"
HS_TOKEN = "hs-7d2e95a0c3f84b16e2d1"
JOURNAL_KEY = "5d1f0a7be2c94836a1f07c5be9d24863"


def free_port() -> int:
    """Give a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class BridgeSetup:
    """One bridge under test: its folder keeps the database from one start to the next."""

    folder: Path
    homeserver: str
    irc_port: int
    channels: list[str]
    port: int
    health_port: int
    ca: Path | None = None
    database: str = "sqlite:///bridge.db"
    members: str = "lazy"
    encryption: str = "off"

    @property
    def ready_url(self) -> str:
        """Where the bridge says that it is ready."""
        return f"http://127.0.0.1:{self.health_port}/health/ready"

    def config(self) -> dict[str, Any]:
        """The bridge's configuration (JSON is YAML)."""
        irc: dict[str, Any] = {
            "type": "irc",
            "server": "127.0.0.1",
            "port": self.irc_port,
            "tls": self.ca is not None,
            "nick": "observer",
            "rate": 0,
            "connect_rate": 0,
            "hybrid": {"puppet": "always"},
            "messages": {"merge": False},  # each line is counted
            "portals": self.channels,
            "members": self.members,
            "provided_logins": ["local"],
            "grants": ["portals", "puppets"],
        }
        if self.ca is not None:
            irc["tls_ca"] = str(self.ca)
        return {
            "homeserver": {"address": self.homeserver, "domain": DOMAIN},
            "appservice": {
                "id": "bench",
                "listen": f"127.0.0.1:{self.port}",
                "bot": BOT,
                "registration": "registration.yaml",
            },
            "database": {"url": self.database},
            "journal": {"secret": JOURNAL_KEY},
            "permissions": {"local": "user"},
            "media": {"enabled": False},
            "limits": {"membership_rate": 1000},
            "health": {"listen": f"127.0.0.1:{self.health_port}"},
            "logging": {"level": "warning", "format": "json"},
            "networks": {"irc": irc},
            **({"encryption": {"mode": self.encryption}} if self.encryption != "off" else {}),
        }

    def registration(self) -> dict[str, Any]:
        """The registration that goes with it."""
        domain = re.escape(DOMAIN)
        return {
            "id": "bench",
            "url": f"http://127.0.0.1:{self.port}",
            "as_token": AS_TOKEN,
            "hs_token": HS_TOKEN,
            "sender_localpart": BOT,
            "rate_limited": False,
            "namespaces": {
                "users": [{"exclusive": True, "regex": f"@_irc_.*:{domain}"}],
                "aliases": [{"exclusive": True, "regex": f"#_irc_.*:{domain}"}],
                "rooms": [],
            },
            "receive_ephemeral": True,
            "org.matrix.msc3202": True,
            "io.element.msc4190": True,
        }

    async def start(self) -> Child:
        """Write both files and start the bridge; it is not ready yet."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.yaml").write_text(json.dumps(self.config(), indent=1))
        (self.folder / "registration.yaml").write_text(json.dumps(self.registration(), indent=1))
        for name in ("config.yaml", "registration.yaml"):
            (self.folder / name).chmod(0o600)
        return await Child.spawn(
            self.folder,
            "bridge",
            "bridge_core.cli.main",
            "run",
            "-c",
            str(self.folder / "config.yaml"),
            announce=False,
        )
