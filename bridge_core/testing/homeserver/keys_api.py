"""Endpoints of the fake about encryption: keys, cross-signing, to-device messages."""

from typing import Any

from aiohttp import web

from bridge_core.testing.homeserver.accounts_api import json_of
from bridge_core.testing.homeserver.caller import Caller, identify
from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.world import World

__all__ = ["KeysApi"]


class KeysApi:
    """Handlers return what is sent as JSON. A human has one device, see `Account.device`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._book = world.keys

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        v3 = "/_matrix/client/v3"
        for method, path, handler in (
            ("POST", f"{v3}/keys/upload", self.upload),
            ("POST", f"{v3}/keys/query", self.query),
            ("POST", f"{v3}/keys/claim", self.claim),
            ("POST", f"{v3}/keys/device_signing/upload", self.cross_signing),
            ("POST", f"{v3}/keys/signatures/upload", self.signatures),
            ("GET", f"{v3}/sync", self.sync),
            ("PUT", f"{v3}/sendToDevice/{{type}}/{{txn}}", self.send_to_device),
        ):
            router.add_route(method, path, wrap(handler))

    async def upload(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        device = self._device(caller)
        counts, changed = self._book.upload(caller.user, device, await json_of(request))
        if changed:
            self._world.device_list(caller.user)
        return {"one_time_key_counts": counts}

    async def query(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        wanted = (await json_of(request)).get("device_keys")
        if not isinstance(wanted, dict):
            raise MatrixError(400, "M_BAD_JSON", "device_keys is missing")
        answer = self._book.query(caller.user, list(wanted))
        for user, devices in answer["device_keys"].items():
            for device, keys in devices.items():
                name = self._world.accounts[user].devices.get(device)
                devices[device] = {**keys, "unsigned": {"device_display_name": name} if name else {}}
        return answer

    async def claim(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        keys: dict[str, Any] = {}
        wanted = (await json_of(request)).get("one_time_keys", {})
        failures = self._book.unanswered(list(wanted))
        for user, devices in wanted.items():
            if user.partition(":")[2] in failures:
                continue
            for device, algorithm in devices.items():
                found = self._book.claim(user, device, algorithm)
                if found:
                    keys.setdefault(user, {})[device] = found
        return {"one_time_keys": keys, "failures": failures}

    async def cross_signing(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        self._book.upload_cross_signing(caller.user, await json_of(request))
        self._world.device_list(caller.user)
        return {}

    async def signatures(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        failures = self._book.upload_signatures(caller.user, await json_of(request))
        self._world.device_list(caller.user)
        return {"failures": failures}

    async def send_to_device(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        key = caller.txn_key(request)
        if key not in self._world.memory_txns:
            for user, contents in (await json_of(request)).get("messages", {}).items():
                for device, content in contents.items():
                    self._world.to_device(caller.user, request.match_info["type"], user, device, content)
            self._world.memory_txns[key] = {}
        return {}

    async def sync(self, request: web.Request) -> dict[str, Any]:
        """What a device needs for encryption, without rooms and without waiting."""
        caller = identify(self._world, request)
        if caller.user == f"@{self._world.appservice.sender_localpart}:{self._world.server_name}":
            raise MatrixError(500, "M_UNKNOWN", "Internal server error")  # as Synapse: no /sync for a sender
        device = self._device(caller)
        since = request.query.get("since")
        position, messages, changed = self._book.since(caller.user, device, int(since) if since else 0)
        answer: dict[str, Any] = {
            "next_batch": str(position),
            "device_one_time_keys_count": {"signed_curve25519": 0, **self._book.counts(caller.user, device)},
            "device_unused_fallback_key_types": self._book.unused_fallbacks(caller.user, device),
        }
        if messages:
            answer["to_device"] = {"events": messages}
        seen = sorted(user for user in changed if self._shares(caller.user, user))
        if since and seen:
            answer["device_lists"] = {"changed": seen}
        return answer

    def _shares(self, user: str, other: str) -> bool:
        rooms = self._world.rooms.values()
        return user == other or any({user, other} <= set(room.members("join")) for room in rooms)

    def _device(self, caller: Caller) -> str:
        device = caller.device or self._world.accounts[caller.user].device
        if device is None:
            raise MatrixError(400, "M_UNKNOWN", "To upload keys, you must pass device_id when authenticating")
        return device
