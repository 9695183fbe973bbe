"""A whole bridge in the test's own process, joined to a homeserver and to whatever networks it is given."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from bridge_core.demo.ports import free_port
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from registration.generate import Wanted, generate, render

SECRET = "J7xq2LmVt9Rk4WzB1nYc8HsD5fPg3QaE"


def write_config(
    folder: Path,
    homeserver: str,
    networks: Mapping[str, Mapping[str, Any]],
    *,
    domain: str = "hs.test",
    port: int,
    tokens: tuple[str, str] | None = None,
    database: str | None = None,
    **sections: Any,
) -> Path:
    """Write config.yaml and registration.yaml; the path of the former."""
    yaml = YAML(typ="safe")
    wanted = Wanted(
        id="matrix-bridge",
        url=f"http://127.0.0.1:{port}",
        domain=domain,
        bot="bridgebot",
        networks=list(networks),
        user_template="_{network}_{id}",
        alias_template="_{network}_{id}",
        ephemeral=True,
        protocols=sorted({str(network["type"]) for network in networks.values()}),
    )
    registration = generate(wanted)
    if tokens is not None:
        registration = registration.model_copy(update={"as_token": tokens[0], "hs_token": tokens[1]})
    (folder / "registration.yaml").write_text(render(registration))
    config: dict[str, Any] = {
        "homeserver": {"address": homeserver, "domain": domain},
        "appservice": {"listen": f"127.0.0.1:{port}"},
        "database": {"url": database or "sqlite:///bridge.db"},
        "journal": {"secret": SECRET},
        "permissions": {"local": "user", f"@admin:{domain}": "admin"},
        "health": {"listen": None},
        "logging": {"level": "debug"},
        "networks": {name: dict(section) for name, section in networks.items()},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    path = folder / "config.yaml"
    with path.open("w") as file:
        yaml.dump(config, file)
    return path


class InProcess:
    """One bridge in this process: started, stopped, started again on the same database.

    `address` is the homeserver's, `port` where it sends transactions, `tokens` those of its registration.
    """

    def __init__(
        self,
        folder: Path,
        networks: Mapping[str, Mapping[str, Any]],
        *,
        address: str,
        port: int,
        tokens: tuple[str, str],
        adapters: Any = None,
        **sections: Any,
    ) -> None:
        self.folder = folder
        self.adapters = adapters
        self.networks = networks
        self.sections = sections
        self.address = address
        self.port = port
        self.tokens = tokens
        self.bridge: Bridge | None = None

    async def start_bridge(self) -> Bridge:
        """Start it and wait until it is ready."""
        await self.begin_bridge()
        await self.until(lambda: not self.running.health.ready())
        return self.running

    async def begin_bridge(self) -> Bridge:
        """Start it, ready or not."""
        path = write_config(
            self.folder, self.address, self.networks, port=self.port, tokens=self.tokens, **self.sections
        )
        self.bridge = Bridge(load_config(path, {}), adapters=self.adapters)
        await self.bridge.start()
        return self.bridge

    @property
    def running(self) -> Bridge:
        """The bridge, which must be running."""
        assert self.bridge is not None
        return self.bridge

    async def stop_bridge(self) -> None:
        """Stop it in good order."""
        if self.bridge is not None:
            await self.bridge.stop(asyncio.get_running_loop().time() + 60)
            self.bridge = None

    async def until(self, reached: Any, timeout: float = 60) -> Any:
        """Wait until `reached()` is true."""
        async with asyncio.timeout(timeout):
            while not (found := reached()):
                await asyncio.sleep(0.01)
        return found

    async def settled(self) -> None:
        """Wait until the bridge has nothing on its way in either direction."""
        engine = self.running.engine
        await self.until(lambda: not engine.to_matrix.busy() and not engine.to_network.busy())
        assert await engine.confirmations.settled(60)
        await self.running.journal.settled()


class Harness(InProcess):
    """One bridge and the fake homeserver that it is joined to."""

    def __init__(
        self, folder: Path, networks: Mapping[str, Mapping[str, Any]], adapters: Any = None, **sections: Any
    ) -> None:
        port = free_port()
        self.appservice = FakeAppservice(url=f"http://127.0.0.1:{port}")
        self.homeserver = FakeHomeserver(appservice=self.appservice)
        super().__init__(
            folder,
            networks,
            address="",
            port=port,
            tokens=(self.appservice.as_token, self.appservice.hs_token),
            adapters=adapters,
            **sections,
        )

    async def __aenter__(self) -> Self:
        await self.homeserver.start()
        self.address = self.homeserver.url
        self.alice = self.homeserver.user("alice")
        await self.start_bridge()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_bridge()
        await self.homeserver.stop()

    async def portal_room(self, network: str, chat: str) -> str:
        """Join alice to the portal of a chat and return its room."""
        alias = f"#_{network}_{chat}:hs.test"
        found = await self.running.engine.rooms.ensure(
            await self.running.engine.portals.ensure(network, chat)  # type: ignore[arg-type]
        )
        assert self.homeserver.room(alias).id == found
        self.alice.join(found)
        return found

    async def settled(self) -> None:
        """Wait until nothing is on its way in either direction."""
        await self.homeserver.wait_pushed()
        await super().settled()
