"""Media links: signed, expiring, revocable, harmless in a browser."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.matrix.link_tokens import BadTokenError, LinkedFile, LinkTokens
from bridge_core.matrix.links import MediaLinks
from bridge_core.matrix.listener import Listener
from tests.unit.matrix.doubles import Clock

MXC = "mxc://hs.test/AbC_-123"
SECRET = b"0123456789abcdef0123"


class Files:
    """Gives `data` for every address; raises `error` before or after the first chunk."""

    def __init__(self) -> None:
        self.data = b"bytes"
        self.error: BridgeError | None = None
        self.late: BridgeError | None = None
        self.asked: list[str] = []

    async def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        self.asked.append(mxc)
        if self.error is not None:
            raise self.error
        if self.data:
            yield self.data
        if self.late is not None:
            raise self.late


class Revoked:
    """Revocations in memory, or out of order."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.broken = False

    async def revoked(self, mxc: str) -> bool:
        if self.broken:
            raise TransientError("the database is away")
        return mxc in self.known


class Served:
    """Links with everything around them."""

    def __init__(self, lifetime: int | None) -> None:
        self.clock, self.files, self.revoked = Clock(), Files(), Revoked()
        self.session: aiohttp.ClientSession
        self.links: MediaLinks
        self.lifetime = lifetime

    def make(self, public: str, secret: bytes = SECRET) -> MediaLinks:
        """The service, as after a restart too."""
        return MediaLinks(
            public=public,
            secret=secret,
            download=self.files.download,
            revocations=self.revoked,
            clock=self.clock,
            lifetime=self.lifetime,
        )

    async def get(self, url: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        """Status, bytes, headers."""
        async with self.session.request(method, url) as response:
            return response.status, await response.read(), dict(response.headers)


@asynccontextmanager
async def serve(lifetime: int | None = None) -> AsyncIterator[Served]:
    """A running service."""
    served = Served(lifetime)
    # The address is known only when it listens.
    listener = Listener(served.make("http://unused").application())
    await listener.start()
    served.links = served.make(listener.url + "/")
    async with aiohttp.ClientSession() as served.session:
        yield served
    await listener.stop()


async def test_a_link_leads_to_its_file() -> None:
    """GET gives the bytes, HEAD the headers without fetching."""
    async with serve() as at:
        url = at.links.url(MXC, "cat ä.png", "image/png")
        status, body, headers = await at.get(url)
        assert (status, body, headers["Content-Type"]) == (200, b"bytes", "image/png")
        assert at.files.asked == [MXC]
        status, body, headers = await at.get(url, "HEAD")
        assert (status, body, headers["Content-Type"]) == (200, b"", "image/png")
        assert at.files.asked == [MXC]


async def test_links_are_short_enough_for_a_chat_line() -> None:
    """Under 250 characters without the public address."""
    links = Served(3600).make("")
    assert len(links.url("mxc://matrix.example.org/" + "a" * 24, "photo.jpg", "image/jpeg")) < 250


@pytest.mark.parametrize(
    "mime", ["text/html", "image/svg+xml", "application/pdf", "application/xhtml+xml", "text/xml", "x", "IMAGE/SVG+XML"]
)
async def test_what_a_browser_could_run_is_an_attachment(mime: str) -> None:
    """Of no type a browser opens, whatever the sender said."""
    async with serve() as at:
        _, _, headers = await at.get(at.links.url(MXC, "x.html", mime))
        assert headers["Content-Disposition"].startswith("attachment;")
        assert headers["Content-Type"] == "application/octet-stream"


async def test_answers_are_locked_down() -> None:
    """nosniff, a sandbox without sources, no cookies, no referrer."""
    async with serve() as at:
        for mime in ("image/png", "text/html"):
            _, _, headers = await at.get(at.links.url(MXC, "x", mime))
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "Set-Cookie" not in headers


async def test_an_expiring_link_works_until_it_expires() -> None:
    """The signature is over the expiry in the link, not over one made when it is opened (a bug of a known bridge)."""
    async with serve(lifetime=100) as at:
        url = at.links.url(MXC, "x.png", "image/png")
        for seconds, status in ((0, 200), (1, 200), (50, 200), (48, 200), (1, 410), (10_000, 410)):
            at.clock.now += seconds * 1000
            assert (await at.get(url))[0] == status
        assert (await at.get(at.links.url(MXC, "x.png", "image/png")))[0] == 200


async def test_links_outlive_a_restart_and_not_another_secret() -> None:
    """The same secret reads them, another does not."""
    async with serve() as at:
        other = at.make(at.links._public, b"another secret of some length")
        again = at.make(at.links._public)
        assert (await at.get(again.url(MXC, "x", "a/b")))[0] == 200
        assert (await at.get(other.url(MXC, "x", "a/b")))[0] == 404


async def test_a_revoked_file_is_gone() -> None:
    """410 without fetching; when it is not known whether, the file is held back."""
    async with serve() as at:
        url = at.links.url(MXC, "x", "image/png")
        at.revoked.known.add(MXC)
        assert (await at.get(url))[0] == 410
        at.revoked.known.clear()
        at.revoked.broken = True
        assert (await at.get(url))[0] == 503
        assert at.files.asked == []


async def test_a_changed_link_is_unknown() -> None:
    """No bit of token or name may change: it is never an open proxy."""
    async with serve() as at:
        url = at.links.url(MXC, "cat.png", "image/png")
        base, token, name = url.rsplit("/", 2)
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        changed = [bytes([*raw[:i], raw[i] ^ 1, *raw[i + 1 :]]) for i in range(len(raw))]
        tokens = [base64.urlsafe_b64encode(other).decode().rstrip("=") for other in changed]
        tokens += [
            "",
            "x",
            token[:-1],
            token + "A",
            token + "=",
            "ä",
            "." * 3000,
            base64.urlsafe_b64encode(raw[:16]).decode(),
        ]
        for other in tokens:
            assert (await at.get(f"{base}/{quote(other)}/{name}"))[0] == 404
        for other in ("cat.html", "cat.pn", "Cat.png"):
            assert (await at.get(f"{base}/{token}/{other}"))[0] == 404
        assert at.files.asked == []


def test_tokens_hold_what_was_put_in() -> None:
    """Whole, for each name its own."""
    tokens = LinkTokens(SECRET)
    file = LinkedFile(MXC, "image/png", 2_000_000_000)
    assert tokens.read(tokens.make(file, "a"), "a") == file
    with pytest.raises(BadTokenError):
        tokens.read(tokens.make(file, "a"), "b")
    with pytest.raises(ValueError, match="16 bytes"):
        LinkTokens(b"short")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie_x"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", "file"),
        ("...", "file"),
        ("\ud800", "file"),
        ('a"b;c.png', "a_b;c.png"),
        ("x" * 500 + ".jpeg", "x" * 75 + ".jpeg"),
        ("ü" * 300, "ü" * 80),
    ],
)
async def test_names_are_made_harmless(name: str, shown: str) -> None:
    """No paths, no headers, no reversed endings, bounded, the ending kept."""
    async with serve() as at:
        url = at.links.url(MXC, name, "application/zip")
        assert url.endswith("/" + quote(shown))
        status, _, headers = await at.get(url)
        assert status == 200
        assert f"filename*=UTF-8''{quote(shown, safe='')}" in headers["Content-Disposition"]


async def test_failures_are_told_by_status() -> None:
    """404 for what is refused, 503 for what may work later, a broken connection once bytes went out."""
    async with serve() as at:
        url = at.links.url(MXC, "x", "image/png")
        at.files.error = RejectedError("x")
        assert (await at.get(url))[0] == 404
        at.files.error = TransientError("x")
        status, _, headers = await at.get(url)
        assert (status, headers["Retry-After"]) == (503, "10")
        at.files.error, at.files.late = None, TransientError("x")
        with pytest.raises(aiohttp.ClientError):
            await at.get(url)
        at.files.late, at.files.data = None, b""
        assert (await at.get(url))[:2] == (200, b"")


async def test_other_methods_and_addresses_are_refused() -> None:
    """POST is 405, anything else 404, what is no mxc address is never signed."""
    async with serve() as at:
        url = at.links.url(MXC, "x", "image/png")
        assert (await at.get(url, "POST"))[0] == 405
        assert (await at.get(url + "/more"))[0] == 404
        for bad in ("http://169.254.169.254/x", "mxc://hs/../x", "mxc://hs/a b", ""):
            with pytest.raises(RejectedError):
                at.links.url(bad, "x", "a/b")
