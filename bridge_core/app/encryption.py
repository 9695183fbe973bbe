"""Builds encryption where it is on. Nowhere else is its library loaded: it costs memory and start-up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.app.encryptedrooms import announce, read_from_the_first, room_admins
from bridge_core.app.engine import Engine
from bridge_core.app.keeper import IdentityKeeper
from bridge_core.config import Config
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.encryption import Encryption as Settings
from bridge_core.config.encryption import EncryptionMode, GhostDevices, TrustName
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.engine.commands.backup import BackupCommands
from bridge_core.engine.commands.encryption import TOPIC, EncryptionCommands, OwnWords
from bridge_core.engine.decrypting import LOOK, DecryptingSettings
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.intake import TransactionIntake
from bridge_core.engine.permissions import Permission
from bridge_core.engine.ports import Write
from bridge_core.engine.readers import Readers
from bridge_core.engine.skipped import SkippedDevices
from bridge_core.engine.store_ports import KeyValues, Users
from bridge_core.matrix.cryptosync import GHOST, DeviceSync, Watched
from bridge_core.matrix.keys import Synced
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.transaction import TransactionSink
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.crypto import SealedCryptoStore

if TYPE_CHECKING:
    from bridge_core.crypto.machine import CryptoMachine
    from bridge_core.crypto.shares import Skipped

log = structlog.get_logger(__name__)

_KIND: Final = "crypto-"
_SWEEP: Final = 3600.0
_RETRY: Final = (1.0, 300.0)
_NO_DEVICES: Final = (
    "the homeserver lets the bridge act as no devices (masquerading by device_id, specification v1.17): nothing can be "
    "encrypted"
)
_POLLS: Final = {EncryptionMode.AUTO: None, EncryptionMode.APPSERVICE: False, EncryptionMode.SYNC: True}
_TRUST: Final[Mapping[TrustName, Trust]] = {
    TrustName.MISMATCHED: Trust.MISMATCHED,
    TrustName.UNKNOWN: Trust.UNKNOWN,
    TrustName.UNSIGNED: Trust.UNSIGNED,
    TrustName.NO_IDENTITY: Trust.NO_IDENTITY,
    TrustName.CROSS_SIGNED: Trust.CROSS_SIGNED,
    TrustName.PINNED: Trust.PINNED,
    TrustName.VERIFIED: Trust.VERIFIED,
}


class Encryption:
    """The machine, and what the bridge knows of its rooms. `start` before the lanes; `stop` after them.

    `on_arrived` are told of keys that have come: (room, session). They must not block.
    """

    def __init__(
        self,
        settings: Settings,
        policies: Mapping[NetworkId, RoomPolicy],
        engine: Engine,
        matrix: AppserviceSide,
        store: SealedCryptoStore,
        kv: KeyValues,
        clock: Clock,
        tasks: TaskOwner,
        metrics: Metrics,
        faults: FaultPoints,
        admins: Sequence[UserId],
        users: Users,
    ) -> None:
        from bridge_core.crypto.counts import CryptoCounts
        from bridge_core.crypto.machine import CryptoMachine

        self._clock = clock
        self._tasks = tasks
        self._matrix = matrix
        self._named = SkippedDevices(kv, engine.status, room_admins(engine, matrix, users), clock)
        self.settings = settings
        self.on_arrived: list[Callable[[RoomId, str], None]] = [engine.decrypting.arrived]
        self.machine: CryptoMachine = CryptoMachine(
            store,
            matrix.keys,
            matrix.bot_device,
            engine.names.is_ours,
            clock,
            _policy(settings),
            CryptoCounts(metrics),
            tasks,
            self._arrived,
            self._skipped,
            faults,
            lambda user: _made_again(matrix, user),
            engine.decrypting.withheld,
        )
        self.readers = Readers(matrix, engine.names.is_ours, clock, self.machine.devices.met)
        self.rooms = RoomEncryption(
            self.machine,
            matrix,
            engine.portals,
            self.readers,
            engine.names.is_ours,
            policies,
            tasks,
            engine.wake,
            engine.ghosts.known,
            clock,
        )
        self.sync = DeviceSync(
            matrix.keys,
            partial(_taken, engine.intake),
            kv,
            matrix.bot_device,
            store.owners,
            clock,
            metrics.counter("crypto_syncs", "Requests for what devices of ours were sent", ["result"]),
            polls=_POLLS[settings.mode],
        )
        self._endless: list[asyncio.Task[None]] = []
        self._decrypting = engine.decrypting
        engine.decrypting.missed = self.sync.lost
        engine.decrypting.use(
            self.machine, DecryptingSettings(settings.missing_key_wait, settings.missing_key_lifetime)
        )
        engine.intake.keys = self.machine
        self._bot = matrix.bot_device
        matrix.seal_by(self.rooms)
        engine.readers = self.readers
        engine.rendering.seal_by(self.rooms.secret)
        engine.acts.seal_by(self.rooms.secret)
        engine.gate.add(self.rooms)
        engine.rooms.begin_with(self.rooms.beginning)
        engine.rooms.when_bridged(self.rooms.bridged)
        per_ghost = settings.ghost_devices is GhostDevices.PER_GHOST
        read_from_the_first(engine, self.rooms, self.machine.accounts, matrix, clock, tasks, per_ghost=per_ghost)
        announce(engine, self.rooms, policies, kv, matrix.bot, admins)
        engine.on_visibility.append(self.readers.forget)
        engine.on_meeting.append(self._met)
        self.keeper = IdentityKeeper(
            self.machine,
            self.rooms,
            settings,
            policies,
            matrix.bot_device,
            engine.names.is_ours,
            lambda: self.sync.polling,
            lambda: {name: why for name, why in tasks.failing.items() if name.startswith(_KIND)},
            kv,
            lambda user: engine.permissions.of(user) is Permission.ADMIN,
        )
        own = OwnWords(self.keeper)
        EncryptionCommands(engine.commands, self.keeper, self.rooms, matrix.bot, own)
        BackupCommands(engine.commands, TOPIC, self.machine.backup, own)
        metrics.gauge("crypto_accounts_loaded", "Devices of ours whose keys are in memory.", self._loaded)

    async def start(self, *, restored: bool) -> None:
        """Read which rooms are encrypted and what waits. Raises as the store.

        `restored`: the database is an older copy of itself, so that no session in it may be spoken in any more.
        """
        await self.machine.start(restored=restored)
        self._endless += [
            self._tasks.keep(self._sweep, f"{_KIND}sweep", self._clock, every=_SWEEP),
            self._tasks.keep(self._decrypting.give_up, f"{_KIND}waiting", self._clock, every=LOOK),
            self._tasks.keep(self.machine.senders.watch, f"{_KIND}senders", self._clock),
        ]

    async def stop(self) -> None:
        """Store how far sessions were used, so that a planned stop skips nothing."""
        for task in self._endless:
            task.cancel()  # they never end by themselves, and a stop need not wait for them
        await self.machine.stop()

    def _met(self) -> None:
        self.rooms.trouble = "" if self._matrix.has_devices else _NO_DEVICES
        if self.rooms.trouble:
            log.error("encryption_not_possible", problem=self.rooms.trouble)
        else:
            # Nobody can encrypt for the bot before its keys are there.
            self._endless += [
                self._tasks.keep(self._synced, f"{_KIND}sync", self._clock),
                self._tasks.keep(self.sync.ask_ghosts, f"{_KIND}sync-ghosts", self._clock, every=GHOST),
            ]
            if self.machine.backup is not None:
                self._endless.append(self._tasks.keep(self.machine.backup.run, f"{_KIND}backup", self._clock))
        self.rooms.met()

    def _skipped(self, room: RoomId, devices: Sequence[Skipped]) -> None:
        for keyless in (False, True):
            those = [(one.user, one.device) for one in devices if one.keyless is keyless]
            if those:
                with contextlib.suppress(RuntimeError):  # the bridge stops: they are named another time
                    self._tasks.start(self._named.name(room, those, keyless=keyless), "skipped-devices")

    def watched(self, sink: TransactionSink) -> TransactionSink:
        """A sink before the one given, which notices what transactions bring of keys, and what they have lost."""
        return Watched(sink, self.sync, self.rooms.doubt, self.machine.missed)

    def _arrived(self, room: RoomId, session: str) -> None:
        for told in self.on_arrived:
            told(room, session)

    async def _synced(self) -> None:
        await self._readied()
        await self.sync.run()

    async def _readied(self) -> None:
        delay = _RETRY[0]
        while True:
            try:
                await self.keeper.stand()
                await self.machine.accounts.ready(self._bot)
            except BridgeError as error:
                log.warning("bot_keys_not_uploaded", error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])
            else:
                return

    def _loaded(self) -> float:
        return len(self.machine.accounts)

    async def _sweep(self) -> None:
        try:
            gone = await self.machine.sweep()
        except BridgeError as error:
            log.warning("keys_not_swept", error=str(error))
        else:
            log.info("keys_swept", **gone)


def make_encryption(
    config: Config,
    configs: Mapping[str, NetworkConfig],
    engine: Engine,
    matrix: AppserviceSide,
    store: SealedCryptoStore,
    kv: KeyValues,
    clock: Clock,
    tasks: TaskOwner,
    metrics: Metrics,
    faults: FaultPoints,
    users: Users,
) -> Encryption | None:
    """Encryption of this bridge; None where the configuration has none."""
    settings = config.encryption
    policies = {NetworkId(name): RoomPolicy(one.common.encryption.value) for name, one in configs.items()}
    if settings.mode is EncryptionMode.OFF:
        return None  # else it is needed even where no network allows it: nothing may be said in clear then
    admins = [UserId(user) for user in config.rules().admins()]
    return Encryption(settings, policies, engine, matrix, store, kv, clock, tasks, metrics, faults, admins, users)


async def _made_again(matrix: AppserviceSide, user: UserId) -> bool:
    """Make a device that was deleted on the homeserver."""
    return await matrix.ensure_registered(user) is not None


async def _taken(intake: TransactionIntake, found: Synced, writes: tuple[Write, ...]) -> None:
    await intake.take_keys(found.to_device, found.device_lists, found.otk_counts, found.fallback_types, writes)


def _policy(settings: Settings) -> Policy:
    trust = settings.trust
    return Policy(
        send=_TRUST[trust.send],
        receive=_TRUST[trust.receive],
        share=_TRUST[trust.share],
        per_ghost=settings.ghost_devices is GhostDevices.PER_GHOST,
        max_age=int(settings.session_max_age * 1000),
        max_unused=int(settings.session_max_unused * 1000),
        backup=settings.backup,
    )
