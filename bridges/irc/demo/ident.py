"""Asking who is at the other end of a connection (RFC 1413), as many servers do before they let somebody in."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridges.irc.demo.client import Client
    from bridges.irc.demo.world import World

#: What a server believes as a user name.
_USER = re.compile(r"[A-Za-z0-9._\-]{1,32}\Z")


async def ask(world: World, client: Client, ours: int) -> None:
    """Ask the client's host at ``ident_port``; registration waits for it. Takes ``ident_timeout`` seconds at most."""
    ip, theirs = client.address
    world.say(client, "NOTICE * :*** Checking Ident")
    answer = b""
    port = world.options.ident_port
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(world.options.ident_timeout):
            reader, writer = await asyncio.open_connection(ip, port, limit=1024)
            try:
                writer.write(f"{theirs}, {ours}\r\n".encode())
                answer = await reader.readline()
            except ValueError:
                answer = b""
            finally:
                writer.close()
    client.ident = read(answer.decode("latin-1"), theirs, ours)
    client.checking = False
    world.say(client, f"NOTICE * :*** {'Got' if client.ident else 'No'} Ident response")
    world.complete(client)


def read(answer: str, theirs: int, ours: int) -> str:
    """Give the user name of an answer that is for this pair of ports; empty when there is none to be believed."""
    fields = [field.strip() for field in answer.split(":", 3)]
    if len(fields) != 4 or fields[1] != "USERID" or fields[0].replace(" ", "") != f"{theirs},{ours}":
        return ""
    return fields[3] if _USER.match(fields[3]) else ""
