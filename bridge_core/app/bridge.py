"""The bridge: every part built and joined here, started and stopped in order."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import structlog

from bridge_core.api.content import Attachment
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, RoomId, UserId
from bridge_core.api.network import LoginState, LoginStatus
from bridge_core.app.adapters import StoredMediaKeys, faults_from_environment
from bridge_core.app.control import Control
from bridge_core.app.encryption import make_encryption
from bridge_core.app.engine import Engine
from bridge_core.app.enginesettings import engine_settings
from bridge_core.app.figures import network_figures, show_journal
from bridge_core.app.meeting import Meeting
from bridge_core.app.networks import load_networks, make_networks, puppet_servers
from bridge_core.app.privacy import add_privacy
from bridge_core.app.queries import EngineQueries
from bridge_core.app.reload import Reload, Reloaded
from bridge_core.app.staff import StaffDesks
from bridge_core.app.unencrypted import Unencrypted
from bridge_core.app.whomay import WhoMay
from bridge_core.config import LoadedConfig
from bridge_core.config.homeserver import Profile
from bridge_core.engine.checkpoints import CheckpointPush
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.encrypted_files import decrypted
from bridge_core.engine.host import Namespace, NetworkHost, Rooms
from bridge_core.engine.intake import CURSORS, NetworkInbox, cursor_name
from bridge_core.engine.links import digest_of
from bridge_core.engine.localusers import LocalUsers
from bridge_core.engine.longtexts import LongTexts
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network
from bridge_core.engine.sources import Sources
from bridge_core.engine.status import Checkpoints
from bridge_core.journal.journal import DurableJournal, JournalSettings
from bridge_core.matrix.adapter_routes import AdapterRoutes
from bridge_core.matrix.guarded import GuardedFetch
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.leftovers import Leftovers
from bridge_core.matrix.links import MediaLinks
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.pushes import HttpPush
from bridge_core.matrix.side import AppserviceSide
from bridge_core.observe.health import Health, HealthServer
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.blobs import BlobSpool
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.errors import StartError
from bridge_core.store.seal import Seal
from registration.namespaces import Template

log = structlog.get_logger(__name__)


class Bridge:
    """One running bridge: one registration, any number of networks.

    `adapters` are adapters by type beside the installed ones: an adapter's own tests pass it here.
    """

    def __init__(
        self, loaded: LoadedConfig, *, clock: Clock | None = None, adapters: Mapping[str, Any] | None = None
    ) -> None:
        self._config = config = loaded.config
        self._clock = clock or SystemClock()
        self._tasks = TaskOwner("bridge", on_failure=self._task_failed)
        self.metrics = Metrics()
        self.health = Health()
        self._configs, self._connectors = load_networks(loaded, adapters or {})
        as_token, hs_token = loaded.tokens()
        secret = config.journal.secret.get_secret_value()
        self._secret = hashlib.blake2b(secret.encode(), digest_size=32, person=b"mxbridge-ids").digest()
        bot = UserId(f"@{config.appservice.bot}:{config.homeserver.domain}")
        faults = faults_from_environment()
        self.database = Database(
            DatabaseSettings(
                loaded.database_url,
                auto_migrate=config.database.auto_migrate,
                readers=config.database.pool_size,
                busy_timeout=config.database.busy_timeout,
                stop_timeout=config.limits.stop_deadline,
                # On PostgreSQL too, so that a database restored from an older backup is seen.
                sidecar=None if loaded.database_url.startswith("sqlite") else loaded.spool_path / "database.seen",
            ),
            Seal(secret),
            faults=faults,
        )
        self.journal = DurableJournal(
            self.database,
            JournalSettings(
                keep_done=config.journal.keep_done,
                keep_keys=config.journal.keep_keys,
                keep_links=config.media.expiry,
                keep_messages=config.journal.keep_messages,
                keep_dead=config.journal.keep_dead,
                max_pending=config.journal.max_pending,
            ),
        )
        self.matrix = AppserviceSide(
            address=str(config.homeserver.address),
            as_token=as_token,
            bot=bot,
            sender=UserId(f"@{config.appservice.sender or config.appservice.bot}:{config.homeserver.domain}"),
            media_keys=StoredMediaKeys(self.database.media, self._clock),
            clock=self._clock,
            devices={Profile.AUTO: None, Profile.FULL: True, Profile.BASIC: False}[config.homeserver.profile],
            device=config.encryption.device,
            timeout=config.homeserver.request_timeout,
            connections=config.homeserver.max_connections,
            puppets=puppet_servers(config),
        )
        # A file is needed as long as its message may be tried, and a day more for whoever replays it at once.
        keep = config.journal.retry_window + 86_400
        self._blobs = BlobSpool(
            loaded.spool_path,
            self._secret,
            config.media.spool_size,
            keep=keep,
            reserve=config.media.spool_reserve,
        )
        self._fetch = GuardedFetch()
        token = config.status.token
        self._push = HttpPush(token.get_secret_value() if token is not None else None)
        self._sources = Sources(self.matrix, self._blobs, self._fetch, config.media.max_size)
        self._routes = AdapterRoutes()
        names = Names(
            config.homeserver.domain,
            Template(config.appservice.user_template),
            Template(config.appservice.alias_template),
            bot,
            frozenset(self._configs),
            self._secret,
        )
        self.whomay = WhoMay(config, self._configs, names, self.database.kv, self._clock)
        permissions = self.whomay.permissions
        self.networks = make_networks(config, self._configs, self._connectors, permissions, self.database.users)
        self.engine = Engine(
            names,
            self.journal,
            self.database,
            self.database.media,
            self.matrix,
            self.networks,
            permissions,
            self._blobs,
            self._sources,
            self._clock,
            self._tasks,
            self.metrics,
            engine_settings(config, self._configs),
            faults,
            self._make_checkpoints(),
        )
        self.encryption = make_encryption(
            config,
            self._configs,
            self.engine,
            self.matrix,
            self.database.crypto,
            self.database.kv,
            self._clock,
            self._tasks,
            self.metrics,
            faults,
            self.database.users,
        )
        self._unencrypted = (
            Unencrypted(self.engine, self.matrix, self.database.crypto, self._clock, self._tasks)
            if self.encryption is None
            else None
        )
        self._local_users = LocalUsers(self.matrix, names, self._clock)
        self.whomay.join(self.engine, self.matrix, self._tasks, self.metrics)
        self._links = self._make_links()
        self.staff = StaffDesks(
            self.engine,
            self.whomay,
            self.matrix,
            self.database,
            self._links.file_of if self._links is not None else lambda link: None,
            self._clock,
            self.metrics,
        )
        self.control = Control(
            config,
            self.engine,
            self.whomay.permissions,
            self.database,
            self.journal,
            self.matrix,
            self._push,
            self._clock,
            self._tasks,
        )
        self.privacy = add_privacy(self.engine, self._configs, self.matrix, self._clock, self._tasks, self.metrics)
        show_journal(self.metrics, self.journal, self.database)
        self.metrics.source(network_figures(self.networks))
        self._listeners = self._make_listeners(hs_token)
        self._health_server = (
            HealthServer(self.health, self.metrics, config.health.listen) if config.health.listen else None
        )
        self._reload = Reload(loaded, self._configs, self.networks, self.whomay)
        self._meeting = Meeting(config, self.engine, self.matrix, self._clock, self._tasks)
        self._journalling = False
        self._sweeping: asyncio.Task[None] | None = None
        self._met: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._hosts: dict[NetworkId, NetworkHost] = {}
        self._shared: dict[str, Any] = {}

    def _make_checkpoints(self) -> list[Checkpoints]:
        url = self._config.status.checkpoint_url
        dropped = self.metrics.counter("checkpoints_dropped", "Message checkpoints that could not be pushed.")
        return [] if url is None else [CheckpointPush(url, self._push, self._clock, self._tasks, dropped)]

    def _make_links(self) -> MediaLinks | None:
        media = self._config.media
        if not media.enabled or media.public_url is None or media.secret is None:
            return None
        return MediaLinks(
            public=str(media.public_url),
            secret=media.secret.get_secret_value().encode(),
            download=self.matrix.download,
            opened=self._opened,
            revocations=self.database.media,
            clock=self._clock,
            limit=media.max_size,
            lifetime=int(media.expiry),
        )

    def _make_listeners(self, hs_token: str) -> list[Listener]:
        config = self._config
        self._leftovers = Leftovers(
            self.engine.intake,
            lambda: self._tasks.start(self._meeting.ask_again(), "ask-again"),
            lambda room, event: self.matrix.read(room, self.matrix.bot, event),
            self._clock,
            own=self.engine.names.is_ours,
            shared=any(server.as_token is not None for server in config.double_puppet.servers.values()),
        )
        app = AppserviceHttp(
            hs_token,
            self.encryption.watched(self._leftovers) if self.encryption is not None else self._leftovers,
            EngineQueries(self.engine),
            legacy=config.appservice.legacy_routes,
            limit=config.appservice.max_body,
        ).application()
        self._routes.add_to(app)
        self.control.add_to(app)
        listen = config.appservice.listen
        listeners = [Listener(app, host=listen.host, port=listen.port, path=listen.path)]
        if self._links is not None:
            where = config.media.listen
            listeners.append(Listener(self._links.application(), host=where.host, port=where.port, path=where.path))
        return listeners

    async def start(self) -> None:
        """Start everything that can be started without the homeserver and the networks; they are met in the background.

        Raises StartError in words for the admin, also when an address is taken.
        """
        loop = asyncio.get_running_loop()
        try:
            self._add_checks()
            await self.database.start()
            if self._health_server is not None:
                await _listening(self._health_server.start(), "health.listen")
            await self.journal.start()
            self._journalling = True
            await self._blobs.start()
            self._sweeping = self._tasks.keep(lambda: self._blobs.keep_swept(self._clock), "spool-sweep", self._clock)
            await self._fetch.start()
            await self._push.start()
            await self.control.start()
            await self.matrix.start()
            await self.whomay.load()
            await self.staff.load()
            await self.engine.load()
            if self._unencrypted is not None:
                await self._unencrypted.load()
            if self.encryption is not None:
                await self.encryption.start(restored=self.database.restored_from is not None)
            self._leftovers.resume(await self.database.transactions.newest())
            await self._configured_portals()
            for network in self.networks:
                await self._start_network(network)
            for key, listener in zip(("appservice.listen", "media.listen"), self._listeners, strict=False):
                await _listening(listener.start(), key)
            await self.engine.backfill.start()
            await self.engine.to_network.start()
            self._met = self._tasks.spawn(self._meeting.meet(), "homeserver")
            self._looking = self._tasks.keep(self._leftovers.watch, "leftovers", self._clock)
            for network in self.networks:
                await network.connect(lambda login, name=network.id: self._cursor(name, login))  # type: ignore[misc]
        except BaseException:
            await self.stop(loop.time() + self._config.limits.stop_deadline)
            raise
        log.info("bridge_started", networks=sorted(self._configs), portals=len(self.engine.portals))

    async def _cursor(self, network: NetworkId, login: LoginId | None) -> bytes | None:
        return await self.database.kv.get(CURSORS, cursor_name(network, login))

    async def reload(self) -> Reloaded:
        """Reads the configuration again and takes over what can change while the bridge runs; see `Reload`."""
        return await self._reload.again()

    async def stop(self, deadline: float) -> None:
        """Stop in reverse order before the loop's time `deadline`. What was accepted is in the journal."""
        loop = asyncio.get_running_loop()

        def left(reserve: float) -> float:
            return max(0.1, deadline - reserve - loop.time())

        for listener in reversed(self._listeners):
            await _quietly(listener.stop(), "listener", left(4.0))
        if self._journalling:
            await _quietly(self.engine.backfill.note(), "backfill", left(4.0))
        for endless in (self._met, self._looking):
            if endless is not None:
                endless.cancel()  # it would go on with what has been stopped
        self.engine.stop()
        self.control.halt()
        await _quietly(self.engine.logins.stop(), "logins", left(4.0))
        if self._sweeping is not None:
            self._sweeping.cancel()  # it never ends by itself, and a stop need not wait for it
        await self.engine.confirmations.settled(min(3.0, left(3.0)))
        await asyncio.gather(*(self._stop_network(network, deadline, left(2.0)) for network in self.networks))
        if self.encryption is not None and self._journalling:
            await _quietly(self.encryption.stop(), "encryption", left(2.0))
        await self._tasks.close(deadline - 1.0, grace=min(2.0, left(2.0)))
        await _quietly(self.matrix.stop(), "matrix", left(0.5))
        await _quietly(self._fetch.stop(), "fetch", left(0.5))
        await _quietly(self._push.stop(), "push", left(0.5))
        await _quietly(self.control.stop(), "control", left(0.5))
        # These two have time limits of their own: what was accepted must reach the disk.
        if self._journalling:
            await _quietly(self.journal.stop(), "journal", None)
        await _quietly(self.database.stop(), "database", None)
        if self._health_server is not None:
            await _quietly(self._health_server.stop(), "health", left(0.0))
        log.info("bridge_stopped")

    async def _stop_network(self, network: Network, deadline: float, seconds: float) -> None:
        await _quietly(network.disconnect(), network.id, seconds)
        await _quietly(network.connector.stop(deadline), network.id, seconds)

    def _add_checks(self) -> None:
        self.health.add_live("database writer", lambda: None if self.database.alive else "its thread has ended")
        self.health.add_ready("database", lambda: None if self.database.available else "cannot be written")
        self.health.add_ready("homeserver", lambda: self._meeting.trouble or None)
        self.health.add_ready("tasks", self._failing)
        for network in self.networks:
            self.health.add_ready(f"network {network.id}", lambda one=network: _trouble(one))  # type: ignore[misc]

    async def _configured_portals(self) -> None:
        wanted = [
            (NetworkId(name), self._connectors[name].chat(portal.chat), portal)
            for name, network in self._configs.items()
            for portal in network.common.portals
        ]
        # Each is a commit of its own, and the writer makes one of all that wait: so many at once, in bounded steps.
        for start in range(0, len(wanted), 500):
            await asyncio.gather(
                *(
                    self.engine.portals.ensure(name, chat, name=one.chat)
                    for name, chat, one in wanted[start : start + 500]
                )
            )
        self._meeting.plumbed = [(name, chat, one.room) for name, chat, one in wanted if one.room is not None]

    async def _start_network(self, network: Network) -> None:
        self._hosts[network.id] = host = NetworkHost(
            network.id,
            Namespace(self.database.kv, f"network:{network.id}"),
            Namespace(self.database.kv, f"sealed:{network.id}"),
            self._blobs,
            self._fetch,
            self._clock,
            self._tasks,
            self._routes.of(network.id),
            Rooms(network.id, self.engine.portals, self.engine.members, self.matrix, self.engine.rooms.named),
            self.engine.portals,
            lambda attachment: self._link(attachment, opens=network.options.opens_files),
            self._sources.open_attachment,
            self.staff.of(network.id),
            self.database.queue,
            network.login_for,
            self._shared,
            LongTexts(network.id, self.matrix, self.engine.links, self._link, self._is_secret),
            self._local_users,
        )

        def inbox(login: LoginId | None) -> NetworkInbox:
            return NetworkInbox(
                network.id,
                login,
                self.journal,
                self.engine.to_matrix,
                self.database.kv,
                self._clock,
                self._tasks,
                lambda state: self._reported(network, state),
                self.engine.live,
                self.whomay.consents.refused,
                self.engine.backfill.received,
            )

        await network.connector.start(host, inbox(None))
        await network.start(inbox)

    def _reported(self, network: Network, state: LoginState) -> None:
        if state.remark:
            self.control.remarks.take(state)
            return
        before = network.states.get(state.login)
        if before == state:
            return
        network.states[state.login] = state
        log.info(
            "network_state",
            network=network.id,
            login=state.login,
            status=state.status.value,
            reason=state.reason or None,
        )
        self.control.states.changed(state)
        if state.status is LoginStatus.CONNECTED:
            self.engine.to_network.wake()
            if state.login is None:
                self.engine.showing.connected(network.id)
        self.engine.backfill.reported(network, state)

    def _link(self, attachment: Attachment, *, opens: bool = False) -> str | None:
        # Whoever has the link to an encrypted file reads it: only where the network's configuration says so.
        if self._links is None or (attachment.keys is not None and not opens):
            return None
        if not attachment.source.startswith("mxc://"):
            return None
        keys = digest_of(attachment.keys) if attachment.keys is not None else ""
        return self._links.url(attachment.source, attachment.name, attachment.mime or "", keys)

    async def _opened(self, mxc: str, keys: str, limit: int) -> AsyncIterator[bytes]:
        found = await self.engine.links.keys(mxc, keys)
        async for chunk in decrypted(self.matrix.download(mxc, limit), found):
            yield chunk

    def _is_secret(self, room: RoomId) -> bool:
        return self.encryption is not None and self.encryption.rooms.known(room) is not False

    def _failing(self) -> str | None:
        return "; ".join(f"{name}: {why}" for name, why in sorted(self._tasks.failing.items())) or None

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.metrics.counter("task_failures", "Unexpected errors in background tasks, whether they go on or not.").inc()


def _trouble(network: Network) -> str | None:
    state = network.states.get(None)
    if state is not None and state.status is LoginStatus.CONNECTED:
        return None
    return f"{state.status.value} {state.reason}".strip() if state is not None else "not connected yet"


async def _listening(start: Awaitable[None], key: str) -> None:
    try:
        await start
    except OSError as error:
        raise StartError(
            f"cannot listen where {key} says: {error.strerror or error}. Another program is there?"
        ) from error


async def _quietly(work: Awaitable[object], what: str, seconds: float | None) -> None:
    """Stopping one part must not keep the others from stopping."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except Exception as error:
        log.error("stop_failed", part=what, error=repr(error))
