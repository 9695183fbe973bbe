"""The homeserver as the parts of the Matrix side share it: requests, addresses, and what was learnt of it at start."""

from collections.abc import Mapping
from typing import Any

import orjson

from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.matrix.addresses import Addresses
from bridge_core.matrix.puppets import Puppets
from bridge_core.matrix.requests import Requests

__all__ = ["Homeserver"]

_V3 = ("client", "v3")


class Homeserver:
    """Calls of the client-server API as one of our users. Errors as in `Requests.json`; nothing is retried.

    `devices` says whether device masquerading works (None: not known yet), `device` is the id of everybody's plain
    device.
    """

    def __init__(
        self,
        requests: Requests,
        address: str,
        bot: UserId,
        *,
        device: str = "MATRIXBRIDGE",
        devices: bool | None = None,
        puppets: Puppets | None = None,
    ) -> None:
        self.requests = requests
        self.puppets = puppets or Puppets(requests, {})
        self.addresses = Addresses(address)
        self.bot = bot
        self.server_name = bot.partition(":")[2]
        self.device = device
        self.devices = devices

    async def get(self, *path: str, user: str | None = None, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET /_matrix/client/v3/`path`, an object, as `user` (None: the bot)."""
        return await self._json("GET", path, user, query=query)

    async def get_list(self, *path: str, user: str | None = None) -> list[Any]:
        """GET /_matrix/client/v3/`path`, a list; empty when it is something else."""
        value = await self.requests.value("GET", self.addresses.of(*_V3, *path, user=user or self.bot))
        return value if isinstance(value, list) else []

    async def put(
        self,
        *path: str,
        content: Mapping[str, Any],
        user: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """PUT /_matrix/client/v3/`path`."""
        return await self._json("PUT", path, user, orjson.dumps(content), query)

    async def post(
        self,
        *path: str,
        content: Mapping[str, Any] | None = None,
        user: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """POST /_matrix/client/v3/`path`."""
        return await self._json("POST", path, user, orjson.dumps(content or {}), query)

    async def send(self, request: SendRequest) -> dict[str, Any]:
        """Send an event as its sender. The hot path."""
        way = self.puppets.of(request.sender)
        if way is None:
            return await self.requests.json("PUT", self.addresses.send(request), request.body)
        url = way.addresses.send(request) if way.user is not None else way.addresses.send_plain(request)
        return await self.puppets.call("PUT", url, request.body, way)

    async def _json(
        self,
        method: str,
        path: tuple[str, ...],
        user: str | None,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        way = self.puppets.of(user) if user is not None else None
        if way is None:
            return await self.requests.json(
                method, self.addresses.of(*_V3, *path, user=user or self.bot, query=query), body
            )
        return await self.puppets.call(method, way.addresses.of(*_V3, *path, user=way.user, query=query), body, way)

    async def delete(self, *path: str) -> dict[str, Any]:
        """DELETE /_matrix/client/v3/`path`, as the bot."""
        return await self._json("DELETE", path, None)
