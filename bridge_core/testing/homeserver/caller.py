"""Who makes a request: a human by access token, or the appservice as one of its users."""

from dataclasses import dataclass

from aiohttp import web

from bridge_core.testing.homeserver.failure import MatrixError, forbidden
from bridge_core.testing.homeserver.world import World

__all__ = ["Caller", "identify", "token_of"]


@dataclass(frozen=True, slots=True)
class Caller:
    """`device` is set when the request named one and the homeserver understands that."""

    user: str
    device: str | None
    appservice: bool
    service: str = "appservice"

    def txn_key(self, request: web.Request) -> tuple[str, ...]:
        """Synapse's key of a transaction in memory: for an appservice the user does not count."""
        return (request.method, request.path, self.service if self.appservice else self.user)


def token_of(request: web.Request) -> str:
    """The access token. Raises M_MISSING_TOKEN."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise MatrixError(401, "M_MISSING_TOKEN", "Missing access token")
    return token


def identify(world: World, request: web.Request) -> Caller:
    """Returns who calls. Raises M_UNKNOWN_TOKEN, M_FORBIDDEN or M_UNKNOWN_DEVICE."""
    token = token_of(request)
    if token == world.puppet_token:
        return _puppet(world, request)
    if token != world.appservice.as_token:
        account = world.by_token(token)
        if account is None:
            raise MatrixError(401, "M_UNKNOWN_TOKEN", "Unrecognised access token", soft_logout=False)
        return Caller(account.id, None, False)
    sender = f"@{world.appservice.sender_localpart}:{world.server_name}"
    user = request.query.get("user_id", sender)
    if not world.appservice.owns_user(user, world.server_name):
        raise forbidden("Application service cannot masquerade as this user.")
    if user != sender and user not in world.accounts:
        raise forbidden("Application service has not registered this user")
    device = request.query.get("device_id") if world.profile.masquerading else None
    if device is not None and (user not in world.accounts or device not in world.accounts[user].devices):
        raise MatrixError(400, "M_UNKNOWN_DEVICE", "Application service specified an unknown device")
    return Caller(user, device, True)


def _puppet(world: World, request: web.Request) -> Caller:
    """A second appservice, which may act as every user of its namespace (all that are no ghosts)."""
    user = request.query.get("user_id", "")
    if user not in world.accounts:
        raise forbidden("Application service has not registered this user")
    device = request.query.get("device_id") if world.profile.masquerading else None
    if device is not None and device not in world.accounts[user].devices:
        raise MatrixError(400, "M_UNKNOWN_DEVICE", "Application service specified an unknown device")
    return Caller(user, device, True, "puppets")
