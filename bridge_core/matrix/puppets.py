"""Acting as Matrix users who are not ours: by a token of their own, or by an appservice's that may masquerade as them.

The second appservice has a namespace that is not exclusive and no url (Application Service API, "Identity assertion").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, PuppetGoneError
from bridge_core.matrix.addresses import Addresses
from bridge_core.matrix.failures import HomeserverFailedError
from bridge_core.matrix.requests import Requests

__all__ = ["PuppetServer", "Puppets", "Way"]

_GONE = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_UNAUTHORIZED"})
_NOT_HIM = frozenset({"M_FORBIDDEN", "M_EXCLUSIVE", "M_UNKNOWN_TOKEN", "M_USER_DEACTIVATED"})


@dataclass(frozen=True, slots=True)
class PuppetServer:
    """A homeserver where the bridge may act as users. `as_token` None: only by tokens of their own."""

    address: str
    as_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Way:
    """How requests are made as one user. `user` is named in them when the token may act as several."""

    addresses: Addresses
    token: str = field(repr=False)
    user: str | None


class Puppets:
    """The users whom the bridge may act as now. Looked up for each request, so it costs one look into a dict."""

    def __init__(self, requests: Requests, servers: Mapping[str, PuppetServer]) -> None:
        self._requests = requests
        self._servers = dict(servers)
        self._addresses = {name: Addresses(server.address) for name, server in servers.items()}
        self._ways: dict[str, Way] = {}

    def of(self, user: str) -> Way | None:
        """How to act as a user; None for our own users and for everybody else."""
        return self._ways.get(user)

    def possible(self, user: UserId) -> bool:
        """Whether an appservice's token may act as the users of this one's server."""
        server = self._servers.get(_server(user))
        return server is not None and server.as_token is not None

    def add(self, user: UserId, token: str | None) -> None:
        """Act as this user from now on. Raises MatrixRejectedError when their server is not configured."""
        self._ways[user] = self._way(user, token)

    def _way(self, user: UserId, token: str | None) -> Way:
        server = self._servers.get(_server(user))
        given = token if token is not None else server.as_token if server is not None else None
        if server is None or given is None:
            raise MatrixRejectedError("M_UNRECOGNIZED", f"{_server(user)} is not set up for this", 404)
        return Way(self._addresses[_server(user)], given, user if token is None else None)

    def remove(self, user: UserId) -> None:
        """Act as this user no more."""
        self._ways.pop(user, None)

    async def verify(self, user: UserId, token: str | None) -> None:
        """Ask the user's own homeserver whom a token stands for. Raises PuppetGoneError when it is not them."""
        way = self._way(user, token)
        url = way.addresses.of("client", "v3", "account", "whoami", user=way.user)
        try:
            answer = await self.call("GET", url, None, way)
        except MatrixRejectedError as error:
            if error.errcode in _NOT_HIM:
                raise PuppetGoneError(str(error)) from error
            raise
        if answer.get("user_id") != user:
            raise PuppetGoneError("that token is somebody else's")

    async def call(self, method: str, url: URL, body: bytes | None, way: Way) -> dict[str, Any]:
        """A request by this way. Raises PuppetGoneError when its token is accepted no more."""
        try:
            return await self._requests.json(method, url, body, token=way.token)
        except HomeserverFailedError as error:
            if error.errcode in _GONE:
                raise PuppetGoneError("the homeserver does not accept the token any more") from error
            raise


def _server(user: str) -> str:
    return user.partition(":")[2]
