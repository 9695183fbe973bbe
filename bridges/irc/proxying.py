"""Connections through a SOCKS5 proxy: names of servers are resolved by it, so that none is asked for here."""

import asyncio
import socket

from bridges.irc.codec import socks
from bridges.irc.dialing import ConnectError, ConnectFailure, ProxyServer, Route, dial


async def through(host: str, port: int, route: Route, timeout: float) -> socket.socket:
    """A connected, non-blocking socket whose other end is, behind the proxy, the server.

    The caller bounds it by `timeout` seconds. Raises ConnectError: PROXY when the proxy is the trouble, UNREACHABLE
    when it works but did not reach the server.
    """
    proxy = route.proxy
    assert proxy is not None
    try:
        made = await _to(proxy, timeout)
    except ConnectError as error:
        raise ConnectError(ConnectFailure.PROXY, f"the proxy: {error}") from None
    try:
        await _converse(made, host, port, proxy)
    except socks.SocksRefused as error:
        text = f"the proxy {proxy} {error}: {host} port {port}"
        made.close()
        raise ConnectError(ConnectFailure.UNREACHABLE, text) from None
    except (socks.SocksError, OSError) as error:
        made.close()
        raise ConnectError(ConnectFailure.PROXY, f"the proxy {proxy} {_words(error)}") from None
    except BaseException:
        made.close()
        raise
    return made


def _words(error: Exception) -> str:
    if isinstance(error, socks.SocksError):
        return str(error)
    return f"broke the connection: {getattr(error, 'strerror', None) or error}"


async def _to(proxy: ProxyServer, timeout: float) -> socket.socket:
    """A connection to the proxy itself. Raises ConnectError."""
    if proxy.unix is None:
        return await dial(proxy.host, proxy.port, Route(), timeout)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, proxy.unix)
    except OSError as error:
        made.close()
        raise ConnectError(ConnectFailure.PROXY, f"{proxy.unix}: {error.strerror or error}") from None
    except BaseException:
        made.close()
        raise
    return made


async def _converse(made: socket.socket, host: str, port: int, proxy: ProxyServer) -> None:
    """Asks the proxy for the connection. Raises SocksError or OSError."""
    loop = asyncio.get_running_loop()
    steps = socks.connect(host, port, proxy.login)
    send, count = next(steps)
    while True:
        if send:
            await loop.sock_sendall(made, send)
        answer = bytearray()
        while len(answer) < count:
            piece = await loop.sock_recv(made, count - len(answer))
            if not piece:
                raise ConnectionResetError(None, "it closed it")
            answer += piece
        try:
            send, count = steps.send(bytes(answer))
        except StopIteration:
            return
