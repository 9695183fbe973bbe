"""Whom the staff of a network keep out of it: masks for one network each, stored, in force before they are answered."""

from dataclasses import asdict, dataclass
from typing import Final

import orjson

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.staff import Block
from bridge_core.config.masks import Masks, check_mask, names_everybody
from bridge_core.engine.gate import Check
from bridge_core.engine.networks import Networks
from bridge_core.engine.store_ports import KeyValues, PortalRow

NAMESPACE: Final = "staff.blocks"
_MOST: Final = 10_000
_KICK_HOLDS: Final = 600.0
"""Seconds in which nothing crosses of whom staff have kicked."""
_KICKED_AT_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Of:
    """The blocks of one network."""

    blocks: dict[str, Block]
    masks: Masks


class StaffBlocks(Check):
    """All blocks. Who is blocked on one network takes part on all others."""

    def __init__(self, kv: KeyValues, networks: Networks, clock: Clock, domain: str) -> None:
        self._kv = kv
        self._networks = networks
        self._clock = clock
        self._domain = domain
        self._of: dict[NetworkId, _Of] = {}
        self._kicked: dict[tuple[NetworkId, UserId], tuple[float, str]] = {}

    async def load(self) -> None:
        """Read all blocks, before anybody is let in."""
        found: dict[NetworkId, dict[str, Block]] = {}
        for key, value in (await self._kv.items(NAMESPACE, "")).items():
            block = Block(**orjson.loads(value))
            found.setdefault(NetworkId(key.partition("\x1f")[0]), {})[block.mask] = block
        for network, blocks in found.items():
            self._put(network, blocks)

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`."""
        if (self._of or self._kicked) and (why := self.why(portal.network, sender.id)):
            raise RejectedError(why)

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`: nothing comes to a blocked user's private chats either."""
        if not self._of or portal.receiver is None:
            return
        network = self._networks.get(portal.network)
        login = network.login_of(portal.receiver) if network is not None else None
        if login is not None and self.why(portal.network, login.user):
            raise RejectedError("whose login it is, is blocked by the network's staff")

    def new_login(self, user: UserId, network: NetworkId) -> None:
        """Whether a user may log in to a network. Raises RejectedError in words for them."""
        if why := self.why(network, user):
            raise RejectedError(why)

    def why(self, network: NetworkId, user: UserId) -> str:
        """Why a user may say nothing on a network, in words for them; empty when they may. From memory."""
        found = self._of.get(network)
        for _, mask in found.masks.naming(user) if found is not None else ():
            reason = found.blocks[mask].reason if found is not None else ""
            return f"you are blocked from {network} by its staff{f': {reason}' if reason else ''}"
        until, reason = self._kicked.get((network, user), (0.0, ""))
        left = until - self._clock.monotonic()
        if left > 0:
            because = f": {reason}" if reason else ""
            return f"the staff of {network} have removed you for {left / 60:.0f} more minutes{because}"
        return ""

    def kicked(self, network: NetworkId, user: UserId, reason: str) -> None:
        """Nothing of a user crosses for ten minutes. In force at once; not kept over a restart."""
        now = self._clock.monotonic()
        self._kicked = {one: found for one, found in self._kicked.items() if found[0] > now}
        while len(self._kicked) >= _KICKED_AT_MOST:
            del self._kicked[next(iter(self._kicked))]
        self._kicked[network, user] = (now + _KICK_HOLDS, reason[:500])

    def all(self, network: NetworkId) -> tuple[Block, ...]:
        """Every block of a network, the oldest first."""
        found = self._of.get(network)
        return tuple(sorted(found.blocks.values(), key=lambda block: block.at)) if found is not None else ()

    def count(self) -> int:
        """How many there are."""
        return sum(len(found.blocks) for found in self._of.values())

    async def add(self, network: NetworkId, mask: str, by: str, reason: str) -> Masks:
        """Block whoever the mask names, whom the result finds. Returns when it is stored. Raises RejectedError."""
        try:
            check_mask(mask)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        if names_everybody(mask):
            raise RejectedError("that would be everybody: say stop instead")
        blocks = dict(self._of[network].blocks) if network in self._of else {}
        if mask not in blocks and len(blocks) >= _MOST:
            raise RejectedError(f"there are {_MOST} blocks already: block servers or patterns instead")
        block = blocks[mask] = Block(mask, by, self._clock.now_ms(), reason[:500])
        self._put(network, blocks)  # in force at once
        await self._kv.put(NAMESPACE, f"{network}\x1f{mask}", orjson.dumps(asdict(block)))
        return Masks((mask,), self._domain)

    async def remove(self, network: NetworkId, mask: str) -> None:
        """End the block on exactly this mask. Raises RejectedError when there is none."""
        blocks = dict(self._of[network].blocks) if network in self._of else {}
        if mask not in blocks:
            raise RejectedError(f"there is no block on {mask}")
        await self._kv.put(NAMESPACE, f"{network}\x1f{mask}", None)
        del blocks[mask]
        self._put(network, blocks)

    def _put(self, network: NetworkId, blocks: dict[str, Block]) -> None:
        if blocks:
            self._of[network] = _Of(blocks, Masks(tuple(blocks), self._domain))
        else:
            self._of.pop(network, None)
