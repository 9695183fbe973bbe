"""WEBIRC: a gateway says where a connection really comes from (IRCv3 webirc)."""

from __future__ import annotations

import hmac

from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import Line, split
from bridges.irc.demo.world import World


def webirc(world: World, client: Client, line: Line) -> None:
    """Take a gateway's word for host, address, security and certificate; ends the connection of who may not say it."""
    expected = world.options.webirc_password
    if client.registered or client.nick != "*" or client.user:
        world.numeric(client, 462, "You may not reregister")
        return
    if len(line.params) < 4:
        world.numeric(client, 461, "Not enough parameters", "WEBIRC")
        return
    password, gateway, host, address = line.params[:4]
    if expected is None or not hmac.compare_digest(password.encode(), expected.encode()):
        world.stats["webirc_refused"] += 1
        world.kill(client, "WEBIRC access denied")
        return
    words = split(line.params[4]) if len(line.params) > 4 else []
    client.webirc = {"gateway": gateway, **{k: v for k, _, v in (word.partition("=") for word in words)}}
    client.host = ("0" if host.startswith(":") else "") + host
    client.ip = address
    # The whole way must be secure: to the gateway, and from there to here.
    client.secure = client.secure and "secure" in client.webirc
    client.certfp = client.webirc.get("certfp-sha-256", "")
