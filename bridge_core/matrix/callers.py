"""Who calls the HTTP API: whoever has its secret, for any user, or a user with an OpenID token of their homeserver."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiohttp import web

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.matrix.openid import user_id

__all__ = ["Callers", "RefusedError"]

_log = structlog.get_logger(__name__)

_OPENID: Final = "openid:"
_CACHED: Final = 1_000
_CACHE_MS: Final = 60_000
_STRANGERS: Final = (30, 1.0)
"""Tokens that one peer may have looked at: at once, and per second from then on."""


class RefusedError(Exception):
    """The caller is not known, or calls too often."""

    def __init__(self, status: int, errcode: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.errcode = errcode


class OpenId(Protocol):
    """`OpenIdServers`."""

    async def user(self, server: str, token: str) -> UserId:
        """The user to whom the token was given."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: int


class Rates:
    """How often each of many may do something: token buckets, bounded; the one unused for longest is forgotten."""

    def __init__(self, clock: Clock, most: int = 10_000) -> None:
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, who: str, burst: float, per_second: float) -> bool:
        """Whether `who` may do it once more now."""
        now = self._clock.now_ms()
        bucket = self._buckets.pop(who, None) or _Bucket(burst, now)
        bucket.left = min(burst, bucket.left + max(0, now - bucket.at) / 1000 * per_second)
        bucket.at = now
        self._buckets[who] = bucket
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


class Callers:
    """Authenticates requests. Nothing is remembered of a token but its hash, for a minute.

    `secret` and `openid` may each be None: nobody comes in that way. `server` is the own homeserver's name, `is_ours`
    tells users of the appservice itself, for whom nobody speaks. `per_minute` bounds the calls for one user.
    """

    def __init__(
        self,
        secret: str | None,
        openid: OpenId | None,
        server: str,
        is_ours: Callable[[str], bool],
        clock: Clock,
        per_minute: int,
    ) -> None:
        self._secret = secret.encode() if secret else None
        self._openid = openid
        self._server = server
        self._is_ours = is_ours
        self._clock = clock
        self._per_minute = per_minute
        self._rates = Rates(clock)
        self._known: OrderedDict[bytes, tuple[UserId, int]] = OrderedDict()

    async def caller(self, request: web.Request) -> UserId:
        """The user for whom the request is made. Raises RefusedError, TransientError, RateLimitedError."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(401, "M_MISSING_TOKEN", "the Authorization header has no bearer token")
        named = request.query.get("user_id")
        if token.startswith(_OPENID):
            user = await self._by_openid(request, token.removeprefix(_OPENID))
            if named is not None and named != user:
                raise RefusedError(403, "M_FORBIDDEN", "the token is another user's")
            often = self._per_minute
        else:
            user = self._by_secret(request, token, named)
            often = self._per_minute * 10
        if self._is_ours(user):
            raise RefusedError(403, "M_FORBIDDEN", "nobody speaks for users of the bridge itself")
        if not self._rates.take(f"user {user} {often}", often, often / 60):
            raise RefusedError(429, "M_LIMIT_EXCEEDED", "too many requests for this user")
        return user

    @staticmethod
    def by_secret(request: web.Request) -> bool:
        """Whether a request whose caller is known bears the API's secret, and not a token that a homeserver gave."""
        return not request.headers["Authorization"].partition(" ")[2].strip().startswith(_OPENID)

    def _by_secret(self, request: web.Request, token: str, named: str | None) -> UserId:
        given = token.encode("utf-8", "surrogatepass")
        if self._secret is None or not hmac.compare_digest(given, self._secret):
            _log.warning("api_token_wrong", peer=request.remote)
            raise RefusedError(403, "M_FORBIDDEN", "the token is not the API's secret")
        user = user_id(named)
        if user is None:
            raise RefusedError(400, "M_MISSING_PARAM", "user_id is missing, or is no Matrix user id")
        return user

    async def _by_openid(self, request: web.Request, token: str) -> UserId:
        if self._openid is None:
            raise RefusedError(403, "M_FORBIDDEN", "OpenID tokens are not taken here")
        server = request.query.get("matrix_server_name", self._server)
        now = self._clock.now_ms()
        # The server belongs to the key: a token says nothing about who knows it.
        key = hashlib.sha256(f"{server}\0{token}".encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(key)
        if known is not None and known[1] > now:
            return known[0]
        if not self._rates.take(f"peer {request.remote}", *_STRANGERS):
            raise RefusedError(429, "M_LIMIT_EXCEEDED", "too many tokens were looked at for this address")
        try:
            user = await self._openid.user(server, token)
        except RejectedError as error:
            _log.warning("api_token_wrong", peer=request.remote)
            raise RefusedError(403, "M_FORBIDDEN", str(error)) from error
        self._known[key] = (user, now + _CACHE_MS)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return user
