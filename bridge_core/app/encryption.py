"""Builds encryption where some network allows it. Nowhere else is its library loaded: it costs memory and start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.app.engine import Engine
from bridge_core.config import Config
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.encryption import Encryption as Settings
from bridge_core.config.encryption import EncryptionMode, GhostDevices, NetworkEncryption, TrustName
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.engine.decrypting import DecryptingSettings
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.readers import Readers
from bridge_core.matrix.side import AppserviceSide
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.crypto import SealedCryptoStore

if TYPE_CHECKING:
    from bridge_core.crypto.machine import CryptoMachine

log = structlog.get_logger(__name__)

_SWEEP: Final = 3600.0
_RETRY: Final = (1.0, 300.0)
_TRUST: Final[Mapping[TrustName, Trust]] = {
    TrustName.UNKNOWN: Trust.UNKNOWN,
    TrustName.UNSIGNED: Trust.UNSIGNED,
    TrustName.NO_IDENTITY: Trust.NO_IDENTITY,
    TrustName.CROSS_SIGNED: Trust.CROSS_SIGNED,
    TrustName.PINNED: Trust.PINNED,
    TrustName.VERIFIED: Trust.VERIFIED,
}


class Encryption:
    """The machine, and what the bridge knows of its rooms. `start` before the lanes; `stop` after them.

    `on_arrived` are told of keys that have come or been refused: (room, session). They must not block.
    """

    def __init__(
        self,
        settings: Settings,
        policies: Mapping[NetworkId, RoomPolicy],
        engine: Engine,
        matrix: AppserviceSide,
        store: SealedCryptoStore,
        clock: Clock,
        tasks: TaskOwner,
        metrics: Metrics,
        faults: FaultPoints,
    ) -> None:
        from bridge_core.crypto.counts import CryptoCounts
        from bridge_core.crypto.machine import CryptoMachine

        self._clock = clock
        self._tasks = tasks
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
            lambda room, devices: None,
            faults,
            lambda user: _made_again(matrix, user),
        )
        self.readers = Readers(matrix, engine.names.is_ours)
        self.rooms = RoomEncryption(
            self.machine,
            matrix,
            engine.portals,
            self.readers,
            engine.names.is_ours,
            policies,
            tasks,
            engine.wake,
        )
        self._decrypting = engine.decrypting
        engine.decrypting.use(
            self.machine, DecryptingSettings(settings.missing_key_wait, settings.missing_key_lifetime)
        )
        engine.intake.keys = self.machine
        self._bot = matrix.bot_device
        matrix.seal_by(self.rooms)
        engine.readers = self.readers
        engine.gate.add(self.rooms)
        engine.rooms.begin_with(self.rooms.beginning)
        engine.rooms.when_bridged(self.rooms.bridged)
        engine.on_encryption.append(self.rooms.changed)
        engine.on_visibility.append(self.readers.forget)
        engine.on_meeting.append(self.rooms.met)
        engine.on_meeting.append(self._met)
        metrics.gauge("crypto_accounts_loaded", "Devices of ours whose keys are in memory.", self._loaded)

    async def start(self) -> None:
        """Read which rooms are encrypted and what waits. Raises as the store."""
        await self.machine.start()
        self._tasks.start(self._swept(), "crypto-sweep")
        self._tasks.start(self._decrypting.watch(), "crypto-waiting")

    async def stop(self) -> None:
        """Store how far sessions were used, so that a planned stop skips nothing."""
        await self.machine.stop()

    def _arrived(self, room: RoomId, session: str) -> None:
        for told in self.on_arrived:
            told(room, session)

    def _met(self) -> None:
        """The homeserver is there: nobody can encrypt for the bot before its keys are."""
        self._tasks.start(self._readied(), "crypto-bot")

    async def _readied(self) -> None:
        delay = _RETRY[0]
        while True:
            try:
                await self.machine.accounts.ready(self._bot)
            except BridgeError as error:
                log.warning("bot_keys_not_uploaded", error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])
            else:
                return

    def _loaded(self) -> float:
        return len(self.machine.accounts)

    async def _swept(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP)
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
    clock: Clock,
    tasks: TaskOwner,
    metrics: Metrics,
    faults: FaultPoints,
) -> Encryption | None:
    """Encryption of this bridge; None where the configuration has none."""
    settings = config.encryption
    policies = {NetworkId(name): RoomPolicy(one.common.encryption.value) for name, one in configs.items()}
    if settings.mode is EncryptionMode.OFF:
        return None
    if all(one.common.encryption is NetworkEncryption.OFF for one in configs.values()):
        return None
    return Encryption(settings, policies, engine, matrix, store, clock, tasks, metrics, faults)


async def _made_again(matrix: AppserviceSide, user: UserId) -> bool:
    """Make a device that was deleted on the homeserver."""
    return await matrix.ensure_registered(user) is not None


def _policy(settings: Settings) -> Policy:
    trust = settings.trust
    return Policy(
        send=_TRUST[trust.send],
        receive=_TRUST[trust.receive],
        share=_TRUST[trust.share],
        per_ghost=settings.ghost_devices is GhostDevices.PER_GHOST,
        max_age=int(settings.session_max_age * 1000),
        max_unused=int(settings.session_max_unused * 1000),
    )
