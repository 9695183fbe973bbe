"""What strangers' servers answer becomes an error of the contract, whatever they answer."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bridge_core.api.errors import RateLimitedError, RejectedError
from bridge_core.matrix.guarded import GuardedFetch
from bridge_core.matrix.listener import Listener


@pytest.fixture
async def remote() -> AsyncIterator[str]:
    """A server that answers with the status and the header that the query names."""

    async def answer(request: web.Request) -> web.Response:
        name, value = request.query["name"], request.query["value"]
        return web.Response(status=int(request.query["status"]), headers={name: value})

    app = web.Application()
    app.router.add_get("/", answer)
    listener = Listener(app)
    await listener.start()
    yield listener.url
    await listener.stop()


@pytest.fixture
async def fetch() -> AsyncIterator[GuardedFetch]:
    """A fetcher that may reach loopback."""
    fetcher = GuardedFetch(allow_private=True)
    await fetcher.start()
    yield fetcher
    await fetcher.stop()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5.0), ("9" * 9, 600.0), ("9" * 400, 30.0), ("²", 30.0), ("-1", 30.0), ("Fri", 30.0)],
)
async def test_nobody_makes_us_wait_for_ever(remote: str, fetch: GuardedFetch, header: str, seconds: float) -> None:
    """Retry-After counts up to ten minutes, and not at all when it is no number of seconds."""
    with pytest.raises(RateLimitedError) as caught:
        await fetch.request("GET", f"{remote}/?status=429&name=Retry-After&value={header}", limit=10)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("where", ["http://[", "http://a:99999999/", "mailto:x", "http://x..y/", "//[/"])
async def test_addresses_that_are_none_are_refused(remote: str, fetch: GuardedFetch, where: str) -> None:
    """As the address asked for, and as that of a redirect."""
    with pytest.raises(RejectedError):
        await fetch.request("GET", f"{remote}/?status=302&name=Location&value={where}", limit=10)
    with pytest.raises(RejectedError):
        await fetch.request("GET", where, limit=10)


async def test_a_redirect_without_a_host_is_followed(remote: str, fetch: GuardedFetch) -> None:
    """Relative addresses are seen from the page that names them."""
    target = "/%3Fstatus=200%26name=X-Here%26value=yes"
    answer = await fetch.request("GET", f"{remote}/?status=302&name=Location&value={target}", limit=10)
    assert answer.headers is not None
    assert (answer.status, answer.headers["X-Here"]) == (200, "yes")
