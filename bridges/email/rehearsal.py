"""Whether mail can come and go, found out before the bridge is started: its files, its doors, its smarthosts.

A door's address is bound and let go, without a connection being taken; one that the running bridge has is known by its
greeting. A smarthost is greeted, TLS begun, the login made, and QUIT said: no mail is begun.
"""

import asyncio
import errno
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bridge_core.api.info import Advice
from bridges.email.config.delivery import Smarthost
from bridges.email.config.network import EmailConfig
from bridges.email.config.receiving import DoorConfig, Tls
from bridges.email.delivery.hops import smarthost_hop
from bridges.email.delivery.wire import NoConnectionError, Wire
from bridges.email.smtp.certificate import unreadable

_MIB: Final = 1_048_576
_CONNECT: Final = 10.0
_COMMAND: Final = 15.0
_WHOLE: Final = 45.0
_GREETING: Final = 5.0
_UNIX: Final = "unix:"


def advice(config: EmailConfig) -> Iterator[Advice]:
    """What the settings and the files they name say by themselves. Reads files."""
    if not config.mailboxes and config.provide.address is None:
        yield Advice("there is no mailbox", "Name one in `mailboxes`, or let users have addresses with `provide`.")
    for address, section in config.mailboxes.items():
        if not section.members:
            yield Advice(f"nobody is a member of {address}", "Name Matrix users in its `members`.")
    words = unreadable(config.receiving)
    if words:
        yield Advice(words, "Correct the path, or let the bridge's user read the file.", grave=True)
    sends = config.delivery
    unserved = [one for one in config.domains if not any(not s.domains or one in s.domains for s in sends.smarthosts)]
    if unserved and not sends.direct:
        yield Advice(
            f"mail from {', '.join(unserved[:10])} has no way out: each mail that is written fails at once",
            "Name a mail server in `delivery.smarthosts`, or set `delivery.direct: true`.",
        )
    most = config.parsing.largest_mib * _MIB
    if most < config.receiving.largest:
        yield Advice(
            f"mails of up to {config.receiving.largest} bytes are accepted (receiving.largest), and those of more than "
            f"{most} are set aside unread (parsing.largest_mib: {config.parsing.largest_mib})",
            f"Set `parsing.largest_mib` to {-(-config.receiving.largest // _MIB)} or more, or `receiving.largest` to "
            f"{most} or less.",
        )


async def wrong(config: EmailConfig) -> list[Advice]:
    """What would keep mail from coming or going now; empty when nothing does. Takes less than a minute."""
    doors = [_door(one, config) for one in config.receiving.doors]
    hosts = [_smarthost(one, number, config) for number, one in enumerate(config.delivery.smarthosts)]
    return [one for one in await asyncio.gather(*doors, *hosts) if one is not None]


async def _door(door: DoorConfig, config: EmailConfig) -> Advice | None:
    where = f"receiving.doors: {door.listen}"
    if door.listen.startswith(_UNIX):
        path = Path(door.listen.removeprefix(_UNIX))
        if not await asyncio.to_thread(path.parent.is_dir):
            return Advice(f"{where}: there is no folder {path.parent}", "Make it, or correct the path.")
        return None
    host, _, port = door.listen.rpartition(":")
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host.strip("[]") or None, int(port), start_serving=False
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await _ours(door, config):
            return None  # The running bridge's.
        return Advice(f"{where} cannot be opened: {_why(error)}", _door_advice(error))
    server.close()
    return None


def _why(error: OSError) -> str:
    return {errno.EADDRINUSE: "another program listens there", errno.EACCES: "permission denied"}.get(
        error.errno or 0, error.strerror or str(error)
    )


def _door_advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "Stop that program (`ss -ltnp` names it), or listen elsewhere."
    if error.errno == errno.EACCES:
        return "Ports below 1024 need CAP_NET_BIND_SERVICE; check as the user that runs the bridge."
    return "Correct the address."


async def _ours(door: DoorConfig, config: EmailConfig) -> bool:
    """Whether what listens there greets by our name."""
    host, _, port = door.listen.rpartition(":")
    address = host.strip("[]")
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    context = None
    if config.receiving.tls_of(door) is Tls.IMPLICIT:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_GREETING):
            reader, writer = await asyncio.open_connection(address, int(port), ssl=context, limit=4096)
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return greeting.split(b" ")[:2] == [b"220", config.hostname.encode()]


async def _smarthost(one: Smarthost, number: int, config: EmailConfig) -> Advice | None:
    where = f"delivery.smarthosts.{number}: {one.host} port {one.port}"
    try:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=one.ca)
    except OSError as error:
        return Advice(
            f"delivery.smarthosts.{number}.ca: {one.ca} cannot be read: {error.strerror or error}", "Correct the path."
        )
    settings = config.delivery.model_copy(update={"connect_timeout": _CONNECT, "command_timeout": _COMMAND})
    try:
        async with asyncio.timeout(_WHOLE):
            wire = await Wire.opened(smarthost_hop(one, context), settings, config.hostname)
            await wire.quit()
    except NoConnectionError as error:
        login = error.reply.status == "4.7.8"
        todo = (
            "See its `user` and `password`." if login else "See its `host`, `port` and `tls`, and the firewall between."
        )
        return Advice(f"{where}: {error.reply.text}", todo)
    except TimeoutError:
        return Advice(f"{where} does not answer like a mail server", "See its `port` and `tls`.")
    return None
