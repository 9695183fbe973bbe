"""Outbound fetches on behalf of strangers: no private address, redirects checked again, bytes and time bounded."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import HttpResponse
from bridge_core.engine.matrix_ports import TooLargeError
from bridge_core.matrix.failures import retry_after

_REDIRECTS: Final = 5
_TIMEOUT: Final = 30.0
# Of a file: in all, and between two pieces of it.
_FILE_TIMEOUT: Final = aiohttp.ClientTimeout(total=600, connect=10, sock_read=30)
_CHUNK: Final = 64 * 1024
_DEFAULT_DELAY: Final = 30.0


class ForbiddenAddressError(RejectedError):
    """The address is not one of the public network."""


def public(address: str) -> bool:
    """Whether an IP address is one of the public network, also when it is wrapped in an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is not None:
            return inner.is_global
        if ip.teredo is not None or ip in ipaddress.ip_network("64:ff9b::/96"):
            return False
    return ip.is_global and not ip.is_multicast


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only. The check is on what is connected to, so names cannot be rebound."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As AbstractResolver. Raises ForbiddenAddressError when no address is public."""
        found = [entry for entry in await self._resolver.resolve(host, port, family) if public(entry["host"])]
        if not found:
            raise ForbiddenAddressError(f"{host} has no public address")
        return found

    async def close(self) -> None:
        """As AbstractResolver."""
        await self._resolver.close()


class GuardedFetch:
    """The `GuardedHttp` of the contract. `allow_private` is for tests on loopback only."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool."""
        resolver = None if self._allow_private else PublicResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16, resolver=resolver, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT, connect=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int,
    ) -> HttpResponse:
        """As `GuardedHttp.request`: at most `limit` bytes of answer, 30 s, five redirects (to GET, as browsers do)."""
        target, sent, how = self._check(_address(url)), body, method
        for _ in range(_REDIRECTS + 1):
            answer, location = await self._once(how, target, headers, sent, limit)
            if location is None:
                return answer
            following = self._check(_address(location, target))
            if following.origin() != target.origin():
                headers = None  # credentials for one server are no business of another
            if answer.status == 303 or (answer.status in (301, 302) and how == "POST"):
                how, sent = "GET", None
            target = following
        raise RejectedError(f"{target.host} redirects too often")

    async def stream(self, url: str, limit: int) -> AsyncIterator[bytes]:
        """The file at an `https:` address, in chunks: at most `limit` bytes, 10 minutes, five redirects.

        Redirects to plain http are refused, and what is compressed besides (it may be a bomb) as well. Raises
        TooLargeError, RejectedError (also for 4xx), RateLimitedError, TransientError (also for 5xx).
        """
        session = self._session
        if session is None:
            raise TransientError("the bridge is not running")
        target = self._check_file(_address(url))
        for _ in range(_REDIRECTS + 1):
            location: str | None = None
            try:
                async with session.get(
                    target,
                    headers={"Accept-Encoding": "identity"},
                    allow_redirects=False,
                    timeout=_FILE_TIMEOUT,
                ) as response:
                    location = response.headers.get("Location") if 301 <= response.status <= 308 else None
                    if location is None:
                        _refuse(response, target, limit)
                        total = 0
                        async for chunk in response.content.iter_chunked(_CHUNK):
                            total += len(chunk)
                            if total > limit:
                                raise TooLargeError(f"the file of {target.host} is larger than {limit} bytes")
                            yield chunk
                        return
            except (ValueError, TimeoutError, aiohttp.ClientError, OSError) as error:
                raise _failed(target, error) from error
            target = self._check_file(_address(location, target))
        raise RejectedError(f"{target.host} redirects too often")

    def _check_file(self, url: URL) -> URL:
        if url.scheme != "https" and not self._allow_private:
            raise RejectedError("files are fetched from https addresses only")
        return self._check(url)

    def _check(self, url: URL) -> URL:
        if url.scheme not in ("http", "https") or not url.host or url.user is not None:
            raise RejectedError("only plain http and https addresses are fetched")
        # aiohttp does not ask the resolver for literal addresses.
        literal = url.host.strip("[]").partition("%")[0]
        is_address = literal.replace(".", "").isdigit() or ":" in literal
        if is_address and not self._allow_private and not public(literal):
            raise ForbiddenAddressError(f"{url.host} is not a public address")
        return url

    async def _once(
        self, method: str, url: URL, headers: Mapping[str, str] | None, body: bytes | None, limit: int
    ) -> tuple[HttpResponse, str | None]:
        if self._session is None:
            raise TransientError("the bridge is not running")
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                found: Any = response.headers
                if response.status in (301, 302, 303, 307, 308) and "Location" in found:
                    return HttpResponse(response.status), str(found["Location"])
                if response.status == 429:
                    raise RateLimitedError(f"{url.host} limits its rate", retry_after(found, _DEFAULT_DELAY))
                data = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    data += chunk
                    if len(data) > limit:
                        raise RejectedError(f"the answer of {url.host} is larger than {limit} bytes")
                return HttpResponse(response.status, bytes(data), dict(found)), None
        except (ValueError, TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _failed(url, error) from error


def _failed(url: URL, error: Exception) -> BridgeError:
    """What a request that did not work is to the caller."""
    if isinstance(error.__cause__, ForbiddenAddressError):
        return error.__cause__
    if isinstance(error, ValueError):
        # InvalidURL of aiohttp, names that IDNA refuses, headers that cannot be sent.
        return RejectedError(f"the request to {url.host} cannot be made: {type(error).__name__}")
    return TransientError(f"{url.host} does not answer: {type(error).__name__}")


def _refuse(response: aiohttp.ClientResponse, url: URL, limit: int) -> None:
    """Raises when the answer is not the file, or more than is wanted."""
    if response.status == 429:
        raise RateLimitedError(f"{url.host} limits its rate", retry_after(response.headers, _DEFAULT_DELAY))
    if response.status >= 500:
        raise TransientError(f"{url.host} answers {response.status}")
    if response.status != 200:
        raise RejectedError(f"{url.host} does not give the file: {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise RejectedError(f"{url.host} gives the file compressed")
    if response.content_length is not None and response.content_length > limit:
        raise TooLargeError(f"the file of {url.host} is larger than {limit} bytes")


def _address(text: str, base: URL | None = None) -> URL:
    """An address, seen from `base`. Raises RejectedError for what is none."""
    try:
        found = URL(text) if base is None else base.join(URL(text))
        found.origin()  # looks at the port as well
    except ValueError as error:
        raise RejectedError("only plain http and https addresses are fetched") from error
    return found
