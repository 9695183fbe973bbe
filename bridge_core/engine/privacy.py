"""The privacy filter: what people of a chat say is shown only while everybody who reads along is in the chat too.

Who is in the room the homeserver tells, who is in the chat the network. What may not be shown is held in its lane, in
order, and never dropped for it; while anything is not known it is held.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.events import (
    RemoteEdit,
    RemoteInfo,
    RemoteMessage,
    RemotePollEnd,
    RemoteReaction,
    RemoteRedaction,
    RemoteVote,
)
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.optional import KnowsPresence, Puppets
from bridge_core.config.masks import Masks
from bridge_core.engine.consents import against
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.payload import RoomCopy, decode
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_HELD: Final = frozenset(
    {RemoteMessage, RemoteEdit, RemoteReaction, RemoteRedaction, RemoteVote, RemotePollEnd, RemoteInfo, RoomCopy}
)
"""What tells something that was said. Who comes and goes is no secret, and that a chat is gone must be told."""
_EVERY: Final = 1.0
_PATIENCE: Final = 5.0
"""Seconds that something is held before the room is told: a connection that is on its way needs no notice."""
_AGAIN: Final = 30.0
"""Seconds between tries to bring the same user in, and between notices of the same room."""
_NAMED: Final = 5
_KNOCKS: Final = 1_000
_KNOCK_PATIENCE: Final = 600.0
_ROOMS: Final = 500
VISIBILITY: Final = "m.room.history_visibility"


@dataclass(frozen=True, slots=True)
class PrivacyRule:
    """What holds on a network. `kick_after` is seconds, 0 for never; who is `exempt` may read along."""

    kick_after: float = 0.0
    exempt: Masks = field(default_factory=lambda: Masks((), ""))


@dataclass(slots=True)
class Hold:
    """A room for which something is held: since when, by whom with which reason, and what the room was told."""

    portal: int
    since: float
    blockers: Mapping[str, str]
    first: dict[str, float]
    told: frozenset[str] = frozenset()
    told_at: float = 0.0


class PrivacyFilter:
    """The filter of all networks that have `rules`. `wake` lets lanes try again."""

    def __init__(
        self,
        rules: Mapping[NetworkId, PrivacyRule],
        networks: Networks,
        portals: PortalIndex,
        members: Members,
        matrix: MatrixSide,
        status: Status,
        clock: Clock,
        tasks: TaskOwner,
        wake: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._networks = networks
        self._portals = portals
        self._members = members
        self._matrix = matrix
        self._status = status
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._holds: dict[RoomId, Hold] = {}
        self._knocks: dict[tuple[RoomId, UserId], float] = {}
        self._asked: dict[tuple[RoomId, str], float] = {}
        self._visibility: dict[RoomId, str] = {}
        self._watching = False

    def held(self) -> int:
        """For how many rooms something is held now."""
        return len(self._holds)

    async def may_show(self, entry: Entry, room: RoomId) -> None:
        """Right before something is shown: raises TransientError to hold it, RejectedError when it never may be."""
        rule = self._rules.get(NetworkId(entry.network))
        if rule is None:
            return
        event: Any = entry.event if entry.event is not None else decode(entry.payload, entry.version)
        if type(event) not in _HELD or event.receiver is not None:
            return
        portal = self._portals.meant(PortalKey(NetworkId(entry.network), event.chat), entry.id)
        if portal is None:
            raise RejectedError("this room is not bridged any more")
        if why := against(portal):
            raise RejectedError(why)
        # A room that was left for another one: what is refused there goes on to the other one.
        for one in dict.fromkeys((room, *(() if room in portal.rooms else portal.rooms))):
            blockers = await self._blockers(portal, one, rule)
            if blockers:
                self._hold(portal, one, blockers)
                raise TransientError(f"held for privacy: {_words(blockers)}")
            await self._release(one)

    async def hides(self, portal: PortalRow, room: RoomId) -> bool:
        """Whether a room may not see what goes on in a chat now."""
        rule = self._rules.get(portal.network) if portal.receiver is None else None
        return rule is not None and bool(await self._blockers(portal, room, rule))

    def visible(self, room: RoomId) -> None:
        """Who may read a room's history has changed. Does not block."""
        self._visibility.pop(room, None)

    async def membership(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: who knocks is brought into the chat, and invited once they are there."""
        room, user = RoomId(event["room_id"]), UserId(event["state_key"])
        self._knocks.pop((room, user), None)
        if event["content"].get("membership") != "knock" or not self._guarded(room):
            return
        if len(self._knocks) < _KNOCKS:
            self._knocks[room, user] = self._clock.monotonic()
            self._watch()

    def _guarded(self, room: RoomId) -> list[PortalRow]:
        return [row for row in self._portals.in_room(room) if row.network in self._rules and row.receiver is None]

    async def _blockers(self, portal: PortalRow, room: RoomId, rule: PrivacyRule) -> Mapping[str, str]:
        """Who or what forbids that something is shown in a room, each with why; empty when nothing does."""
        network = self._networks.get(portal.network)
        if network is None or not isinstance(network.connector, KnowsPresence):
            return {"the network": "it cannot tell who is in its chats"}
        try:
            if (visibility := await self._visible(room)) != "joined":
                return {"this room": f"its history visibility is {visibility}; it has to be joined"}
            users = {user for user in await self._members.of(room) if not rule.exempt.naming(user)}
        except BridgeError as error:
            return {"the homeserver": f"it does not tell who reads along ({error})"}
        if not users:
            return {}
        absent = network.connector.absent(portal.chat, users)
        if absent is None:
            return {"the network": "it is not known who is in the chat"}
        return {str(user): why for user, why in absent.items()}

    async def _visible(self, room: RoomId) -> str:
        found = self._visibility.get(room)
        if found is None:
            content = await self._matrix.state(room, VISIBILITY) or {}
            found = str(content.get("history_visibility", "shared"))
            if len(self._visibility) >= _ROOMS:
                self._visibility.clear()
            self._visibility[room] = found
        return found

    # While something is held

    def _hold(self, portal: PortalRow, room: RoomId, blockers: Mapping[str, str]) -> None:
        now, hold = self._clock.monotonic(), self._holds.get(room)
        if hold is None:
            hold = self._holds[room] = Hold(portal.id, now, blockers, {})
            log.warning("privacy_holds", network=portal.network, chat=portal.chat, room=room, blockers=len(blockers))
        hold.blockers = blockers
        hold.first = {name: hold.first.get(name, now) for name in blockers}
        self._watch()

    async def _release(self, room: RoomId) -> None:
        hold = self._holds.pop(room, None)
        if hold is None:
            return
        log.info("privacy_holds_no_more", room=room)
        self._wake()
        if hold.told:
            with contextlib.suppress(BridgeError):
                await self._status.say(room, "Everybody here is in the chat now: what was held back is shown.")

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            try:
                self._tasks.start(self._look(), "privacy")
            except RuntimeError:  # the bridge stops
                self._watching = False

    async def _look(self) -> None:
        """Brings about, room by room, that nobody is in the way any more, and tells who is."""
        try:
            while self._holds or self._knocks:
                await self._clock.sleep(_EVERY)
                for room in list(self._holds):
                    await self._guarded_pass(self._look_at(room))
                for room, user in list(self._knocks):
                    await self._guarded_pass(self._let_in(room, user))
                now = self._clock.monotonic()
                self._asked = {key: at for key, at in self._asked.items() if at > now - _AGAIN}
        finally:
            self._watching = False

    async def _guarded_pass(self, work: Any) -> None:
        try:
            await work
        except BridgeError as error:
            log.info("privacy_pass_failed", error=str(error))
        except Exception:
            log.exception("privacy_pass_failed_badly")

    async def _look_at(self, room: RoomId) -> None:
        hold = self._holds.get(room)
        portal = self._portals.by_id(hold.portal) if hold is not None else None
        network = self._networks.get(portal.network) if portal is not None else None
        if hold is None or portal is None or network is None or room not in portal.rooms:
            self._holds.pop(room, None)
            return
        rule = self._rules[portal.network]
        blockers = await self._blockers(portal, room, rule)
        if not blockers:
            await self._release(room)
            return
        self._hold(portal, room, blockers)
        now, reasons = self._clock.monotonic(), dict(blockers)
        for name in [name for name in blockers if name.startswith("@")][:20]:
            user = UserId(name)
            if why := await self._bring(network, portal, room, user):
                reasons[name] = why
            if rule.kick_after and now - hold.first[name] > rule.kick_after:
                await self._kick(portal, room, user, reasons[name])
        if now - hold.since > _PATIENCE and frozenset(blockers) != hold.told and now - hold.told_at > _AGAIN:
            hold.told, hold.told_at = frozenset(blockers), now
            await self._status.say(
                room,
                f"What is said in {portal.name or portal.chat} is held back, since {_words(reasons)}. It is shown, in "
                "order, once everybody here is in the chat as well.",
            )

    async def _bring(self, network: Network, portal: PortalRow, room: RoomId, user: UserId) -> str:
        """Let a user's own connection enter the chat; why it cannot, in words, or empty."""
        now = self._clock.monotonic()
        if now - self._asked.get((room, user), -_AGAIN) < _AGAIN:
            return ""
        self._asked[room, user] = now
        try:
            if await network.login_for(await self._members.sender(room, user)) is None:
                return "they have no connection of their own to that network"
            client = network.client_of(user, portal)
            if isinstance(client, Puppets):
                await client.prepare(portal.chat)
        except RejectedError as error:
            return str(error)
        return ""

    async def _kick(self, portal: PortalRow, room: RoomId, user: UserId, reason: str) -> None:
        try:
            await self._matrix.kick(room, user, f"you are not in {portal.name or portal.chat}: {reason}"[:500])
            log.warning("privacy_kicked", network=portal.network, chat=portal.chat, room=room, user=user)
        except MatrixRejectedError as error:
            log.info("privacy_kick_refused", room=room, user=user, error=str(error))

    async def _let_in(self, room: RoomId, user: UserId) -> None:
        """Invite somebody who knocked, once they are in every guarded chat of the room."""
        rows = self._guarded(room)
        waited = self._clock.monotonic() - self._knocks.get((room, user), 0.0)
        inside = bool(rows)
        for portal in rows:
            network = self._networks.get(portal.network)
            if network is None or not isinstance(network.connector, KnowsPresence):
                inside = False
                continue
            if network.connector.absent(portal.chat, (user,)) != {}:
                inside = False
                await self._bring(network, portal, room, user)
        if inside:
            await self._matrix.invite(room, user)
        if inside or not rows or waited > _KNOCK_PATIENCE:
            self._knocks.pop((room, user), None)


def _words(blockers: Mapping[str, str]) -> str:
    """Who is in the way, and why, for people."""
    shown = [f"{name} is in the way ({why})" for name, why in list(blockers.items())[:_NAMED]]
    more = len(blockers) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
