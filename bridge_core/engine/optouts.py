"""People who do not want to be bridged: Matrix users by command, people of the networks as these tell."""

from collections.abc import Awaitable, Callable
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.optional import OpensDirectChats
from bridge_core.engine.gate import Check
from bridge_core.engine.networks import Networks
from bridge_core.engine.store_ports import KeyValues, PortalRow

log = structlog.get_logger(__name__)

USERS: Final = "optouts"
PEOPLE: Final = "optouts.remote"
ALL: Final = NetworkId("*")
"""Stands for all networks, also those that come later."""


class OptOuts(Check):
    """Nothing of those who opted out crosses, and nobody reaches them over the bridge.

    `leave` disconnects a user's provided login on a network.
    """

    def __init__(
        self, kv: KeyValues, networks: Networks, leave: Callable[[NetworkId, UserId], Awaitable[None]]
    ) -> None:
        self._kv = kv
        self._networks = networks
        self._leave = leave
        self._users: dict[UserId, frozenset[NetworkId]] = {}
        self._people: dict[tuple[NetworkId, RemoteUserId], int] = {}
        """Who of the networks opted out, each with the journal's entry that said so."""
        self._chats: set[tuple[NetworkId, ChatId]] = set()
        """The private chats of people who opted out."""

    async def load(self) -> None:
        """Read who opted out, before anything crosses."""
        for user, value in (await self._kv.items(USERS, "")).items():
            self._users[UserId(user)] = frozenset(NetworkId(name) for name in orjson.loads(value))
        for key, entry in (await self._kv.items(PEOPLE, "")).items():
            network, _, remote = key.partition("\x1f")
            self._put(NetworkId(network), RemoteUserId(remote), int(entry))

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`. Who opted out is told once per room, not at each message."""
        if self._users and self.is_out(sender.id, portal.network):
            raise UnsupportedError("you opted out of being bridged; say !bridge opt-in to take part again")
        if self._chats and (portal.network, portal.chat) in self._chats:
            raise RejectedError("the other side does not want to be bridged")

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        if sender is not None and self._people and (portal.network, sender.id) in self._people:
            raise RejectedError("its sender does not want to be bridged")

    def new_chat(self, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_chat`: a room, and the invitation to it, would already tell that they wrote."""
        if self._chats and (network, chat) in self._chats:
            raise RejectedError("the other side does not want to be bridged")

    def new_portal(self, user: UserId, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_portal`."""
        if self.is_out(user, network):
            raise RejectedError("you opted out of being bridged; say opt-in first")

    def is_out(self, user: UserId, network: NetworkId) -> bool:
        """Whether a Matrix user opted out of a network. Does not block."""
        networks = self._users.get(user)
        return networks is not None and (ALL in networks or network in networks)

    def of(self, user: UserId) -> frozenset[NetworkId]:
        """The networks that a user opted out of; `*` for all."""
        return self._users.get(user, frozenset())

    async def opt_out(self, user: UserId, network: NetworkId = ALL) -> None:
        """Bridge nothing of a user any more. Returns when it is stored and their provided logins are gone."""
        networks = self.of(user) | {network}
        await self._save(user, frozenset({ALL}) if ALL in networks else networks)
        for one in self._networks:
            if self.is_out(user, one.id):
                await self._leave(one.id, user)
        log.info("user_opted_out", user=user, network=network)

    async def opt_in(self, user: UserId, network: NetworkId = ALL) -> None:
        """Bridge them again, on one network or on all. Returns when it is stored."""
        networks = self.of(user)
        if network != ALL and ALL in networks:
            networks = frozenset(one.id for one in self._networks)
        await self._save(user, frozenset() if network == ALL else networks - {network})
        log.info("user_opted_in", user=user, network=network)

    async def person(self, network: NetworkId, remote: RemoteUserId, *, out: bool, entry: int) -> None:
        """A person of a network does not, or does again, want to be bridged. Idempotent; returns when stored.

        `entry` of the journal says so: what was said before a refusal does not lift it, however late it is handled.
        """
        known = self._people.get((network, remote), 0)
        if known > entry:
            return
        if out:
            self._put(network, remote, entry)  # in force at once
        await self._kv.put(PEOPLE, f"{network}\x1f{remote}", str(entry).encode() if out else None)
        if not out and self._people.get((network, remote), 0) == known:
            self._put(network, remote, None)

    def private_chat(self, network: NetworkId, remote: RemoteUserId) -> ChatId | None:
        """The chat in which a login talks to a person; None where the network has none."""
        found = self._networks.get(network)
        if found is None or not isinstance(found.connector, OpensDirectChats):
            return None
        return found.connector.direct_chat(remote)

    def _put(self, network: NetworkId, remote: RemoteUserId, entry: int | None) -> None:
        chat = self.private_chat(network, remote)
        if entry is not None:
            self._people[network, remote] = entry
            if chat is not None:
                self._chats.add((network, chat))
        else:
            self._people.pop((network, remote), None)
            if chat is not None:
                self._chats.discard((network, chat))

    async def _save(self, user: UserId, networks: frozenset[NetworkId]) -> None:
        if networks:
            self._users[user] = networks  # in force at once
        await self._kv.put(USERS, user, orjson.dumps(sorted(networks)) if networks else None)
        if not networks:
            self._users.pop(user, None)
