"""Who may be on the server: bans (K, G, Z, X), limits of class, host and server, throttling, and too many lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bridges.irc.demo.options import ServerBan
from bridges.irc.demo.wire import glob

if TYPE_CHECKING:
    from bridges.irc.demo.client import Client
    from bridges.irc.demo.world import World

#: What is said at the end of a connection for each kind of ban; solanum's words, which most servers resemble.
_WORDS = {"K": "K-Lined", "G": "G-Lined", "Z": "Z-Lined", "X": "Bad user info"}


def at_connect(world: World, client: Client) -> str:
    """Say why a new connection is ended before a word is read; empty when it is not."""
    faults = world.faults
    if faults.throttle is not None and _too_fast(world, client, *faults.throttle):
        return "Reconnecting too fast, throttled."
    if faults.server_limit is not None and len(world.links) > faults.server_limit:
        return f"Closing Link: {client.ip} (This server is full.)"
    if any(_matches(world, client, ban) for ban in faults.bans if ban.kind == "Z"):
        return f"Closing Link: {client.ip} (Z-Lined)"
    return ""


def at_registration(world: World, client: Client) -> str:
    """Say why a client is not let in after it said who it is; empty when it is."""
    faults = world.faults
    same = sum(1 for link in world.links if link.client is not None and link.client.ip == client.ip)
    if faults.host_limit is not None and same > faults.host_limit:
        return "Too many host connections (local)"
    if faults.class_limit is not None and world.count_registered() >= faults.class_limit:
        return "No more connections allowed in your connection class"
    for ban in faults.bans:
        if _matches(world, client, ban):
            return refuse(world, client, ban)
    return ""


def refuse(world: World, client: Client, ban: ServerBan) -> str:
    """Tell a banned client why (465; an X-line and a Z-line say nothing before the end); gives the last words."""
    if ban.kind in "KG":
        world.numeric(client, 465, f"You are banned from this server- {ban.reason}")
    return _WORDS[ban.kind]


def banned(world: World, ban: ServerBan) -> list[Client]:
    """List the registered clients a ban is about."""
    return [client for client in world.clients.values() if client.registered and _matches(world, client, ban)]


def _matches(world: World, client: Client, ban: ServerBan) -> bool:
    pattern = glob(world.fold(ban.mask))
    if ban.kind == "X":
        return bool(pattern.match(world.fold(client.real)))
    if ban.kind == "Z":
        return bool(pattern.match(client.ip))
    return any(pattern.match(world.fold(f"{client.user}@{end}")) for end in (client.host, client.ip))


def _too_fast(world: World, client: Client, count: int, seconds: float) -> bool:
    seen = world.arrivals.setdefault(client.ip, deque(maxlen=count))
    now = world.now()
    fast = len(seen) == count and now - seen[0] < seconds
    if not fast:
        seen.append(now)
    return fast
