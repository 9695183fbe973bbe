"""The configured networks as they run: connector, clients, logins, and who speaks for whom."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, cast

import structlog

from bridge_core.api.errors import NotConnectedError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import UserInfo
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Client, Connector, Grant, Inbox, Login, LoginState, LoginStatus, NetworkMeta
from bridge_core.api.optional import ProvidesLogins, Puppets
from bridge_core.engine.clients import Clients, LoggedIn
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.store_ports import PortalRow, UserRow, Users

log = structlog.get_logger(__name__)


PREFERRED: Final = "preferred"
"""Key of a user's options: their preferred login by network."""
RELAY: Final = "relay"
"""Option of a portal: whether the relay speaks there, where it is not as the network's configuration says."""
_CLOSING: Final = 10.0
"""Seconds that a client gets to close."""
_ENDED: Final = frozenset({LoginStatus.BAD_CREDENTIALS, LoginStatus.LOGGED_OUT, LoginStatus.BANNED})
"""States that do not pass by themselves."""

InboxOf = Callable[[LoginId | None], Inbox]
"""The inbox of a login's client, or (None) of the network-wide one: each has its own cursor."""


class Unknown(StrEnum):
    """What is done with a message whose fate is unknown and cannot be found out."""

    REPORT = "report"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What the core itself reads of a network's configuration."""

    name: str | None = None
    """What the network is called; None for what its connector calls it."""
    relay: bool = True
    relay_reactions: bool = False
    relay_polls: bool = False
    unknown: Unknown = Unknown.REPORT
    eager: bool = False
    """Whether everybody of a chat is in its rooms, and not only who speaks."""
    leave_grace: float = 0.0
    """Seconds that a ghost stays in a room when its person has left the chat."""
    follow_removals: bool = False
    """Whether who is thrown out of a chat on the network is thrown out of its rooms too."""
    power_cap: int = 50
    """Highest power level that people of the network get in rooms."""
    provided_for: frozenset[str] = frozenset()
    """Users (`@user:server`), servers, or `*`, who get a provided login."""
    double_bridges: bool = False
    """Whether rooms may be bridged where another bridge to the same kind of network is."""
    max_age: float = 0.0
    """Seconds after which a message that still waits is not handed over any more; 0: that it is old does not matter."""
    eager_in: Mapping[ChatId, bool] = field(default_factory=dict)
    """The chats for which `eager` is otherwise."""
    copy_between_rooms: bool = True
    """Whether what is said in one room of a chat is copied to its other rooms."""
    opens_files: bool = False
    """Whether files of encrypted rooms are handed out by links."""
    grants: frozenset[Grant] = frozenset()
    """What those who run the network have allowed."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The client that speaks for a sender. `relayed`: it speaks for many, so the text must name the sender."""

    client: Client
    relayed: bool
    login: LoginId | None = None


class Network:
    """One configured network."""

    def __init__(
        self,
        network: NetworkId,
        connector: Connector,
        options: NetworkOptions,
        permissions: Permissions,
        users: Users,
    ) -> None:
        self.id = network
        self.connector = connector
        self.options = options
        self._permissions = permissions
        self._users = users
        self._inbox: InboxOf | None = None
        # Asked once: whether an object has the members of a Protocol costs more than handing a message over.
        self._can_provide = isinstance(connector, ProvidesLogins)
        self._are_puppets: dict[type[Client], bool] = {}
        self._clients = Clients()
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._changing = asyncio.Lock()
        """Held while a login comes or goes: of two users who log in to one account at once, one gets it."""
        self._bars: Callable[[UserId], bool] = lambda user: False
        self.main: Client | None = None
        self.states: dict[LoginId | None, LoginState] = {}

    @property
    def meta(self) -> NetworkMeta:
        """The connector's, under the configured name."""
        meta = self.connector.meta
        return meta if self.options.name is None else replace(meta, name=self.options.name)

    @property
    def up(self) -> bool:
        """Whether the network-wide client says that it is connected."""
        state = self.states.get(None)
        return state is not None and state.status is LoginStatus.CONNECTED

    def bar(self, bars: Callable[[UserId], bool]) -> None:
        """Ask this whether a user may have no connection there, whatever they are allowed here. Must not block."""
        self._bars = bars

    def granted(self, grant: Grant) -> bool:
        """Whether something may be done there: those who run the network allow it, or need not be asked."""
        return grant in self.options.grants or grant not in self.connector.meta.withheld

    async def start(self, inbox: InboxOf) -> None:
        """Make the clients, each with an inbox of its own; none is connected yet."""
        self._inbox = inbox
        self.main = self.connector.client(None, inbox(None))
        for login in await self._users.logins(self.id):
            self._clients.add(LoggedIn(login, self.connector.client(login, inbox(login.id))))
        for user in {one.login.user for one in self._clients if len(self._clients.of(one.login.user)) > 1}:
            row = await self._users.get(user)
            preferred = row.options.get(PREFERRED, {}).get(self.id) if row is not None else None
            if preferred is not None:
                self._clients.prefer(user, preferred)

    async def connect(self, cursor: Callable[[LoginId | None], Awaitable[bytes | None]]) -> None:
        """Connect the network-wide client and those of logins, each from its own cursor.

        Clients of provided logins connect when they first speak.
        """
        if self.main is not None:
            await self.main.connect(await cursor(None))
        for one in self._clients:
            if not one.login.provided and self.granted(Grant.PUPPETS) and not self._bars(one.login.user):
                await one.client.connect(await cursor(one.login.id))

    async def disconnect(self) -> None:
        """Close all clients."""
        clients = [one.client for one in self._clients]
        if self.main is not None:
            clients.append(self.main)
        for result in await asyncio.gather(*(client.disconnect() for client in clients), return_exceptions=True):
            if isinstance(result, BaseException):
                log.warning("disconnect_failed", network=self.id, error=repr(result))

    def login_of(self, login: LoginId) -> Login | None:
        """The login with this id."""
        found = self._clients.get(login)
        return found.login if found is not None else None

    def client_of(self, user: UserId, portal: PortalRow | None = None) -> Client | None:
        """The client of the user's login that speaks in a portal, if there is one."""
        found = self._chosen(user, portal)
        return found.client if found is not None else None

    def login_in(self, user: UserId, portal: PortalRow | None = None) -> LoginId | None:
        """The user's login that speaks in a portal, or their preferred one, if there is one."""
        found = self._chosen(user, portal)
        return found.login.id if found is not None else None

    def client_with(self, login: LoginId) -> Client | None:
        """The client of a login."""
        found = self._clients.get(login)
        return found.client if found is not None else None

    def logins(self, user: UserId | None = None) -> list[Login]:
        """All logins, or those of one user: the preferred one first."""
        return [one.login for one in (self._clients if user is None else self._clients.of(user))]

    def _chosen(self, user: UserId, portal: PortalRow | None) -> LoggedIn | None:
        """A private chat belongs to one login; elsewhere the preferred one speaks."""
        if portal is None or portal.receiver is None:
            return self._clients.first(user)
        found = self._clients.get(portal.receiver)
        return found if found is not None and found.login.user == user else None

    async def speaker(self, sender: MatrixSender, portal: PortalRow) -> Speaker:
        """Who speaks for a sender in a chat.

        Raises RejectedError in words for the sender, NotConnectedError when the only one who may speak is not ready.
        """
        level = self._permissions.of(sender.id)
        if level is Permission.BLOCKED:
            raise RejectedError("you are not allowed to use this bridge")
        found = await self._own(sender, level, portal)
        if portal.receiver is not None and found is None:
            raise RejectedError("this private chat belongs to another user, or to a login that is no more")
        ended = self._ended(found) if found is not None else ""
        if found is not None and ended and (portal.receiver is not None or self._banned(found)):
            raise RejectedError(ended)  # the relay does not speak for whom the network does not want
        if found is not None and not ended:
            puppet = self._puppet(found.client)
            if puppet is None or puppet.ready(portal.chat):
                return Speaker(found.client, False, found.login.id)
            await puppet.prepare(portal.chat)
            if portal.receiver is not None:
                raise NotConnectedError("your connection is not ready yet")
        if self.main is None or not self.relays(portal):
            if ended:
                raise RejectedError(ended)
            if found is not None:
                raise NotConnectedError("your connection is not ready yet")
            raise RejectedError("you need a login on this network, and there is no relay")
        return Speaker(self.main, True)

    def relays(self, portal: PortalRow) -> bool:
        """Whether the relay speaks in a chat for those who have no login of their own."""
        return bool(portal.options.get(RELAY, self.options.relay))

    def _ended(self, one: LoggedIn) -> str:
        """Why a login does not work until its user does something about it, in words for them; empty when it may."""
        state = self.states.get(one.login.id)
        if one.login.provided or state is None or state.status not in _ENDED:
            return ""
        reason = f" ({state.reason})" if state.reason else ""
        return f"your login {one.login.name} does not work any more{reason}: log in again, or log it out"

    def _banned(self, one: LoggedIn) -> bool:
        """Whether the network does not want a login's user."""
        state = self.states.get(one.login.id)
        return state is not None and state.status is LoginStatus.BANNED

    def _puppet(self, client: Client) -> Puppets | None:
        kind = type(client)
        if kind not in self._are_puppets:
            self._are_puppets[kind] = isinstance(client, Puppets)
        return cast(Puppets, client) if self._are_puppets[kind] else None

    def _provides(self, user: UserId) -> bool:
        allowed = self.options.provided_for
        return self._can_provide and ("*" in allowed or user in allowed or user.partition(":")[2] in allowed)

    async def login_for(self, sender: MatrixSender) -> Login | None:
        """The sender's login, provided now when the network does that and the sender may have one."""
        found = await self._own(sender, self._permissions.of(sender.id), None)
        return found.login if found is not None else None

    async def _own(self, sender: MatrixSender, level: Permission, portal: PortalRow | None) -> LoggedIn | None:
        """The sender's own login and client, as long as they may have one: rules may have changed since it was made."""
        if level < Permission.USER or not self.granted(Grant.PUPPETS) or self._bars(sender.id):
            return None
        found = self._chosen(sender.id, portal)
        if found is None and portal is not None and portal.receiver is not None:
            return None
        if (found is None or found.login.provided) and not self._provides(sender.id):
            return None
        return found if found is not None else await self._provide(sender)

    async def _provide(self, sender: MatrixSender) -> LoggedIn | None:
        lock = self._locks.setdefault(sender.id, asyncio.Lock())
        async with lock:
            found = self._clients.first(sender.id)
            if found is not None or not isinstance(self.connector, ProvidesLogins) or self._inbox is None:
                return found
            login = await self.connector.provide(sender.id, sender.name)
            if login is None:
                self._locks.pop(sender.id, None)
                return None
            await self._users.save_login(self.id, login)
            found = LoggedIn(login, self.connector.client(login, self._inbox(login.id)))
            self._clients.add(found)
            log.info("login_provided", network=self.id, user=sender.id, login=login.id)
        self._locks.pop(sender.id, None)
        return found

    async def add(self, login: Login, cursor: bytes | None = None) -> None:
        """Take in a login that a user made, and connect it; one with its id before gives its place.

        Raises RejectedError when the account is another user's login.
        """
        if self._inbox is None:
            raise NotConnectedError(f"{self.id} is not running")
        async with self._changing:
            before = self._clients.get(login.id)
            if before is not None and before.login.user != login.user:
                raise RejectedError("that account is another user's login here: they must log out first")
            await self._users.save_login(self.id, login)
            if before is not None:
                await _closed(self.id, before.client)
            self.states.pop(login.id, None)
            client = self.connector.client(login, self._inbox(login.id))
            self._clients.add(LoggedIn(login, client))
            log.info("login_added", network=self.id, user=login.user, login=login.id, again=before is not None)
        await client.connect(cursor)

    async def remove(self, login: LoginId) -> Client | None:
        """Forget a login and close its client, which is returned; None when there is none. Idempotent."""
        async with self._changing:
            await self._users.delete_login(self.id, login)
            gone = self._clients.remove(login)
            self.states.pop(login, None)
        if gone is None:
            return None
        await _closed(self.id, gone.client)
        log.info("login_removed", network=self.id, user=gone.login.user, login=login)
        return gone.client

    async def prefer(self, user: UserId, login: LoginId) -> None:
        """Let this login speak for its user wherever nothing else decides. Raises RejectedError when it is not theirs.

        It is stored with the user, and holds for what is sent from now on.
        """
        if not self._clients.prefer(user, login):
            raise RejectedError(f"you have no login {login} on {self.id}")

        def chosen(row: UserRow) -> UserRow:
            preferred = {**row.options.get(PREFERRED, {}), self.id: login}
            return replace(row, options={**row.options, PREFERRED: preferred})

        await self._users.change(user, chosen)


async def _closed(network: NetworkId, client: Client) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await client.disconnect()
    except Exception as error:  # an adapter's: the login ends all the same
        log.warning("disconnect_failed", network=network, error=repr(error))


class Networks:
    """All networks by name."""

    def __init__(self, networks: dict[NetworkId, Network]) -> None:
        self._networks = networks

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks.values())

    def get(self, network: NetworkId) -> Network | None:
        """The network of this name."""
        return self._networks.get(network)

    def opens_files(self, network: NetworkId) -> bool:
        """Whether files of encrypted rooms are handed out by links there. Does not block."""
        found = self._networks.get(network)
        return found is not None and found.options.opens_files

    def opening_files(self) -> tuple[NetworkId, ...]:
        """The networks where they are. Does not block."""
        return tuple(network.id for network in self if network.options.opens_files)

    async def person(self, network: NetworkId, remote: RemoteUserId) -> UserInfo | None:
        """What a network knows of a person. Raises TransientError or RateLimitedError when it cannot tell now."""
        found = self._networks.get(network)
        if found is None or found.main is None:
            return None
        try:
            return await found.main.user_info(remote)
        except (TransientError, RateLimitedError):
            raise
        except Exception as error:
            log.warning("person_not_described", network=network, person=remote, error=str(error) or repr(error))
            return None

    def known(self, network: NetworkId) -> NetworkId:
        """The network's name again. Raises RejectedError in words for whoever named one that there is not."""
        if network not in self._networks:
            raise RejectedError(f"there is no network {network}; there are: {', '.join(sorted(self._networks))}")
        return network

    def chat(self, network: NetworkId, text: str) -> ChatId:
        """The chat named by `text`. Raises RejectedError in words for whoever named it."""
        connector = self._networks[self.known(network)].connector
        try:
            return connector.chat(text)
        except ValueError as error:
            raise RejectedError(str(error)) from error
