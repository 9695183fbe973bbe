"""Posts JSON to addresses that the admin configured: no redirects, bounded in time."""

from typing import Final

import aiohttp

from bridge_core.api.errors import NotConnectedError, RateLimitedError, RejectedError, TransientError
from bridge_core.matrix.failures import retry_after

__all__ = ["HttpPush"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
_DEFAULT_DELAY: Final = 30.0
_AGAIN: Final = frozenset({408, 425, 502, 503, 504, 500})


class HttpPush:
    """Implements `engine.checkpoints.Push`. `token` goes out as a bearer token; it is never logged."""

    def __init__(self, token: str | None = None) -> None:
        self._headers = {"Content-Type": "application/json", "User-Agent": "matrix-bridge"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4),
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes) -> None:
        """As `Push.post`."""
        if self._session is None:
            raise NotConnectedError("the bridge is not running")
        try:
            async with self._session.post(url, data=body, headers=self._headers, allow_redirects=False) as response:
                status, headers = response.status, response.headers
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TransientError(f"no answer: {type(error).__name__}") from error
        if status == 429:
            raise RateLimitedError("too often", retry_after(headers, _DEFAULT_DELAY))
        if status in _AGAIN:
            raise TransientError(f"answered {status}")
        if status >= 300:
            raise RejectedError(f"answered {status}")
