"""Endpoints of the fake about OpenID tokens: how a user proves to somebody else who they are."""

import secrets
from typing import Any

from aiohttp import web

from bridge_core.testing.homeserver.caller import identify
from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.world import World

__all__ = ["OpenIdApi"]


class OpenIdApi:
    """Handlers return what is sent as JSON."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, str] = {}

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        token = "/_matrix/client/v3/user/{user}/openid/request_token"  # noqa: S105 - a path
        router.add_route("POST", token, wrap(self.request_token))
        router.add_route("GET", "/_matrix/federation/v1/openid/userinfo", wrap(self.userinfo))

    async def request_token(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        if caller.user != request.match_info["user"]:
            raise MatrixError(403, "M_FORBIDDEN", "Cannot request tokens for other users.")
        token = secrets.token_urlsafe(16)
        self._tokens[token] = caller.user
        return {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self._world.server_name,
            "expires_in": 3600,
        }

    async def userinfo(self, request: web.Request) -> dict[str, Any]:
        token = request.query.get("access_token")
        if token is None:
            raise MatrixError(401, "M_MISSING_TOKEN", "Access Token required")
        if token not in self._tokens:
            raise MatrixError(401, "M_UNKNOWN_TOKEN", "Access Token unknown or expired")
        return {"sub": self._tokens[token]}
