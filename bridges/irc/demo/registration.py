"""Commands of a connection's first moments and its last: CAP, SASL, NICK, USER, PASS, PING, QUIT."""

from __future__ import annotations

import re

from bridges.irc.demo import admission, isupport, monitor
from bridges.irc.demo.client import Client
from bridges.irc.demo.queries import send_motd
from bridges.irc.demo.wire import Line, split, upper
from bridges.irc.demo.world import World

VERSION = "matrix-bridge-demo-ircd-1"
_NICK = re.compile(r"[A-Za-z\[\]\\`_^{|}][A-Za-z0-9\[\]\\`_^{|}\-]*\Z")


def cap(world: World, client: Client, line: Line) -> None:
    """Negotiate capabilities (IRCv3 capability negotiation, version 302)."""
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "CAP")
        return
    sub = upper(line.params[0])
    if sub == "LS":
        client.caps_version = max(client.caps_version, _number(line.params[1] if len(line.params) > 1 else ""))
        if client.caps_version >= 302 and "cap-notify" in world.capabilities:
            client.set_caps(client.caps | {"cap-notify"})
        client.negotiating = client.negotiating or not client.registered
        offered = world.capabilities if client.caps_version >= 302 else world.capabilities - {"sts"}
        _cap_lines(world, client, "LS", [_cap_word(world, name, client) for name in sorted(offered)])
    elif sub == "LIST":
        _cap_lines(world, client, "LIST", sorted(client.caps))
    elif sub == "REQ":
        client.negotiating = client.negotiating or not client.registered
        _cap_request(world, client, line.params[-1])
    elif sub == "END":
        client.negotiating = False
        complete(world, client)
    else:
        world.numeric(client, 410, "Invalid CAP command", sub)


def _cap_request(world: World, client: Client, text: str) -> None:
    words = split(text)
    wanted = {word for word in words if not word.startswith("-")}
    dropped = {word[1:] for word in words if word.startswith("-")}
    if (wanted | dropped) <= world.capabilities - {"sts"}:
        client.set_caps((client.caps | wanted) - dropped)
        world.say(client, f"CAP {client.nick} ACK :{text}")
    else:
        world.say(client, f"CAP {client.nick} NAK :{text}")


def _cap_word(world: World, name: str, client: Client) -> str:
    """Give a capability as LS names it: with its value for those who know version 302."""
    value = world.cap_value(name, client) if client.caps_version >= 302 else ""
    return f"{name}={value}" if value else name


def _cap_lines(world: World, client: Client, sub: str, words: list[str]) -> None:
    """Send a list of capabilities in as many lines as it takes; only version 302 knows the ``*``."""
    lines: list[list[str]] = [[]]
    for word in words:
        if lines[-1] and client.caps_version >= 302 and sum(len(w) + 1 for w in lines[-1]) + len(word) > 380:
            lines.append([])
        lines[-1].append(word)
    for number, chunk in enumerate(lines, 1):
        more = "* " if number < len(lines) else ""
        world.say(client, f"CAP {client.nick} {sub} {more}:{' '.join(chunk)}")


def nick(world: World, client: Client, line: Line) -> None:
    """Take or change the nick (RFC 2812 section 3.1.2)."""
    wanted = line.params[0] if line.params else ""
    if not wanted:
        world.numeric(client, 431, "No nickname given")
        return
    if client.registered:
        wanted = wanted[: world.options.nick_length]
    if not _NICK.match(wanted) or len(wanted) > world.options.nick_length:
        world.numeric(client, 432, "Erroneous nickname", wanted)
        return
    holder = world.find(wanted)
    if holder not in (None, client):
        world.numeric(client, 433, "Nickname is already in use", wanted)
        return
    if wanted == client.nick:
        return
    if client.registered:
        note = world.by(client, f"NICK :{wanted}")
        world.tell({*world.peers(client), client}, note)
        for channel in client.channels.values():
            world.record(channel, note, "NICK", client)
    before = client.nick
    if world.find(before) is client:
        del world.clients[world.fold(before)]
    client.nick = wanted
    world.clients[world.fold(wanted)] = client
    if client.registered and world.fold(before) != world.fold(wanted):
        monitor.offline(world, before)
        monitor.online(world, client)
    complete(world, client)


def user(world: World, client: Client, line: Line) -> None:
    """Take the user name and real name; both are cut to the server's limits."""
    if client.registered:
        world.numeric(client, 462, "You may not reregister")
        return
    if len(line.params) < 4 or not line.params[0]:
        world.numeric(client, 461, "Not enough parameters", "USER")
        return
    name = re.sub(r"[^A-Za-z0-9._\-]", "", line.params[0]) or "user"
    client.user = ("~" + name)[: world.options.user_length]
    client.real = line.params[3][: world.options.real_length]
    complete(world, client)


def password(world: World, client: Client, line: Line) -> None:
    """Take the connection password."""
    if client.registered:
        world.numeric(client, 462, "You may not reregister")
    elif not line.params:
        world.numeric(client, 461, "Not enough parameters", "PASS")
    else:
        client.password = line.params[0]


def ping(world: World, client: Client, line: Line) -> None:
    """Answer with PONG and the same token."""
    if line.params:
        world.say(client, f"PONG {world.options.name} :{line.params[0]}")
    else:
        world.numeric(client, 409, "No origin specified")


def pong(world: World, client: Client, line: Line) -> None:
    """Accept a sign of life; hearing any line is what counts."""


def quit_(world: World, client: Client, line: Line) -> None:
    """Leave the server."""
    reason = "Quit: " + line.params[0] if line.params and line.params[0] else "Client quit"
    world.kill(client, reason)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def complete(world: World, client: Client) -> None:
    """Register the client once nick, user and capabilities are settled, and greet it (001 to 005, MOTD)."""
    if client.registered or client.negotiating or client.checking or client.nick == "*" or not client.user:
        return
    if client.ident:
        client.user = client.ident[: world.options.user_length]
    options = world.options
    if options.password is not None and client.password != options.password:
        world.numeric(client, 464, "Password incorrect")
        world.kill(client, "Bad password")
        return
    refusal = admission.at_registration(world, client)
    if refusal:
        world.stats["refused"] += 1
        world.kill(client, refusal)
        return
    client.registered = True
    monitor.online(world, client)
    world.stats["registrations"] += 1
    world.numeric(client, 1, f"Welcome to the {options.network} IRC network {client.source}")
    world.numeric(client, 2, f"Your host is {options.name}, running version {VERSION}")
    world.numeric(client, 3, "This server was created for a demonstration")
    letters = "".join(sorted({*options.channel_flags, *options.channel_settings, *world.lists, *world.prefix_modes}))
    with_words = "".join(sorted({*options.channel_settings, *world.lists, *world.prefix_modes}))
    world.numeric(client, 4, "", options.name, VERSION, "i" + (options.bot_mode or ""), letters, with_words)
    isupport.send(world, client)
    send_motd(world, client)
