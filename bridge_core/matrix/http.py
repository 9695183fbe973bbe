"""The endpoints a homeserver calls (Application Service API v1.19), as an aiohttp application of our own."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from bridge_core.matrix.answers import answer, in_matrix_form, read_body, refusal
from bridge_core.matrix.queries import NoQueries, Queries
from bridge_core.matrix.transaction import BadTransactionError, TransactionSink, receive_transaction

__all__ = ["AppserviceHttp"]

_log = structlog.get_logger(__name__)

_V1 = "/_matrix/app/v1"
_UNSTABLE = "/_matrix/app/unstable"
_DEFAULT_LIMIT = 64 * 1024 * 1024
_SMALL = 64 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AppserviceHttp:
    """Builds the application: `AppserviceHttp(hs_token, sink).application()`.

    The token is taken from `Authorization: Bearer`, with `legacy` also from `?access_token=` (both must then agree),
    and compared in constant time. Missing is 401 M_MISSING_TOKEN, wrong 403 M_FORBIDDEN. `limit` is in bytes.
    Unknown endpoints are 404, wrong methods 405, both M_UNRECOGNIZED.
    """

    def __init__(
        self,
        hs_token: str,
        sink: TransactionSink,
        queries: Queries | None = None,
        *,
        legacy: bool = True,
        limit: int = _DEFAULT_LIMIT,
    ) -> None:
        if not hs_token:
            raise ValueError("an empty hs_token would let everybody in")
        self._token = hs_token.encode()
        self._sink = sink
        self._queries = queries or NoQueries()
        self._legacy = legacy
        self._limit = limit

    def application(self) -> web.Application:
        """Returns a new application; further routes (adapters', media links) may be added before it is served."""
        app = web.Application(middlewares=[in_matrix_form], client_max_size=self._limit)
        # Synapse leaves the slash of a user id unencoded, so ids take the rest of the path.
        plain: list[tuple[str, str, Handler]] = [
            ("PUT", "/transactions/{txn}", self._transaction),
            ("GET", "/users/{user:.+}", self._user),
            ("GET", "/rooms/{alias:.+}", self._room),
        ]
        third_party: list[tuple[str, str, Handler]] = [
            ("GET", "/thirdparty/protocol/{protocol}", self._protocol),
            ("GET", "/thirdparty/user/{protocol}", self._users),
            ("GET", "/thirdparty/location/{protocol}", self._locations),
            ("GET", "/thirdparty/user", self._user_of),
            ("GET", "/thirdparty/location", self._location_of),
        ]
        self._add(app, _V1, [*plain, *third_party, ("POST", "/ping", self._ping)])
        if self._legacy:
            self._add(app, "", plain)
            self._add(app, _UNSTABLE, third_party)
        return app

    def _add(self, app: web.Application, prefix: str, routes: list[tuple[str, str, Handler]]) -> None:
        for method, path, handler in routes:
            app.router.add_route(method, prefix + path, self._authorized(handler))

    def _authorized(self, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            given = _bearer(request)
            tokens = [given] if given is not None else []
            if self._legacy and "access_token" in request.query:
                tokens += request.query.getall("access_token")
            if not tokens:
                return refusal(401, "M_MISSING_TOKEN", "the homeserver must send its hs_token")
            right = [hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token) for token in tokens]
            if not all(right):
                _log.warning("http_token_wrong", peer=request.remote)
                return refusal(403, "M_FORBIDDEN", "the hs_token is not the one in the bridge's registration file")
            return await handler(request)

        return checked

    async def _transaction(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, self._limit)
        try:
            txn = await receive_transaction(request.match_info["txn"], body)
        except BadTransactionError as error:
            _log.error("transaction_refused", txn=request.match_info["txn"], reason=error.errcode)
            return refusal(400, error.errcode, str(error))
        if txn.skipped:
            _log.warning("transaction_entries_skipped", txn=txn.id, skipped=txn.skipped)
        await self._sink.accept(txn)
        return answer({})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        await read_body(request, _SMALL)
        return answer({})

    async def _user(self, request: web.Request) -> web.StreamResponse:
        return _known(await self._queries.user(request.match_info["user"]), "no such user")

    async def _room(self, request: web.Request) -> web.StreamResponse:
        return _known(await self._queries.room(request.match_info["alias"]), "no such room")

    async def _protocol(self, request: web.Request) -> web.StreamResponse:
        return _found(await self._queries.protocol(request.match_info["protocol"]))

    async def _users(self, request: web.Request) -> web.StreamResponse:
        return _found(await self._queries.users(request.match_info["protocol"], _fields(request)))

    async def _locations(self, request: web.Request) -> web.StreamResponse:
        return _found(await self._queries.locations(request.match_info["protocol"], _fields(request)))

    async def _user_of(self, request: web.Request) -> web.StreamResponse:
        user = request.query.get("userid")
        if user is None:
            return refusal(400, "M_MISSING_PARAM", "userid is missing")
        return answer([dict(found) for found in await self._queries.user_of(user)])

    async def _location_of(self, request: web.Request) -> web.StreamResponse:
        alias = request.query.get("alias")
        if alias is None:
            return refusal(400, "M_MISSING_PARAM", "alias is missing")
        return answer([dict(found) for found in await self._queries.location_of(alias)])


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _fields(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in request.query.items() if name != "access_token"}


def _known(known: bool, error: str) -> web.Response:
    return answer({}) if known else refusal(404, "M_NOT_FOUND", error)


def _found(found: Any) -> web.Response:
    if found is None:
        return refusal(404, "M_NOT_FOUND", "no such protocol")
    return answer(dict(found) if isinstance(found, Mapping) else [dict(entry) for entry in found])
