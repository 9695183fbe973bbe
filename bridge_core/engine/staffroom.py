"""The desk at which a network's staff command this bridge: it holds for their network, and is written down."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import MessageId, NetworkId, UserId
from bridge_core.api.staff import Block, Kicked
from bridge_core.config.masks import Masks
from bridge_core.engine.labels import label
from bridge_core.engine.links import LinkLedger
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.staffblocks import StaffBlocks
from bridge_core.engine.status import Status
from bridge_core.engine.stops import Stops
from bridge_core.engine.store_ports import KeyValues, Messages, Users

log = structlog.get_logger(__name__)

FileOf = Callable[[str], str | None]
"""The mxc address of the file that a link of ours leads to; None for what is no such link."""

AUDIT: Final = "staff.audit"
_KEPT: Final = 1_000
"""Acts of one network that are kept."""


@dataclass(frozen=True, slots=True)
class Act:
    """What staff did. `at` is milliseconds since 1970."""

    at: int
    by: str
    what: str


class StaffAudit:
    """Every act of staff, stored, bounded, and told to the bridge's admins in their management rooms."""

    def __init__(self, kv: KeyValues, users: Users, permissions: Permissions, status: Status, clock: Clock) -> None:
        self._kv = kv
        self._users = users
        self._permissions = permissions
        self._status = status
        self._clock = clock

    async def note(self, network: NetworkId, what: str, by: str) -> None:
        """Store an act, then tell it."""
        known = sorted(await self._kv.items(AUDIT, f"{network}\x1f"))
        number = int(known[-1].rpartition("\x1f")[2]) + 1 if known else 0
        act = Act(self._clock.now_ms(), label(by, 200), label(what, 500))
        await self._kv.put(AUDIT, f"{network}\x1f{number:012d}", orjson.dumps(asdict(act)))
        for key in known[: max(0, len(known) + 1 - _KEPT)]:
            await self._kv.put(AUDIT, key, None)
        log.warning("staff_acted", network=network, by=act.by, what=act.what)
        for row in await self._users.with_rooms():
            if row.management_room is not None and self._permissions.of(row.id) is Permission.ADMIN:
                text = f"{act.by}, of the staff of {network}: {act.what}"
                try:
                    await self._status.say(
                        row.management_room, text, key=f"staff\x1f{network}\x1f{number}\x1f{act.at}\x1f{row.id}"
                    )
                except BridgeError as error:
                    log.info("staff_act_not_told", user=row.id, error=str(error))

    async def all(self, network: NetworkId) -> list[Act]:
        """The acts on a network, the latest first."""
        found = await self._kv.items(AUDIT, f"{network}\x1f")
        return [Act(**orjson.loads(found[key])) for key in sorted(found, reverse=True)]


class StaffRoom:
    """The `Staff` of one network."""

    def __init__(
        self,
        network: NetworkId,
        networks: Networks,
        portals: PortalIndex,
        members: Members,
        matrix: MatrixSide,
        blocks: StaffBlocks,
        stops: Stops,
        links: LinkLedger,
        messages: Messages,
        file_of: FileOf,
        audit: StaffAudit,
        leave: Callable[[UserId], Awaitable[None]],
    ) -> None:
        self._network = network
        self._networks = networks
        self._portals = portals
        self._members = members
        self._matrix = matrix
        self._blocks = blocks
        self._stops = stops
        self._links = links
        self._messages = messages
        self._file_of = file_of
        self._audit = audit
        self._leave = leave

    async def block(self, mask: str, by: str, reason: str = "") -> int:
        """As `Staff.block`."""
        masks = await self._blocks.add(self._network, mask, by, reason)
        ended = await self._let_go(masks)
        await self.note(f"blocked {mask}{f' ({reason})' if reason else ''}; {ended} of them had a connection", by)
        return ended

    async def unblock(self, mask: str, by: str) -> None:
        """As `Staff.unblock`."""
        await self._blocks.remove(self._network, mask)
        await self.note(f"unblocked {mask}", by)

    def blocked(self) -> tuple[Block, ...]:
        """As `Staff.blocked`."""
        return self._blocks.all(self._network)

    def users(self) -> tuple[UserId, ...]:
        """As `Staff.users`."""
        network = self._networks.get(self._network)
        return tuple(dict.fromkeys(login.user for login in network.logins())) if network is not None else ()

    async def kick(self, user: UserId, by: str, reason: str = "") -> Kicked:
        """As `Staff.kick`."""
        self._blocks.kicked(self._network, user, reason)
        await self._leave(user)
        removed = kept = 0
        portals = [portal for portal in self._portals.of_network(self._network) if portal.receiver is None]
        for room in dict.fromkeys(room for portal in portals for room in portal.rooms):
            try:
                if user in await self._members.of(room):
                    await self._matrix.kick(room, user, reason or f"removed by the staff of {self._network}")
                    removed += 1
            except MatrixRejectedError as error:
                kept += 1
                log.info("staff_kick_refused", room=room, user=user, error=str(error))
        still = f", not from {kept} where the bridge may not" if kept else ""
        await self.note(f"kicked {user} from {removed} rooms{still}{f' ({reason})' if reason else ''}", by)
        return Kicked(removed, kept)

    async def revoke(self, what: str, by: str) -> int:
        """As `Staff.revoke`."""
        if what.startswith("@"):
            count = await self._links.revoke_user(self._network, UserId(what))
        else:
            file = self._file_of(what)
            if file is not None:
                await self._links.revoke_file(file)
            count = 1 if file is not None else await self._of_message(MessageId(what))
        await self.note(f"revoked the links to {count} files ({what[:200]})", by)
        return count

    async def _of_message(self, message: MessageId) -> int:
        """Ends the links to the files of a message that came from Matrix; how many there were. Raises RejectedError."""
        count, known = 0, False
        for portal in list(self._portals.of_network(self._network)):
            for room, event in {(row.room, row.event) for row in await self._messages.by_message(portal.id, message)}:
                known = True
                count += await self._links.revoke_event(room, event)
        if not known:
            raise RejectedError("that is no link of this bridge, no id of a message, and no user")
        if not count:
            raise RejectedError("no file was sent from Matrix with that message")
        return count

    async def stop(self, by: str, reason: str = "") -> None:
        """As `Staff.stop`."""
        await self._stops.stop(self._network, UserId(by), reason, admin=False)
        await self.note(f"stopped the bridging of the whole network{f' ({reason})' if reason else ''}", by)

    async def start(self, by: str) -> None:
        """As `Staff.start`."""
        await self._stops.start(self._network, UserId(by), admin=False)
        await self.note("let the bridging go on", by)

    async def note(self, act: str, by: str) -> None:
        """As `Staff.note`."""
        await self._audit.note(self._network, act, by)

    async def _let_go(self, masks: Masks) -> int:
        users = [user for user in self.users() if masks.naming(user)]
        for user in users:
            await self._leave(user)
        return len(users)
