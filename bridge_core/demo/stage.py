"""Everything a demo runs: a homeserver, the networks' servers, the bridge, and one person on Matrix."""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from bridge_core.api.demo import DemoError, DemoUnavailableError, NetworkDemo, Scene
from bridge_core.config.problems import ConfigError
from bridge_core.demo.bridge import BOT, DemoBridge, WriteFiles
from bridge_core.demo.encrypted.proof import CONTROL, Proof
from bridge_core.demo.encrypted.user import EncryptedUser
from bridge_core.demo.locked_venv import SetupError
from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridge_core.demo.peers.peer import Peer, PeerError, nio_peer
from bridge_core.demo.place import DemoPlace
from bridge_core.demo.process import ProcessDiedError
from bridge_core.demo.report import NetworkReport
from bridge_core.demo.screen import Screen
from bridge_core.demo.synapse import Synapse
from registration.namespaces import Template

__all__ = ["Stage"]

DOMAIN = "demo.localhost"
USER = "alice"
_ALIASES = Template("_{network}_{id}")
_LARGEST_FILE = 10_000_000


class Stage:
    """Starts and stops it all. `start` and `stop` are called once each; `stop` also after a `start` that failed."""

    def __init__(
        self,
        directory: Path,
        demos: Mapping[str, NetworkDemo],
        write: WriteFiles,
        screen: Screen,
        *,
        encrypted: bool = False,
    ) -> None:
        self.directory = directory
        self.demos = dict(demos)
        self.password = secrets.token_urlsafe(6)
        self.synapse = Synapse(directory / "synapse", server_name=DOMAIN, progress=screen.progress)
        self.bridge = DemoBridge(directory / "bridge", write)
        self.places = {name: DemoPlace(name, directory / name, screen.progress, f"@{USER}:{DOMAIN}") for name in demos}
        self.matrix: MatrixClient | EncryptedUser | None = None
        self._encrypted = encrypted
        self._peer: Peer | None = None
        self._raw: MatrixClient | None = None
        self._screen = screen

    async def start_networks(self, reports: Mapping[str, NetworkReport]) -> None:
        """Start the networks' servers at the same time; those that fail say so in their report and are left out."""
        await asyncio.gather(*(self._start_network(name, reports[name]) for name in list(self.demos)))

    async def _start_network(self, name: str, report: NetworkReport) -> None:
        demo = self.demos[name]
        try:
            await demo.start(self.places[name])
        except (DemoError, OSError, AssertionError, TimeoutError) as error:
            report.unavailable = isinstance(error, DemoUnavailableError)
            report.error = f"{name} could not be started: {error}"
            del self.demos[name]
            await demo.stop()
            return
        report.server = demo.server
        self._screen.progress(f"{name}: {demo.server} is ready")

    async def start_bridge(self) -> None:
        """Start homeserver and bridge, and log the person in. Raises DemoError with the end of a log."""
        sections = {
            name: {**demo.config(), "portals": [{"chat": demo.portal_chat}]} for name, demo in self.demos.items()
        }
        if self._encrypted:
            sections = {name: {**section, "encryption": "require"} for name, section in sections.items()}
            sections[CONTROL] = {"type": "echo", "portals": [{"chat": CONTROL}]}
        try:
            registration = self.bridge.configure(
                self.synapse.url, DOMAIN, f"@{USER}:{DOMAIN}", sections, encrypted=self._encrypted
            )
        except ConfigError as error:
            raise DemoError(f"the networks' sections do not fit the configuration: {error}") from error
        self.synapse.registrations = [registration]
        self._screen.progress("starting Synapse")
        try:
            await self.synapse.start()
            token = await self.synapse.register_user(USER, self.password)
        except (ProcessDiedError, RuntimeError) as error:
            raise DemoError(f"Synapse did not start (more in {self.synapse.log_file}): {error}") from error
        self._screen.progress("starting the bridge")
        await self.bridge.start()
        self._raw = self.matrix = MatrixClient(self.synapse.url, token)
        await self._raw.open()
        if self._encrypted:
            self.matrix = await self._encrypted_user(self._raw)
        self._screen.progress("the bridge is ready")

    async def _encrypted_user(self, raw: MatrixClient) -> EncryptedUser:
        self._screen.progress("starting matrix-nio")
        try:
            self._peer = await nio_peer(self.synapse.url, self.directory / "nio", self._screen.progress)
            await self._peer.start(USER, self.password)
        except (SetupError, PeerError) as error:
            raise DemoError(f"the encrypted client does not start: {error}") from error
        return EncryptedUser(raw, self._peer)

    async def proof(self) -> Proof:
        """The search of what is stored, with the control room joined. Raises DemoError."""
        if not isinstance(self.matrix, EncryptedUser):
            raise DemoError("nobody is logged in with an encrypted client")
        alias = _alias(CONTROL, CONTROL)
        try:
            room = await self.matrix.raw.join(alias)
        except (MatrixError, aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"{USER} cannot join {alias}: {error}") from error
        return Proof(self.synapse.directory, self.bridge.directory, self.matrix, room, f"@{BOT}:{DOMAIN}")

    async def scene(self, name: str) -> Scene:
        """Join a network's portal as a person would, by its alias. Raises DemoError."""
        if self.matrix is None:
            raise DemoError("nobody is logged in")
        alias = self.alias(name)
        try:
            room = await self.matrix.join(alias)
        except (MatrixError, aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"{USER} cannot join {alias}: {error}") from error
        return Scene(self.matrix, room, USER, fetch, self._encrypted)

    def trouble(self, name: str) -> str | None:
        """Which process has ended that a network's conversation needs, with the end of its log."""
        if not self.synapse.running:
            return f"Synapse has ended; its log is {self.synapse.log_file}"
        return self.places[name].trouble() or self.bridge.trouble()

    def alias(self, name: str) -> str:
        """The alias of a network's portal."""
        return _alias(name, self.demos[name].portal_chat)

    async def stop(self) -> None:
        """Stop everything in order, the bridge first; what does not end is killed."""
        try:
            if self._peer is not None:
                await self._peer.stop()
            if self._raw is not None:
                await self._raw.close()
            await self.bridge.stop()
            for demo in self.demos.values():
                with contextlib.suppress(OSError, TimeoutError):
                    await demo.stop()
            await asyncio.gather(self.synapse.stop(), *(place.stop() for place in self.places.values()))
        finally:
            self.bridge.kill()
            self.synapse.kill()
            for place in self.places.values():
                place.kill()


def _alias(network: str, chat: str) -> str:
    return f"#{_ALIASES.localpart(network, chat, DOMAIN)}:{DOMAIN}"


async def fetch(address: str) -> bytes:
    """The body behind an http address, at most ten million bytes. Raises DemoError."""
    timeout = aiohttp.ClientTimeout(total=15)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as response:
            if response.status != 200:
                raise DemoError(f"{address} answers {response.status}: {(await response.text())[:200]}")
            return await response.content.read(_LARGEST_FILE)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise DemoError(f"{address} cannot be fetched: {str(error) or type(error).__name__}") from error
