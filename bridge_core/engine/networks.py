"""The configured networks as they run: connector, clients, logins, and who speaks for whom."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import structlog

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.ids import ChatId, LoginId, NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Client, Connector, Inbox, Login, LoginState, LoginStatus, NetworkMeta
from bridge_core.api.optional import ProvidesLogins, Puppets
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.store_ports import PortalRow, Users

log = structlog.get_logger(__name__)


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
    unknown: Unknown = Unknown.REPORT
    provided_for: frozenset[str] = frozenset()
    """Users (`@user:server`), servers, or `*`, who get a provided login."""


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
        self._clients: dict[UserId, tuple[Login, Client]] = {}
        self._locks: dict[UserId, asyncio.Lock] = {}
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

    async def start(self, inbox: InboxOf) -> None:
        """Make the clients, each with an inbox of its own; none is connected yet."""
        self._inbox = inbox
        self.main = self.connector.client(None, inbox(None))
        for login in await self._users.logins(self.id):
            self._clients[login.user] = (login, self.connector.client(login, inbox(login.id)))

    async def connect(self, cursor: Callable[[LoginId | None], Awaitable[bytes | None]]) -> None:
        """Connect the network-wide client and those of logins, each from its own cursor.

        Clients of provided logins connect when they first speak.
        """
        if self.main is not None:
            await self.main.connect(await cursor(None))
        for login, client in self._clients.values():
            if not login.provided:
                await client.connect(await cursor(login.id))

    async def disconnect(self) -> None:
        """Close all clients."""
        clients = [client for _, client in self._clients.values()]
        if self.main is not None:
            clients.append(self.main)
        for result in await asyncio.gather(*(client.disconnect() for client in clients), return_exceptions=True):
            if isinstance(result, BaseException):
                log.warning("disconnect_failed", network=self.id, error=repr(result))

    def login_of(self, login: LoginId) -> Login | None:
        """The login with this id."""
        for known, _ in self._clients.values():
            if known.id == login:
                return known
        return None

    def client_of(self, user: UserId) -> Client | None:
        """The client of a user's login, if there is one."""
        found = self._clients.get(user)
        return found[1] if found is not None else None

    def logins(self) -> list[Login]:
        """All logins."""
        return [login for login, _ in self._clients.values()]

    async def speaker(self, sender: MatrixSender, portal: PortalRow) -> Speaker:
        """Who speaks for a sender in a chat.

        Raises RejectedError in words for the sender, NotConnectedError when the only one who may speak is not ready.
        """
        level = self._permissions.of(sender.id)
        if level is Permission.BLOCKED:
            raise RejectedError("you are not allowed to use this bridge")
        found = await self._own(sender, level)
        if portal.receiver is not None and (found is None or found[0].id != portal.receiver):
            raise RejectedError("this private chat belongs to another user")
        if found is not None:
            login, client = found
            puppet = self._puppet(client)
            if puppet is None or puppet.ready(portal.chat):
                return Speaker(client, False, login.id)
            await puppet.prepare(portal.chat)
            if portal.receiver is not None:
                raise NotConnectedError("your connection is not ready yet")
        if not self.options.relay or self.main is None:
            if found is not None:
                raise NotConnectedError("your connection is not ready yet")
            raise RejectedError("you need a login on this network, and there is no relay")
        return Speaker(self.main, True)

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
        found = await self._own(sender, self._permissions.of(sender.id))
        return found[0] if found is not None else None

    async def _own(self, sender: MatrixSender, level: Permission) -> tuple[Login, Client] | None:
        """The sender's own login and client, as long as they may have one: rules may have changed since it was made."""
        if level < Permission.USER:
            return None
        found = self._clients.get(sender.id)
        if (found is None or found[0].provided) and not self._provides(sender.id):
            return None
        return found if found is not None else await self._provide(sender)

    async def _provide(self, sender: MatrixSender) -> tuple[Login, Client] | None:
        lock = self._locks.setdefault(sender.id, asyncio.Lock())
        async with lock:
            found = self._clients.get(sender.id)
            if found is not None or not isinstance(self.connector, ProvidesLogins) or self._inbox is None:
                return found
            login = await self.connector.provide(sender.id, sender.name)
            if login is None:
                self._locks.pop(sender.id, None)
                return None
            await self._users.save_login(self.id, login)
            found = self._clients[sender.id] = (login, self.connector.client(login, self._inbox(login.id)))
            log.info("login_provided", network=self.id, user=sender.id, login=login.id)
        self._locks.pop(sender.id, None)
        return found


class Networks:
    """All networks by name."""

    def __init__(self, networks: dict[NetworkId, Network]) -> None:
        self._networks = networks

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks.values())

    def get(self, network: NetworkId) -> Network | None:
        """The network of this name."""
        return self._networks.get(network)

    def chat(self, network: NetworkId, text: str) -> ChatId:
        """The chat named by `text`. Raises RejectedError in words for whoever named it."""
        found = self._networks.get(network)
        if found is None:
            raise RejectedError(f"there is no network {network}; there are: {', '.join(sorted(self._networks))}")
        try:
            return found.connector.chat(text)
        except ValueError as error:
            raise RejectedError(str(error)) from error
