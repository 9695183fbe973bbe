"""Handing mails over on the event loop that the bridge runs on."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
import uvloop

from bridges.email.config.delivery import HostTls
from tests.bridges.email.sink import DROP, Sink
from tests.bridges.email.test_transport import BOB, EVE, Post, codes, contexts


async def _several() -> None:
    async with Sink(extensions=()) as sink:
        post = Post(sink.port)
        raw = b"Subject: x\r\n\r\n" + b"word.\r\n.\r\n" * 100_000
        assert codes(await post.send(BOB, EVE, raw=raw)) == [(250, "2.0.0", False)] * 2
        assert codes(await post.send(raw=raw)) == [(250, "2.0.0", False)]
        assert [mail.data for mail in sink.mails] == [raw, raw]
        assert sink.connections == 1
        await post.transport.close()


async def _lost() -> None:
    async with Sink(extensions=()) as sink:
        post = Post(sink.port)
        sink.say("dot", DROP)
        assert codes(await post.send()) == [(0, "4.4.2", True)]
        sink.say("body", DROP)
        assert codes(await post.send(raw=b"Subject: x\r\n\r\n" + b"word\r\n" * 1_000_000)) == [(0, "4.4.2", False)]
        await post.transport.close()


async def _protected(context: ssl.SSLContext, tls: HostTls, authority: Path) -> None:
    async with Sink(context=context, implicit=tls is HostTls.IMPLICIT, extensions=("AUTH PLAIN",)) as sink:
        post = Post(sink.port, tls, "localhost", smarthost={"user": "me", "password": "x", "ca": str(authority)})
        assert codes(await post.send()) == [(250, "2.0.0", False)]
        assert [mail.tls for mail in sink.mails] == [True]
        await post.transport.close()


def _run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(100):
            await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize("work", [_several, _lost])
def test_it_works_on_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    """Large mails over a connection that is used again, and losses at each end of DATA, as on the other loop."""
    _run(work)


@pytest.mark.parametrize("tls", [HostTls.STARTTLS, HostTls.IMPLICIT])
def test_tls_works_on_uvloop(tls: HostTls, tmp_path: Path) -> None:
    """Both kinds of TLS, as on the other loop."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = contexts(authority, "localhost")
    _run(lambda: _protected(context, tls, tmp_path / "ca.pem"))
