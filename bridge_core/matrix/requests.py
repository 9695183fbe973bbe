"""Requests to the homeserver: one connection pool, bytes in, plain dicts out, errors mapped where they enter."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import structlog
from multidict import CIMultiDict
from yarl import URL

from bridge_core.api.errors import NotConnectedError, TransientError
from bridge_core.matrix.failures import failure, json_object

__all__ = ["Requests", "UnreadableAnswerError"]

_log = structlog.get_logger(__name__)

_LARGEST_ANSWER = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_NO_BODY = b"{}"


class UnreadableAnswerError(TransientError):
    """An answer of the homeserver is no JSON, or holds what no parser of ours takes (half a character)."""


class Requests:
    """The appservice's requests. `start` before use, `stop` closes the pool.

    Each request waits at most `timeout` seconds, media at most `media_timeout`. Nothing is retried here, except that
    aiohttp reopens an idle connection the homeserver had closed, for methods that may be repeated. Redirects are not
    followed, so the token goes to the configured address only. Tokens are never logged.
    """

    def __init__(
        self, as_token: str, *, timeout: float = 60, media_timeout: float = 600, connections: int = 32
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 10))
        self._media_timeout = aiohttp.ClientTimeout(total=media_timeout, sock_connect=min(timeout, 10), sock_read=60)
        self._connections = connections
        self._headers = CIMultiDict(
            {
                "Authorization": f"Bearer {as_token}",
                "Content-Type": "application/json",
                "User-Agent": "matrix-bridge",
                "Accept-Encoding": "identity",
            }
        )
        self._media_headers = CIMultiDict(self._headers)
        del self._media_headers["Content-Type"]
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Opens the pool; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, limit_per_host=0, keepalive_timeout=50),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            headers=None,
            skip_auto_headers=("Accept",),
        )

    async def stop(self) -> None:
        """Closes all connections; a request in flight fails with NotConnectedError."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def json(
        self, method: str, url: URL, body: bytes | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """Sends a JSON body (`{}` where there is none and the method wants one) and returns the answer's object.

        `token` stands in for the appservice's own.

        Raises RateLimitedError, TransientError (also when no answer came: it may have been acted on) or
        MatrixRejectedError.
        """
        value = await self.value(method, url, body, token=token)
        if not isinstance(value, dict):
            raise TransientError("the homeserver answered with something other than a JSON object")
        return value

    async def value(self, method: str, url: URL, body: bytes | None = None, *, token: str | None = None) -> Any:
        """As `json`, for answers of any JSON type."""
        session = self._session
        if session is None:
            raise NotConnectedError("the requests to the homeserver are stopped")
        if body is None and method != "GET":
            body = _NO_BODY
        sent = self._headers if token is None else {**self._headers, "Authorization": f"Bearer {token}"}
        try:
            async with session.request(method, url, data=body, headers=sent, allow_redirects=False) as response:
                length = response.content_length
                if length is not None and length <= _LARGEST_ANSWER:
                    answer = await response.read()
                else:
                    answer = await _bounded(response)
                status = response.status
                headers = response.headers
        except aiohttp.ClientConnectorError as error:
            raise NotConnectedError(f"the homeserver cannot be reached: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"no answer from the homeserver: {_reason(error)}") from error
        if status >= 300:
            raise self._failed(method, url, status, answer, headers)
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise UnreadableAnswerError(f"the homeserver answered {status} with something other than JSON") from error

    async def put_bytes(
        self, method: str, url: URL, chunks: AsyncIterator[bytes], *, mime: str, size: int
    ) -> dict[str, Any]:
        """Sends `size` bytes as they come, without holding them, and returns the answer's object. Raises as `json`."""
        headers = CIMultiDict(self._media_headers)
        headers["Content-Type"] = mime
        headers["Content-Length"] = str(size)
        async with self._media(method, url, headers, chunks) as response:
            return json_object(await _bounded(response)) or {}

    @asynccontextmanager
    async def stream(self, url: URL) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        """Gets a file: its length where the homeserver says so, and its bytes in chunks. Raises as `json`."""
        async with self._media("GET", url, self._media_headers, None) as response:
            yield response.content_length, response.content.iter_chunked(_CHUNK)

    @asynccontextmanager
    async def _media(
        self, method: str, url: URL, headers: Mapping[str, str], data: AsyncIterator[bytes] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._session
        if session is None:
            raise NotConnectedError("the requests to the homeserver are stopped")
        try:
            async with session.request(
                method, url, data=data, headers=headers, allow_redirects=False, timeout=self._media_timeout
            ) as response:
                if response.status >= 300:
                    raise self._failed(method, url, response.status, await _bounded(response), response.headers)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise NotConnectedError(f"the homeserver cannot be reached: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"the transfer broke off: {_reason(error)}") from error

    def _failed(self, method: str, url: URL, status: int, body: bytes, headers: Mapping[str, str]) -> Exception:
        error = failure(status, body, headers)
        _log.debug("homeserver_refused", method=method, path=url.raw_path, status=status, error=type(error).__name__)
        return error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Reads a body of unknown length up to the bound."""
    collected = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        collected += chunk
        if len(collected) > _LARGEST_ANSWER:
            raise TransientError("the homeserver's answer is larger than the bridge reads")
    return bytes(collected)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__
