"""Connections through a SOCKS5 proxy, on both event loops and through the adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.network import LoginStatus
from bridges.irc.dialing import ConnectError, ConnectFailure, ProxyServer, Route
from tests.bridges.irc.fronts import Listener, Reader, Socks, Writer
from tests.bridges.irc.rig import StartRig, StartServer
from tests.bridges.irc.test_transport import Peer, Pki, Run, echo, failure_of, pki, run, serving, silent

__all__ = ["pki", "run"]


@pytest_asyncio.fixture
async def listening() -> AsyncIterator[Callable[..., Any]]:
    """Starts listeners and stops them at the end."""
    made: list[Listener] = []

    async def start(listener: Listener, **how: Any) -> Listener:
        made.append(listener)
        await listener.listen(**how)
        return listener

    yield start
    for one in made:
        await one.stop()


@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("unix", [False, True])
def test_lines_through_a_proxy(run: Run, pki: Pki, tmp_path: Path, secured: bool, unix: bool) -> None:
    """By port or by socket, with TLS to the server itself; the proxy resolves its name, which is unknown here."""

    async def main() -> None:
        async with serving(echo, pki.server if secured else None) as port:
            proxy = Socks({"hidden.invalid": port, "localhost": port}, (b"user", b"pass word"))
            path = tmp_path / "socks"
            await proxy.listen(unix=path if unix else None)
            name = "localhost" if secured else "hidden.invalid"
            server = ProxyServer("127.0.0.1", proxy.port, str(path) if unix else None, (b"user", b"pass word"))
            peer = Peer(7000, pki.settings() if secured else None, host=name, route=Route(proxy=server))
            await peer.connection.open(5)
            peer.connection.write(b"PING 1\r\n")
            await peer.until(lambda: peer.lines == [b"PING 1"])
            assert proxy.asked == [(name, 7000)]
            await peer.connection.close(5)
            await proxy.stop()

    run(main())


async def trouble(proxy: ProxyServer, host: str = "hidden.invalid", timeout: float = 5) -> ConnectError:
    return await failure_of(Peer(7000, host=host, route=Route(proxy=proxy)), timeout)


def test_trouble_with_the_proxy_is_told_from_trouble_behind_it(run: Run, tmp_path: Path) -> None:
    """An admin reads whether the proxy is away, refuses us, or could not reach the server."""

    async def main() -> None:
        proxy = Socks({}, (b"user", b"right"))
        await proxy.listen()
        error = await trouble(ProxyServer("127.0.0.1", proxy.port, None, (b"user", b"right")))
        assert error.failure is ConnectFailure.UNREACHABLE
        assert "the host is unreachable: hidden.invalid port 7000" in str(error)
        error = await trouble(ProxyServer("127.0.0.1", proxy.port, None, (b"user", b"wrong")))
        assert (error.failure, "refuses user and password" in str(error)) == (ConnectFailure.PROXY, True)
        error = await trouble(ProxyServer("127.0.0.1", proxy.port))
        assert (error.failure, "wants a login" in str(error)) == (ConnectFailure.PROXY, True)
        await proxy.stop()
        error = await trouble(ProxyServer("127.0.0.1", proxy.port))
        assert (error.failure, "refuses connections" in str(error)) == (ConnectFailure.PROXY, True)
        error = await trouble(ProxyServer(unix=str(tmp_path / "none")))
        assert (error.failure, "No such file" in str(error)) == (ConnectFailure.PROXY, True)

    run(main())


def test_names_that_a_proxy_cannot_be_asked_for(run: Run) -> None:
    """A name longer than the protocol's 255 bytes is never sent cut."""

    async def main() -> None:
        proxy = Socks({})
        await proxy.listen()
        error = await trouble(ProxyServer("127.0.0.1", proxy.port), host="x" * 300)
        assert (error.failure, "cannot be asked" in str(error)) == (ConnectFailure.PROXY, True)
        assert proxy.asked == []
        await proxy.stop()

    run(main())


@pytest.mark.parametrize(
    "said", [b"", b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x04\x00", b"\x05\xff", b"\x05\x00\x05"]
)
def test_what_is_no_proxy_fails_in_words(run: Run, said: bytes) -> None:
    """Whatever answers instead of a proxy, the opening fails as the proxy's trouble."""

    async def answer(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        writer.write(said)

    async def main() -> None:
        async with serving(answer) as port:
            assert (await trouble(ProxyServer("127.0.0.1", port))).failure is ConnectFailure.PROXY

    run(main())


def test_a_proxy_that_never_answers_is_given_up(run: Run) -> None:
    """The time to connect holds for the proxy's part too."""

    async def main() -> None:
        async with serving(silent) as port:
            error = await trouble(ProxyServer("127.0.0.1", port), timeout=0.2)
            assert error.failure is ConnectFailure.TIMEOUT

    run(main())


async def test_every_connection_goes_through_the_proxy(
    rig: StartRig, serve: StartServer, listening: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot's and the users', each with credentials of its own, and no name is ever looked up here."""
    server = await serve()
    proxy = Socks({"hidden.onion": server.port or 0})
    proxy.any_login = True
    await listening(proxy)
    looked_up: list[str] = []
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def note(host: Any, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return await resolve(host, *rest, **more)

    monkeypatch.setattr(loop, "getaddrinfo", note)
    adapter = await rig(
        6667,
        host="hidden.onion",
        proxy={"host": "127.0.0.1", "port": proxy.port, "isolate": True},
    )
    await adapter.puppet("@anna:hs.test")
    await adapter.puppet("@ben:hs.test")
    assert proxy.asked == [("hidden.onion", 6667)] * 3
    assert proxy.logins == [(b"matrix", b"matrix"), (b"anna", b"matrix"), (b"ben", b"matrix")]
    assert set(looked_up) == {"127.0.0.1"}
    assert (await adapter.inbox.status(LoginStatus.CONNECTED)).status is LoginStatus.CONNECTED
