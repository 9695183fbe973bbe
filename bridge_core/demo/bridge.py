"""The bridge of a demo: its configuration, and its process."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bridge_core.api.demo import DemoError
from bridge_core.demo.place import Child, python_command
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, ProcessDiedError, http_answers

__all__ = ["BOT", "DemoBridge", "WriteFiles"]

WriteFiles = Callable[[Path, Mapping[str, Any]], tuple[Path, bool]]
"""Writes the configuration and its registration, as `matrix-bridge init` does; where the registration is."""

BOT = "bridgebot"
_START_LIMIT = 30.0
_STOP_LIMIT = 15.0


class DemoBridge:
    """`matrix-bridge run` on SQLite in a folder of its own, with media links and every port on loopback."""

    def __init__(self, directory: Path, write: WriteFiles) -> None:
        self.directory = directory
        self.config = directory / "config.yaml"
        self._write = write
        self._health = free_port()
        self._child = Child(
            "the bridge",
            ChildProcess(
                python_command("bridge_core.cli.main", "run", "-c", str(self.config)),
                log=directory / "bridge.log",
                directory=directory,
            ),
        )

    def configure(
        self,
        homeserver: str,
        domain: str,
        admin: str,
        networks: Mapping[str, Mapping[str, Any]],
        *,
        encrypted: bool = False,
    ) -> Path:
        """Write both files; the registration's path. Raises ConfigError. Blocks on the disk."""
        self.directory.mkdir(parents=True, exist_ok=True)
        media = free_port()
        values = {
            "homeserver": {"address": homeserver, "domain": domain},
            "appservice": {
                "registration": "registration.yaml",
                "listen": f"127.0.0.1:{free_port()}",
                "bot": BOT,
                "sender": "bridgesender",
            },
            "database": {"url": "sqlite:///bridge.db"},
            "journal": {"secret": secrets.token_hex(32)},
            "media": {
                "enabled": True,
                "listen": f"127.0.0.1:{media}",
                "public_url": f"http://127.0.0.1:{media}",
                "secret": secrets.token_hex(32),
            },
            "health": {"listen": f"127.0.0.1:{self._health}"},
            "permissions": {"local": "user", admin: "admin"},
            "networks": {name: dict(section) for name, section in networks.items()},
        }
        if encrypted:
            # matrix-nio knows no cross-signing: it is let in as somebody without any identity.
            values["relay"] = {"reactions": True}
            values["encryption"] = {"mode": "auto", "trust": {"send": "no-identity"}}
        return self._write(self.config, values)[0]

    async def start(self) -> None:
        """Start it and return when it says that it is ready: homeserver, database and networks answer.

        Raises DemoError with the end of its log.
        """
        address = f"http://127.0.0.1:{self._health}/health/ready"
        try:
            await self._child.process.start(lambda: http_answers(address), timeout=_START_LIMIT)
        except ProcessDiedError as error:
            raise DemoError(f"the bridge did not become ready: {error}") from error

    def trouble(self) -> str | None:
        """What became of it, when it has ended."""
        return self._child.trouble()

    async def stop(self) -> None:
        """Stop it in order; killed when that takes longer than its own limit."""
        await self._child.process.stop(timeout=_STOP_LIMIT)

    def kill(self) -> None:
        """End it at once."""
        self._child.process.kill()
