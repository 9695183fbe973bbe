"""Endpoints of the fake about accounts: versions, registration, devices, profiles."""

import secrets
from typing import Any

import orjson
from aiohttp import web

from bridge_core.testing.homeserver.caller import identify, token_of
from bridge_core.testing.homeserver.failure import MatrixError, forbidden, not_found
from bridge_core.testing.homeserver.world import World

__all__ = ["AccountsApi", "json_of"]


async def json_of(request: web.Request) -> dict[str, Any]:
    """The body's object. Raises M_NOT_JSON or M_BAD_JSON."""
    try:
        value = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise MatrixError(400, "M_NOT_JSON", "Content not JSON.") from error
    if not isinstance(value, dict):
        raise MatrixError(400, "M_BAD_JSON", "Content must be a JSON object.")
    return value


class AccountsApi:
    """Handlers return what is sent as JSON."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        v3 = "/_matrix/client/v3"
        for method, path, handler in (
            ("GET", "/_matrix/client/versions", self.versions),
            ("GET", f"{v3}/capabilities", self.capabilities),
            ("POST", f"{v3}/register", self.register),
            ("GET", f"{v3}/account/whoami", self.whoami),
            ("PUT", f"{v3}/devices/{{device}}", self.put_device),
            ("GET", f"{v3}/devices", self.devices),
            ("DELETE", f"{v3}/devices/{{device}}", self.delete_device),
            ("GET", f"{v3}/profile/{{user}}", self.profile),
            ("GET", f"{v3}/profile/{{user}}/{{field}}", self.profile),
            ("PUT", f"{v3}/profile/{{user}}/{{field}}", self.put_profile),
            ("GET", f"{v3}/presence/{{user}}/status", self.presence),
            ("PUT", f"{v3}/presence/{{user}}/status", self.put_presence),
            ("GET", f"{v3}/user/{{user}}/account_data/{{type}}", self.account_data),
            ("PUT", f"{v3}/user/{{user}}/account_data/{{type}}", self.put_account_data),
        ):
            router.add_route(method, path, wrap(handler))

    def _data(self, request: web.Request) -> dict[str, dict[str, Any]]:
        caller = identify(self._world, request)
        if caller.user != request.match_info["user"]:
            raise forbidden("Cannot get account data for other users.")
        return self._world.accounts[caller.user].data

    async def account_data(self, request: web.Request) -> dict[str, Any]:
        found = self._data(request).get(request.match_info["type"])
        if found is None:
            raise not_found("Account data not found")
        return found

    async def put_account_data(self, request: web.Request) -> dict[str, Any]:
        data = self._data(request)
        data[request.match_info["type"]] = await json_of(request)
        return {}

    async def presence(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        account = self._world.accounts.get(request.match_info["user"])
        presence, status = account.presence if account is not None else ("offline", None)
        return {"presence": presence, **({"status_msg": status} if status is not None else {})}

    async def put_presence(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        body = await json_of(request)
        if caller.user != request.match_info["user"]:
            raise MatrixError(403, "M_UNKNOWN", "Cannot set presence state of another user")
        presence, status = body.get("presence"), body.get("status_msg")
        if presence not in {"online", "offline", "unavailable"}:
            raise MatrixError(400, "M_UNKNOWN", "Invalid presence state")
        account = self._world.accounts[caller.user]
        if account.presence != (presence, status):
            account.presence = (presence, status)
            content = {"presence": presence, **({"status_msg": status} if status is not None else {})}
            self._world.ephemeral({"type": "m.presence", "sender": caller.user, "content": content})
        return {}

    async def versions(self, request: web.Request) -> dict[str, Any]:
        if "Authorization" in request.headers:
            identify(self._world, request)
        return {"versions": ["v1.10", "v1.11", "v1.12"], "unstable_features": {}}

    async def capabilities(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        version = self._world.profile.room_version
        return {"capabilities": {"m.room_versions": {"default": version, "available": {version: "stable"}}}}

    async def register(self, request: web.Request) -> dict[str, Any]:
        body = await json_of(request)
        localpart = str(body.get("username", ""))
        service = self._world.appservice
        user = f"@{localpart}:{self._world.server_name}"
        if body.get("type") == "m.login.application_service":
            if token_of(request) != service.as_token:
                raise MatrixError(401, "M_UNKNOWN_TOKEN", "Unrecognised access token")
            if not service.owns_user(user, self._world.server_name):
                raise MatrixError(400, "M_EXCLUSIVE", "Invalid user localpart for this application service.")
            account = self._world.register(localpart)
            if not body.get("inhibit_login"):
                # Measured with MSC4190: refused, and yet the user is there.
                raise MatrixError(400, "M_APPSERVICE_LOGIN_UNSUPPORTED", "use inhibit_login")
            return {"user_id": account.id, "home_server": self._world.server_name}
        if service.owns_user(user, self._world.server_name):
            raise MatrixError(400, "M_EXCLUSIVE", "This user ID is reserved by an application service.")
        token = secrets.token_urlsafe(16)
        account = self._world.register(localpart, token=token)
        return {"user_id": account.id, "access_token": token, "device_id": account.device}

    async def whoami(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        answer: dict[str, Any] = {"user_id": caller.user, "is_guest": False}
        account = self._world.accounts.get(caller.user)  # a registration's sender need not be registered
        device = caller.device or (account.device if account is not None else None)
        if device is not None:
            answer["device_id"] = device
        return answer

    async def put_device(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        account = self._world.accounts[caller.user]
        device = request.match_info["device"]
        if device not in account.devices and not (caller.appservice and self._world.profile.devices):
            raise not_found("No device found")
        account.devices[device] = str((await json_of(request)).get("display_name", ""))
        return {}

    async def devices(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        account = self._world.accounts[caller.user]
        return {"devices": [{"device_id": key, "display_name": name} for key, name in account.devices.items()]}

    async def delete_device(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        self._world.forget_device(caller.user, request.match_info["device"])
        return {}

    async def profile(self, request: web.Request) -> dict[str, Any]:
        account = self._world.accounts.get(request.match_info["user"])
        if account is None:
            raise not_found("Profile was not found")
        both = {"displayname": account.displayname, "avatar_url": account.avatar_url}
        field = request.match_info.get("field")
        return {key: value for key, value in both.items() if value is not None and field in {None, key}}

    async def put_profile(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        if caller.user != request.match_info["user"]:
            raise forbidden("Cannot set another user's profile")
        field = request.match_info["field"]
        value = (await json_of(request)).get(field)
        account = self._world.accounts[caller.user]
        if field not in {"displayname", "avatar_url"}:
            return {}
        setattr(account, field, value or None)
        for room in self._world.rooms.values():
            if room.membership(caller.user) == "join":
                self._world.set_member(room, caller.user, caller.user, "join")
        return {}
