"""The doors of one network: opened, guarded, shut."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog

from bridge_core.api.errors import TransientError
from bridges.email.codec.smtp import encode_reply
from bridges.email.config.receiving import DoorConfig, Tls
from bridges.email.mail import Door
from bridges.email.ports import Reply
from bridges.email.smtp.accepting import Accepting, listen
from bridges.email.smtp.certificate import Certificate, unreadable
from bridges.email.smtp.guesses import Guesses
from bridges.email.smtp.masks import Crowd
from bridges.email.smtp.parts import Commits, Flight, Parts, Shared
from bridges.email.smtp.session import HANDSHAKE, Session
from bridges.email.smtp.wire import Wire, plain_address

_log = structlog.get_logger(__name__)
_BACKLOG: Final = 256
_UNIX: Final = "unix:"


class Doors:
    """Listens on all doors of the settings. Owns the sessions, and the commits that outlive them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._crowd = Crowd(self._settings.connections)
        self._guesses = Guesses(parts.clock)
        self._flight = Flight(self._settings.in_flight)
        self._commits = Commits(parts.tasks)
        self._servers: list[asyncio.Server | Accepting] = []
        self._sessions: dict[asyncio.Task[None], Wire] = {}
        self._watching: asyncio.Task[None] | None = None
        self.certificate: Certificate | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each TCP door, in the order of the settings: port 0 has become a real one."""
        names = [server.sockets[0].getsockname() for server in self._servers]
        return [(str(name[0]), int(name[1])) for name in names if isinstance(name, tuple)]

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return self._crowd.all

    async def start(self) -> None:
        """Open all doors, or none: raises TransientError in words when one cannot be."""
        try:
            if self._settings.certificate is not None:
                key = Path(self._settings.key) if self._settings.key is not None else None
                self.certificate = await asyncio.to_thread(Certificate, Path(self._settings.certificate), key)
                self._watching = self._parts.tasks.spawn(self.certificate.watch(self._parts.clock), "email certificate")
            for door in self._settings.doors:
                self._servers.append(await self._open(door))
        except OSError as error:
            await self.stop(0)
            words = await asyncio.to_thread(unreadable, self._settings)
            raise TransientError(f"mail cannot be received: {words or error.strerror or error}") from error

    async def stop(self, seconds: float) -> None:
        """Shut the doors. Who is idle is told so (421); mails under way have so many seconds. Returns when all is over.

        Commits that have begun are awaited however long they take.
        """
        for server in self._servers:
            server.close()
        for wire in self._sessions.values():
            wire.interrupt()
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=seconds)
        for task, wire in list(self._sessions.items()):
            wire.write(encode_reply(421, "4.3.2", "the server stops, come back later"))
            wire.close()
            task.cancel()
        if self._sessions:
            await asyncio.wait(list(self._sessions))
        await self._commits.finish()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for door in self._settings.doors:
            if door.listen.startswith(_UNIX):
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(Path(door.listen.removeprefix(_UNIX)).unlink)
        self._servers.clear()

    async def _open(self, door: DoorConfig) -> asyncio.Server | Accepting:
        shared = Shared(
            self._parts,
            door,
            self._settings.tls_of(door),
            self.certificate,
            self._guesses,
            self._flight,
            self._commits,
        )
        loop = asyncio.get_running_loop()

        def make() -> Wire:
            return Wire(lambda wire: self._connected(shared, wire))

        if door.listen.startswith(_UNIX):
            path = Path(door.listen.removeprefix(_UNIX))
            await asyncio.to_thread(_remove_socket, path)
            server = await loop.create_unix_server(make, str(path), backlog=_BACKLOG)
            await asyncio.to_thread(os.chmod, path, door.socket_mode)
        else:
            host, _, port = door.listen.rpartition(":")
            if shared.tls is Tls.IMPLICIT:
                listener = await asyncio.to_thread(listen, host.strip("[]"), int(port), _BACKLOG)
                accepting = Accepting(listener, lambda found: self._accepted(shared, found))
                accepting.start(self._parts)
                return accepting
            server = await loop.create_server(make, host.strip("[]") or None, int(port), backlog=_BACKLOG)
        _log.info("smtp_door_open", kind=door.kind.value, listen=door.listen)
        return server

    def _connected(self, shared: Shared, wire: Wire) -> None:
        self._spawn(self._serve(shared, wire), wire)

    def _accepted(self, shared: Shared, connection: socket.socket) -> None:
        wire = Wire(tls=True)
        self._spawn(self._serve_secured(shared, wire, connection), wire)

    def _spawn(self, work: Coroutine[Any, Any, None], wire: Wire) -> None:
        task = self._parts.tasks.spawn(work, "email session")
        self._sessions[task] = wire
        task.add_done_callback(self._sessions.pop)

    async def _serve(self, shared: Shared, wire: Wire) -> None:
        try:
            with self._crowd.enter(wire.peer) as refusal:
                if refusal is None and shared.door.kind is Door.LMTP and not self._trusted(wire.peer):
                    refusal = Reply(421, "4.7.1", "not from there")
                if refusal is None:
                    await Session(shared, wire).run()
                else:
                    _log.info("smtp_connection_refused", peer=wire.peer, reason=refusal.text)
                    wire.write(encode_reply(refusal.code, refusal.status, refusal.text))
        finally:
            wire.close()

    async def _serve_secured(self, shared: Shared, wire: Wire, connection: socket.socket) -> None:
        """As `_serve`. Who is one too many costs no handshake, and hears nothing."""
        assert shared.certificate is not None
        peer = plain_address(connection.getpeername())
        with self._crowd.enter(peer) as refusal:
            if refusal is not None or (shared.door.kind is Door.LMTP and not self._trusted(peer)):
                _log.info("smtp_connection_refused", peer=peer, reason=refusal.text if refusal else "not from there")
                connection.close()
                return
            try:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: wire, connection, ssl=shared.certificate.context, ssl_handshake_timeout=HANDSHAKE
                )
            except (OSError, TimeoutError) as error:
                _log.debug("smtp_gone", peer=peer, reason=type(error).__name__)
                connection.close()
                return
            try:
                await Session(shared, wire).run()
            finally:
                wire.close()

    def _trusted(self, peer: str) -> bool:
        return not peer or any(ip_address(peer) in network for network in self._settings.lmtp_peers)


def _remove_socket(path: Path) -> None:
    """What an earlier run left; never anything but a socket."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
