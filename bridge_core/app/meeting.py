"""Meeting the homeserver: asked until it answers, then greeted, and made to send what it held back."""

from collections.abc import Sequence
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import ChatId, NetworkId, RoomId
from bridge_core.app.engine import Engine
from bridge_core.config import Config
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.startup import SetupProblemError
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_RETRY: Final = (1.0, 15.0)
_NOTICED: Final = 0.2
"""Seconds until the homeserver has noticed a refusal, so that a ping makes it try again."""


class Meeting:
    """Goes on in the background of a start: the bridge takes in what comes meanwhile.

    `trouble` says why the homeserver is not ready, empty when it is. `plumbed` are the configured rooms to be joined:
    network, chat, and the room's id or alias.
    """

    def __init__(self, config: Config, engine: Engine, matrix: AppserviceSide, clock: Clock, tasks: TaskOwner) -> None:
        self._config = config
        self._engine = engine
        self._matrix = matrix
        self._clock = clock
        self._tasks = tasks
        self.trouble = "not asked yet"
        self.plumbed: Sequence[tuple[NetworkId, ChatId, str]] = ()

    async def meet(self) -> None:
        """Ask until the homeserver answers; then send what waits, and let it send what it held back."""
        delay = _RETRY[0]
        info = None
        while info is None:
            try:
                info = await self._matrix.check()
                await self._engine.to_matrix.start()
            except BridgeError as error:
                info = None
                self.trouble = str(error)
                log.warning("homeserver_not_ready", error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])
        log.info("homeserver_met", devices=info.devices, versions=info.versions[-1:] or None)
        await self._name_bot()
        self._engine.rooms.finish()
        self._engine.met()
        self.trouble = ""
        self._tasks.start(self._adopt_rooms(), "configured-rooms")
        await self._ping()

    async def ask_again(self) -> None:
        """After a refusal: have it sent again soon. If that fails, the homeserver does it by itself after seconds."""
        await self._clock.sleep(_NOTICED)
        try:
            await self._matrix.ping(self._config.appservice.id)
        except BridgeError as error:  # Synapse answers 502 when it is at it already
            log.info("asking_again_failed", error=str(error))

    async def _ping(self) -> None:
        try:
            await self._matrix.ping(self._config.appservice.id)
        except SetupProblemError as error:
            log.error("homeserver_cannot_reach_bridge", problem=str(error))
        except BridgeError as error:
            log.warning("ping_failed", error=str(error))

    async def _name_bot(self) -> None:
        wanted = self._config.appservice
        try:
            await self._matrix.set_profile(self._matrix.bot, wanted.bot_displayname, wanted.bot_avatar)
        except BridgeError as error:
            log.warning("bot_profile_not_set", error=str(error))

    async def _adopt_rooms(self) -> None:
        """Join the rooms that the configuration names; what cannot be done now is tried again."""
        waiting, delay = list(self.plumbed), _RETRY[0]
        while waiting:
            waiting = [item for item in waiting if not await self._adopted(*item)]
            if waiting:
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])

    async def _adopted(self, name: NetworkId, chat: ChatId, room: str) -> bool:
        """Whether no further try is needed."""
        try:
            portal = await self._engine.portals.ensure(name, chat)
            known = await self._matrix.room_of(room) if room.startswith("#") else RoomId(room)
            if known not in portal.rooms:
                await self._engine.rooms.adopt(portal, known)
        except RejectedError as error:
            log.error("configured_room_not_joined", network=name, room=room, error=str(error))
        except BridgeError as error:
            log.warning("configured_room_put_off", network=name, room=room, error=str(error))
            return False
        return True
