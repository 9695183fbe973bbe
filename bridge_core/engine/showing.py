"""Shows in each portal's rooms what its chat can carry: as room state, one room at a time, only when it has changed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.api.info import ChatInfo
from bridge_core.api.matrix import MatrixEdit, MatrixInfo, MatrixMember, MatrixReaction, MatrixRedaction, MatrixVote
from bridge_core.api.network import Capabilities, Client
from bridge_core.engine.features import EVENT, digest, document
from bridge_core.engine.handover import HandOver
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

NAMESPACE: Final = "features"
"""Of the rows that say what was shown where last, by the portal's number."""
_PAUSE: Final = 0.2
"""Seconds between two rooms: a network with ten thousand chats is not worth a rush."""
_RETRY: Final = 15.0
_LONGEST_KEY: Final = 255
_PARTS: Final[Mapping[type, tuple[str, ...]]] = {
    MatrixEdit: ("edit",),
    MatrixRedaction: ("redact",),
    MatrixReaction: ("react",),
    MatrixVote: ("vote",),
    MatrixMember: ("member", "power"),
    MatrixInfo: ("name", "topic", "avatar"),
}
"""Features for which a client needs a method."""


class Showing:
    """Publishes the documents. Everything may be done twice: state is set only where it is not so already."""

    def __init__(
        self,
        networks: Networks,
        portals: PortalIndex,
        matrix: MatrixSide,
        kv: KeyValues,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        self._kv = kv
        self._clock = clock
        self._tasks = tasks
        self._hand_over = HandOver()
        self._seen: dict[int, Capabilities] = {}
        self._waiting: dict[int, PortalRow] = {}
        """Portals to look at, the oldest first: at most all there are."""
        self._left: dict[int, set[RoomId]] = {}
        """Rooms that were a portal's until now."""
        self._shown: dict[int, dict[str, Any]] | None = None
        self._busy = False
        self._working: asyncio.Task[None] | None = None
        portals.watch(self._changed)

    def can(self, portal: PortalRow, can: Capabilities) -> None:
        """What a chat can carry was asked just now. Does not block, and costs nothing while it stays the same."""
        known = self._seen.get(portal.id)
        if known is not can and known != can:
            self.touch(portal)
        self._seen[portal.id] = can

    def beginning(self, portal: PortalRow, info: ChatInfo | None) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
        """What a portal's new room shows from the start. Does not block, raises nothing."""
        client = self._client(portal)
        try:
            return () if client is None else ((EVENT, _key(portal), self._document(portal, client)),)
        except Exception:
            log.exception("features_not_shown", portal=portal.id)
            return ()  # the room is worth more than this

    def connected(self, network: NetworkId) -> None:
        """A network is there (again): its chats may be able to carry something else now. Does not block."""
        for portal in self._portals.of_network(network):
            self.touch(portal)

    def touch(self, portal: PortalRow) -> None:
        """Look at a portal soon: it may be new, have other rooms, or (without rooms) be gone. Does not block."""
        self._waiting[portal.id] = portal
        if self._working is None or self._working.done():
            try:
                self._working = self._tasks.spawn(self._work(), "features")
            except RuntimeError:  # the bridge stops: the next start looks at all of them
                self._waiting.clear()

    @property
    def idle(self) -> bool:
        """Whether all rooms show what they should, as far as can be told."""
        return not self._waiting and not self._busy

    def stop(self) -> None:
        """End the work: what is left is done at the next start."""
        self._waiting.clear()
        if self._working is not None:
            self._working.cancel()

    def _changed(self, before: PortalRow, now: PortalRow | None) -> None:
        now = now or replace(before, rooms=())
        if left := set(before.rooms) - set(now.rooms):
            self._left.setdefault(now.id, set()).update(left)
        self.touch(now)

    async def _work(self) -> None:
        while self._waiting:
            number = next(iter(self._waiting))
            # Taken out first: what changes meanwhile must be looked at once more.
            waiting, left = self._waiting.pop(number), self._left.pop(number, set())
            row = self._portals.by_id(number) or waiting
            self._busy = True
            try:
                changed = await self._show(row, left)
            except (TransientError, RateLimitedError) as error:
                self._waiting.setdefault(number, waiting)
                self._left.setdefault(number, set()).update(left)
                delay = min(error.retry_after, _RETRY) if isinstance(error, RateLimitedError) else _RETRY
                await self._clock.sleep(delay)
                continue
            except Exception:
                # Whatever is the matter with one portal, the others are looked at.
                log.exception("features_not_shown", portal=number)
                changed = True
            finally:
                self._busy = False
            await self._clock.sleep(_PAUSE if changed else 0)

    async def _show(self, portal: PortalRow, left: set[RoomId]) -> bool:
        """Bring a portal's rooms to show what its chat can carry; whether there was something to do."""
        if self._shown is None:
            stored = await self._kv.items(NAMESPACE, "")
            self._shown = {int(key): orjson.loads(value) for key, value in stored.items()}
        before = self._shown.get(portal.id, {"digest": "", "rooms": []})
        client = self._client(portal) if portal.rooms else None
        gone = ({RoomId(room) for room in before["rooms"]} | left) - set(portal.rooms)
        if client is None and not gone:
            return False
        content = self._document(portal, client) if client is not None else {}
        now = {"digest": digest(content) if client is not None else before["digest"], "rooms": list(portal.rooms)}
        if (now == before and not gone) or not (portal.rooms or gone):
            return False
        for room in sorted(gone):
            await self._set(room, portal, {})
        if client is not None:
            for room in portal.rooms:
                if now["digest"] != before["digest"] or room not in before["rooms"]:
                    await self._set(room, portal, content)
        await self._kv.put(NAMESPACE, str(portal.id), orjson.dumps(now) if portal.rooms else None)
        self._shown[portal.id] = now
        if not portal.rooms:
            del self._shown[portal.id]
            self._seen.pop(portal.id, None)
        return True

    async def _set(self, room: RoomId, portal: PortalRow, content: Mapping[str, Any]) -> None:
        try:
            await self._matrix.set_state(room, EVENT, _key(portal), content, self._matrix.bot)
        except RejectedError as error:
            # A plumbed room belongs to its admins, and one that was left has no need of it.
            log.info("features_refused", room=room, error=str(error))

    def _client(self, portal: PortalRow) -> Client | None:
        """Whose word counts: the receiving login's, else the network-wide client's."""
        network = self._networks.get(portal.network)
        if network is None:
            return None
        login = network.login_of(portal.receiver) if portal.receiver is not None else None
        return (network.client_with(login.id) if login is not None else None) or network.main

    def _document(self, portal: PortalRow, client: Client) -> dict[str, Any]:
        can = self._seen[portal.id] = client.capabilities(portal.chat)
        return document(can, self._missing(client))

    def _missing(self, client: Client) -> frozenset[str]:
        lacking = [names for kind, names in _PARTS.items() if not self._hand_over.takes(client, kind)]
        return frozenset(name for names in lacking for name in names)


def _key(portal: PortalRow) -> str:
    """The state key, which is that of `m.bridge`: one room may show several chats."""
    return f"dev.matrix_bridge://{portal.network}/{portal.chat}".encode()[:_LONGEST_KEY].decode(errors="ignore")
