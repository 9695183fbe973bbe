"""Inbound HTTP of networks: `/_bridge/NETWORK/...`, with the body bounded before an adapter sees it."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bridge_core.api.host import HttpRequest, HttpResponse
from bridge_core.api.ids import NetworkId
from bridge_core.matrix.answers import read_body

__all__ = ["AdapterRoutes", "NetworkRoutes"]

AdapterHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]

_LIMIT = 1024 * 1024


class AdapterRoutes:
    """All networks' routes. `add_to` an application once; networks add theirs before or after that."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._handlers: dict[tuple[str, str], dict[str, AdapterHandler]] = {}

    def of(self, network: NetworkId) -> "NetworkRoutes":
        """The routes of one network, as its Host shows them."""
        return NetworkRoutes(self, network)

    def remove(self, network: NetworkId) -> None:
        """Forget the network's routes: when it stops."""
        for key in [key for key in self._handlers if key[0] == network]:
            del self._handlers[key]

    def add_to(self, app: web.Application) -> None:
        """Serve them under `/_bridge/`."""
        app.router.add_route("*", "/_bridge/{network}/{path:.*}", self._serve)

    def put(self, network: str, method: str, path: str, handler: AdapterHandler) -> None:
        """Add one. Raises ValueError when it is there already."""
        methods = self._handlers.setdefault((network, path.strip("/")), {})
        if method.upper() in methods:
            raise ValueError(f"{method} {path} is served already")
        methods[method.upper()] = handler

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        methods = self._handlers.get((request.match_info["network"], request.match_info["path"].strip("/")))
        if methods is None:
            raise web.HTTPNotFound
        handler = methods.get(request.method)
        if handler is None:
            raise web.HTTPMethodNotAllowed(request.method, methods)
        body = await read_body(request, self._limit)
        answer = await handler(
            HttpRequest(
                method=request.method,
                path="/" + request.match_info["path"],
                query=dict(request.query),
                headers=dict(request.headers),
                body=body,
                peer=request.remote or "",
            )
        )
        return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers or {}))


class NetworkRoutes:
    """Implements `bridge_core.api.host.Routes` for one network."""

    def __init__(self, routes: AdapterRoutes, network: NetworkId) -> None:
        self._routes = routes
        self._network = network

    def add(self, method: str, path: str, handler: AdapterHandler) -> None:
        """Serve `path`; the body is bounded before the handler runs."""
        self._routes.put(self._network, method, path, handler)
