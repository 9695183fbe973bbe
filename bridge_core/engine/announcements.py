"""What a bridged room is told of its encryption: once, when it begins, and to whoever bridges it.

No line of the topic says it: topics are the chat's, and are mirrored both ways, so that such a line would go to the
network with the next change and be gone with the one after.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.secrecy import MEGOLM
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues, PortalRow

log = structlog.get_logger(__name__)

NAMESPACE: Final = "encryption.told"
_MOST: Final = 10_000
_ADMINS: Final = 3


class EncryptionAnnouncements:
    """Tells rooms. `name` gives what a network is called, `admins` are who runs the bridge.

    `opens` says whether files of encrypted rooms are handed out by links there.
    """

    def __init__(
        self,
        encryption: RoomEncryption,
        rooms: RoomMaker,
        portals: PortalIndex,
        policies: Mapping[NetworkId, RoomPolicy],
        name: Callable[[NetworkId], str],
        status: Status,
        kv: KeyValues,
        bot: UserId,
        admins: Sequence[UserId],
        opens: Callable[[NetworkId], bool],
    ) -> None:
        self._encryption = encryption
        self._rooms = rooms
        self._portals = portals
        self._policies = policies
        self._name = name
        self._opens = opens
        self._status = status
        self._kv = kv
        self._server = bot.partition(":")[2]
        self._admins = ", ".join(admins[:_ADMINS]) or f"whoever runs {self._server}"
        self._were: dict[str, bool] = {}
        """Whether rooms were encrypted before an event which came, and is still to be handled."""

    def changed(self, event: Mapping[str, Any]) -> None:
        """An m.room.encryption has come in. Before whoever believes it; does not block."""
        if len(self._were) >= _MOST:
            self._were.clear()
        self._were[event["event_id"]] = self._encryption.known(RoomId(event["room_id"])) is True

    async def became(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: a room that was plain is encrypted from now on. Raises TransientError."""
        room = RoomId(event["room_id"])
        if event["state_key"] or event["content"].get("algorithm") != MEGOLM:
            return
        # The lane may come to it before `changed` is called.
        was = self._were.pop(event["event_id"], None)
        if self._encryption.known(room) is True if was is None else was:
            return
        if room in self._encryption.plain:
            self._encryption.changed(room, event["content"])
        if not self._portals.in_room(room):
            return
        try:
            await self._encryption.encrypted(room)
            await self.announce(room)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.info("encryption_not_announced", room=room, error=str(error))

    async def announce(self, room: RoomId) -> None:
        """Say it in the room, once for ever, and in its state. Raises BridgeError."""
        if await self._kv.get(NAMESPACE, room) is not None:
            return
        await self._encryption.keep(room)  # its state says so too
        portals = self._portals.in_room(room)
        # Said first: a crash in between says it once all the same, by its key.
        await self._status.say(room, self._words(portals), key=f"encrypted\x1f{room}")
        for portal in portals:
            await self._rooms.tell(portal, room)
        await self._kv.put(NAMESPACE, room, b"1")

    async def bridged(self, portal: PortalRow, room: RoomId) -> None:
        """A room that was there is bridged now: what `remark` says of it need not be said once more."""
        if self._encryption.known(room):
            await self._kv.put(NAMESPACE, room, b"1")

    def remark(self, portal: PortalRow, room: RoomId) -> str:
        """What is to be said to whoever has bridged a room. Does not block."""
        if self._encryption.known(room):
            return self._words((portal,))
        if self._policies.get(portal.network) is RoomPolicy.REQUIRE:
            return (
                f"Nothing crosses until encryption is turned on in this room: {self._name(portal.network)} requires "
                "it here. It cannot be turned off again."
            )
        return ""

    def _words(self, portals: Sequence[PortalRow]) -> str:
        rules: dict[RoomPolicy, list[str]] = {}
        for network in dict.fromkeys(portal.network for portal in portals):
            rules.setdefault(self._policies.get(network, RoomPolicy.ALLOW), []).append(self._name(network))
        off = rules.pop(RoomPolicy.OFF, None)
        required = rules.get(RoomPolicy.REQUIRE)
        on = ", ".join(name for names in rules.values() for name in names)
        said = ["This room is encrypted."]
        if required:
            said.append(f"{', '.join(required)} requires that: messages cross from now on.")
        if on:
            said.append(
                f"Messages are encrypted up to the bridge: they go on to {on}, so they are readable on its server, "
                f"{self._server}, which is run by {self._admins}."
            )
        linked = [self._name(one) for one in dict.fromkeys(row.network for row in portals) if self._opens(one)]
        if linked:
            said.append(f"Files go to {', '.join(linked)} as links: whoever has such a link can open the file.")
        if off:
            said.append(f"Encryption is off for {', '.join(off)}: nothing crosses between it and this room.")
        return " ".join(said)
