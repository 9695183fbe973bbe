"""MONITOR: who of some nicks is here (IRCv3 monitor; extended-monitor is in World.observers)."""

from __future__ import annotations

from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import Line, upper
from bridges.irc.demo.world import World


def monitor(world: World, client: Client, line: Line) -> None:
    """Change or show the client's list."""
    limit = world.options.monitor
    if limit is None:
        world.numeric(client, 421, "Unknown command", "MONITOR")
        return
    sub = upper(line.params[0]) if line.params else ""
    nicks = [nick for nick in line.params[1].split(",") if nick] if len(line.params) > 1 else []
    if sub == "+":
        _add(world, client, nicks, limit)
    elif sub == "-":
        for nick in nicks:
            _remove(world, client, world.fold(nick))
    elif sub == "C":
        for folded in list(client.monitored):
            _remove(world, client, folded)
    elif sub == "L":
        if client.monitored:
            world.numeric(client, 732, ",".join(client.monitored.values()))
        world.numeric(client, 733, "End of MONITOR list")
    elif sub == "S":
        _status(world, client, list(client.monitored.values()))
    else:
        world.numeric(client, 461, "Not enough parameters", "MONITOR")


def _add(world: World, client: Client, nicks: list[str], limit: int) -> None:
    for number, nick in enumerate(nicks):
        if len(client.monitored) >= limit and world.fold(nick) not in client.monitored:
            world.numeric(client, 734, "Monitor list is full", str(limit), ",".join(nicks[number:]))
            nicks = nicks[:number]
            break
        client.monitored[world.fold(nick)] = nick
        world.monitors.setdefault(world.fold(nick), set()).add(client)
    _status(world, client, nicks)


def _remove(world: World, client: Client, folded: str) -> None:
    if client.monitored.pop(folded, None) is not None:
        world.monitors[folded].discard(client)


def _status(world: World, client: Client, nicks: list[str]) -> None:
    found = [(nick, world.find(nick)) for nick in nicks]
    here = [other.source for _, other in found if other is not None and other.registered]
    gone = [nick for nick, other in found if other is None or not other.registered]
    for code, words in ((730, here), (731, gone)):
        for start in range(0, len(words), 8):
            world.numeric(client, code, ",".join(words[start : start + 8]))


def online(world: World, client: Client) -> None:
    """Tell those who watch the client's nick that it is here."""
    for watcher in world.monitors.get(world.fold(client.nick), ()):
        world.numeric(watcher, 730, client.source)


def offline(world: World, nick: str) -> None:
    """Tell those who watch a nick that nobody has it."""
    for watcher in world.monitors.get(world.fold(nick), ()):
        world.numeric(watcher, 731, nick)
