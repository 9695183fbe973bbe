"""Who has an OpenID token of a homeserver, asked of that homeserver alone.

Source: Matrix specification v1.19, server-server API, `GET /_matrix/federation/v1/openid/userinfo`. Its `sub` is
believed only for users of the server that gave it: otherwise any server could name anybody (CVE-2023-38691).
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson
import structlog

from bridge_core.api.errors import NotConnectedError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import UserId

__all__ = ["OpenIdServers"]

_log = structlog.get_logger(__name__)

_PATH: Final = "/_matrix/federation/v1/openid/userinfo"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=5)
_LARGEST: Final = 64 * 1024
_BUSY: Final = 8
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_USER: Final = re.compile(r"@[\x21-\x39\x3b-\x7e]{1,254}:[A-Za-z0-9.:\[\]-]{1,254}")


def user_id(value: object) -> UserId | None:
    """A Matrix user id in good form, or None."""
    return UserId(value) if isinstance(value, str) and len(value) <= 255 and _USER.fullmatch(value) else None


class OpenIdServers:
    """The servers whose users are believed, by name, with the address of each one's federation API.

    No other address is ever fetched, and redirects are not followed: a stranger chooses among these names only.
    """

    def __init__(self, servers: Mapping[str, str]) -> None:
        self._servers = dict(servers)
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(_BUSY)

    async def start(self) -> None:
        """Open the pool; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_BUSY),
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def user(self, server: str, token: str) -> UserId:
        """The user of `server` to whom the token was given. Waits at most 10 s.

        Raises RejectedError for servers that are not asked, tokens that are not good, and answers that name somebody
        of another server; TransientError and RateLimitedError when it cannot be known now.
        """
        address = self._servers.get(server)
        if address is None:
            raise RejectedError("users of that homeserver are not known here")
        if not _TOKEN.fullmatch(token):
            raise RejectedError("this is no OpenID token")
        if self._places.locked():
            raise RateLimitedError("too many tokens are being looked at", 2.0)
        async with self._places:
            answer = await self._ask(address, token)
        user = user_id(answer.get("sub"))
        if user is None or user.partition(":")[2] != server:
            _log.warning("openid_of_another_server", server=server)
            raise RejectedError("the homeserver does not say that the token is one of its users'")
        return user

    async def _ask(self, address: str, token: str) -> dict[str, Any]:
        if self._session is None:
            raise NotConnectedError("the bridge is not running")
        try:
            async with self._session.get(
                f"{address.rstrip('/')}{_PATH}", params={"access_token": token}, allow_redirects=False
            ) as response:
                body = b""
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise RejectedError("the homeserver's answer is too long")
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TransientError(f"the homeserver does not answer: {type(error).__name__}") from error
        if status >= 500 or status == 429:
            raise TransientError(f"the homeserver answered {status}")
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if status != 200 or not isinstance(answer, dict):
            raise RejectedError("the homeserver does not know this OpenID token")
        return answer
