"""Double puppeting: what a user did on a network from elsewhere appears as done by their own Matrix account.

What is sent so carries a mark, a keyed hash of sender, room and transaction id, by which it is known when the
homeserver hands it back: nobody can make one, and a copy of it (a message forwarded with all its content) is no echo.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteEvent, RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.matrix_ports import MatrixSide, PuppetGoneError
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.ports import Write
from bridge_core.engine.requests import ID_KEY, Prepared
from bridge_core.engine.store_ports import KeyValues, PortalRow, Users

log = structlog.get_logger(__name__)

PUPPET_KEY: Final = "dev.matrix_bridge.double_puppet"
"""Content key of the mark on what the bridge sent as a Matrix user."""
NAMESPACE: Final = "double_puppet"
"""Key-value namespace of the users' own tokens, sealed."""
ECHOES: Final = "double_puppet_echo"
"""Key-value namespace of the marks that came back, with the event that each belongs to: see `came_back_at`."""
OPTION: Final = "double_puppet"
"""Option of a user: False when the bridge must not act as them."""
_AT: Final = 8
_CAME_BACK: Final = 1_000
_MOVES: Final = 9
"""Comings and goings of one user in one room that are remembered beside the latest."""
_REFUSED: Final = 600_000
"""Milliseconds before the homeserver is asked again whether a configured token may act as somebody."""


class DoublePuppets:
    """As whom the bridge may act, and what came of it. Lookups are from memory."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        permissions: Permissions,
        members: Members,
        matrix: MatrixSide,
        kv: KeyValues,
        users: Users,
        say: Callable[[RoomId, str], Awaitable[None]],
        clock: Clock,
        manual: bool = True,
    ) -> None:
        self._names = names
        self._networks = networks
        self._permissions = permissions
        self._members = members
        self._matrix = matrix
        self._kv = kv
        self._users = users
        self._say = say
        self._clock = clock
        self._manual = manual
        self._working: dict[UserId, bool] = {}
        """Whom the bridge can act as now, and whether that is by a token of their own."""
        self._forbidden: set[UserId] = set()
        """Who said no since the start: what is being asked about them meanwhile counts no more."""
        self._not_before: dict[UserId, int] = {}
        self._moved: OrderedDict[tuple[RoomId, UserId], tuple[str, ...]] = OrderedDict()
        """What the bridge did as users and has not seen come back."""
        self._came_back: OrderedDict[str, bytes] = OrderedDict()
        """The latest marks: what is written of them is there only once it is committed."""

    async def load(self) -> None:
        """Take up the users' own tokens, once, at start. None is tried before it is needed."""
        if not self._manual:
            return
        for user, token in (await self._kv.items(NAMESPACE, "")).items():
            if await self._forbade(UserId(user)):
                await self._kv.put(NAMESPACE, user, None)  # the bridge was stopped while they said so
                continue
            try:
                self._matrix.add_puppet(UserId(user), token.decode())
            except RejectedError as error:
                log.warning("double_puppet_not_loaded", user=user, error=str(error))
            else:
                self._working[UserId(user)] = True

    def works(self, user: UserId) -> bool:
        """Whether the bridge can act as a user now."""
        return user in self._working

    async def log_in(self, user: UserId, token: str) -> None:
        """Act as a user by their own access token. Raises RejectedError in words for them."""
        if not self._manual:
            raise RejectedError("the admin does not let users give their tokens to this bridge")
        if not token.isascii() or not token.isprintable() or not 0 < len(token) <= 4096:
            raise RejectedError("that is no access token")
        await self._matrix.verify_puppet(user, token)
        await self._kv.put(NAMESPACE, user, token.encode())
        await self._choose(user, True)
        self._forbidden.discard(user)
        self._matrix.add_puppet(user, token)
        self._working[user] = True
        log.info("double_puppet_on", user=user)

    async def log_out(self, user: UserId) -> None:
        """Act as a user no more, until they ask for it; their token is forgotten."""
        self._end(user)
        await self._choose(user, False)
        await self._kv.put(NAMESPACE, user, None)
        self._end(user)  # a login that was under way may have come in between

    def _end(self, user: UserId) -> None:
        self._forbidden.add(user)
        self._matrix.remove_puppet(user)
        self._working.pop(user, None)

    async def allow(self, user: UserId) -> bool:
        """Act as a user by the configured token, if there is one for their server; whether that works."""
        await self._choose(user, True)
        self._forbidden.discard(user)
        self._not_before.pop(user, None)
        return user in self._working or await self._by_server(user)

    async def _choose(self, user: UserId, wanted: bool) -> None:
        await self._users.change(user, lambda row: replace(row, options={**row.options, OPTION: wanted}))

    async def of(self, portal: PortalRow, sender: RemoteSender) -> UserId | None:
        """The Matrix user as whom something is to be shown in a portal's rooms; None for the ghost.

        A user is not brought into rooms that they are not in, but for those of private chats of their own login.
        """
        network = self._networks.get(portal.network)
        login = network.login_of(sender.login) if network is not None and sender.login is not None else None
        if login is None or not await self.can(login.user):
            return None
        user = login.user
        for room in portal.rooms:
            if user not in await self._members.of(room) and not await self._enter(portal, room, user, login.id):
                return None
        return user

    async def can(self, user: UserId) -> bool:
        """Whether the bridge may act as a user and can, asked of their homeserver where it is not known yet."""
        if self._permissions.of(user) < Permission.USER:
            return False
        return user in self._working or await self._by_server(user)

    def did(self, room: RoomId, user: UserId, membership: str) -> None:
        """The bridge is about to join or leave a room as a user. Does not block."""
        self._moved[room, user] = (*self._moved.get((room, user), ())[-_MOVES:], membership)
        self._moved.move_to_end((room, user))
        if len(self._moved) > _CAME_BACK:
            self._moved.popitem(last=False)

    def done(self, room: RoomId, user: UserId, membership: str) -> bool:
        """Whether a membership is the bridge's own doing, so that no network is told of it. Asked once. Does not block.

        After a restart it is not known: the network is told what it knows already.
        """
        moved = self._moved.pop((room, user), ())
        if membership not in moved:
            return False  # somebody else's, after which what the bridge did says nothing of how it is now
        if rest := moved[moved.index(membership) + 1 :]:
            self._moved[room, user] = rest
        return True

    def undid(self, room: RoomId, user: UserId) -> None:
        """What `did` announced last was not done. Does not block."""
        if rest := self._moved.pop((room, user), ())[:-1]:
            self._moved[room, user] = rest

    async def inside(self, room: RoomId, user: UserId) -> bool:
        """Whether a user is in a room, also while the event of what the bridge did there as them is on its way.

        Raises as `Members.of`.
        """
        moved = self._moved.get((room, user))
        return moved[-1] == "join" if moved else user in await self._members.of(room)

    async def _by_server(self, user: UserId) -> bool:
        """Whether the token configured for the user's server can act as them, and they have not forbidden it."""
        now = self._clock.now_ms()
        if not self._matrix.may_puppet(user) or self._not_before.get(user, 0) > now:
            return False
        if await self._forbade(user):
            self._wait(user, now)
            return False
        try:
            await self._matrix.verify_puppet(user, None)
            if user in self._forbidden:
                return False  # said while it was asked
            self._matrix.add_puppet(user, None)
        except RejectedError as error:
            log.warning("double_puppet_refused", user=user, error=str(error))
            self._wait(user, now)
            return False
        self._working[user] = False
        return True

    async def _forbade(self, user: UserId) -> bool:
        if user in self._forbidden:
            return True
        row = await self._users.get(user)
        return row is not None and row.options.get(OPTION) is False

    def _wait(self, user: UserId, now: int) -> None:
        if len(self._not_before) > 10_000:
            self._not_before.clear()
        self._not_before[user] = now + _REFUSED

    async def _enter(self, portal: PortalRow, room: RoomId, user: UserId, login: str) -> bool:
        if portal.receiver != login:
            return False
        try:
            await self._matrix.invite(room, user)
            await self._matrix.join(room, user)
        except RejectedError as error:
            log.info("double_puppet_not_in_room", user=user, room=room, error=str(error))
            return False
        return True

    def marked(self, prepared: list[Prepared], event: RemoteEvent) -> list[Prepared]:
        """The requests with a mark on those that a Matrix user is to send, and whose ghost stands in if they cannot."""
        sender: RemoteSender | None = getattr(event, "sender", None)
        if sender is None or sender.login is None:
            return prepared
        return [self._marked(one, sender) for one in prepared]

    def as_user(self, prepared: Prepared, sender: MatrixSender) -> Prepared:
        """A copy that a Matrix user is to send of what they said in another room, with the mark of the bridge."""
        return replace(self._marked(prepared, RemoteSender(RemoteUserId(sender.id), sender.name)), copied=True)

    def _marked(self, prepared: Prepared, sender: RemoteSender) -> Prepared:
        request = prepared.request
        if prepared.refused or prepared.act or self._names.is_ours(request.sender):
            return prepared
        content = orjson.loads(request.body)
        content[PUPPET_KEY] = self._mark(request.sender, request.room, request.txn)
        return replace(
            prepared, request=replace(request, body=orjson.dumps(content)), instead=sender.id, instead_name=sender.name
        )

    def _mark(self, user: str, room: str, txn: str) -> str:
        return self._names.send_id("double puppet", user, room, txn)

    async def echo(self, event: Mapping[str, Any]) -> Write | None:
        """What to remember of an event that the bridge sent as its sender; None when it is no such echo.

        The first event with a mark is the echo, also when it comes again; later ones with the same mark are copies.
        """
        content = event["content"]
        mark, txn = content.get(PUPPET_KEY), content.get(ID_KEY)
        if not isinstance(mark, str) or not isinstance(txn, str):
            return None
        if mark != self._mark(event["sender"], event["room_id"], txn):
            return None
        this = event["event_id"].encode("utf-8", "replace")
        known = self._came_back.get(mark)
        if known is None and (stored := await self._kv.get(ECHOES, mark)) is not None:
            known = stored[_AT:]
        if known is not None and known != this:
            return None
        self._came_back[mark] = this
        if len(self._came_back) > _CAME_BACK:
            self._came_back.popitem(last=False)
        return self._kv.write(ECHOES, mark, self._clock.now_ms().to_bytes(_AT, "big") + this)

    async def gone(self, user: UserId, error: PuppetGoneError) -> None:
        """The bridge cannot act as a user any more: it stops trying, and tells them when it was by their own token."""
        own = self._working.pop(user, None)
        self._matrix.remove_puppet(user)
        self._wait(user, self._clock.now_ms())
        if own is None:
            return
        log.warning("double_puppet_gone", user=user, error=str(error))
        if not own:
            return
        try:
            await self._kv.put(NAMESPACE, user, None)
            row = await self._users.get(user)
            if row is not None and row.management_room is not None:
                text = (
                    "I cannot act as you any more: your homeserver does not accept the access token that you gave me. "
                    "What you do elsewhere on networks appears under a ghost's name. Say login-matrix to change that."
                )
                await self._say(row.management_room, text)
        except BridgeError as failure:
            log.warning("double_puppet_end_not_told", user=user, error=str(failure))


def came_back_at(value: bytes) -> int:
    """When an echo came back, in milliseconds."""
    return int.from_bytes(value[:_AT], "big")
