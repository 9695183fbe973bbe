"""PRIVMSG, NOTICE and TAGMSG: the hot path of the demo server."""

from __future__ import annotations

from bridges.irc.demo.channels import is_banned
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.wire import Line, escape_tag
from bridges.irc.demo.world import World

_PREFIXES = {"@": "o", "+": "ov"}


def privmsg(world: World, client: Client, line: Line) -> None:
    """Relay a message."""
    _relay(world, client, line, "PRIVMSG")


def notice(world: World, client: Client, line: Line) -> None:
    """Relay a notice; it is never answered with an error (RFC 2812 section 3.3.2)."""
    _relay(world, client, line, "NOTICE")


def tagmsg(world: World, client: Client, line: Line) -> None:
    """Relay tags without text to those who know message-tags."""
    if "message-tags" in client.caps:
        _relay(world, client, line, "TAGMSG")
    else:
        world.numeric(client, 421, "Unknown command", "TAGMSG")


def _relay(world: World, client: Client, line: Line, command: str) -> None:
    quiet = command == "NOTICE"
    needed = 1 if command == "TAGMSG" else 2
    if not line.params:
        if not quiet:
            world.numeric(client, 411, f"No recipient given ({command})")
        return
    if len(line.params) < needed or (needed == 2 and not line.params[1]):
        if not quiet:
            world.numeric(client, 412, "No text to send")
        return
    text = line.params[1] if needed == 2 else ""
    tags = ""
    if line.tags and "message-tags" in client.caps:
        tags = ";".join(
            f"{key}={escape_tag(value)}" if value else key for key, value in line.tags.items() if key.startswith("+")
        )
    if command == "TAGMSG" and not tags:
        return
    targets = line.params[0].split(",")
    for target in targets[: world.options.message_targets]:
        _relay_one(world, client, command, target, text, tags, quiet)
    if len(targets) > world.options.message_targets and not quiet:
        world.numeric(client, 407, "Too many targets", targets[world.options.message_targets])


def _relay_one(world: World, client: Client, command: str, target: str, text: str, tags: str, quiet: bool) -> None:
    status = _PREFIXES.get(target[:1], "") if target[1:2] == "#" else ""
    name = target[1:] if status else target
    tail = f" :{text}" if command != "TAGMSG" else ""
    needs = "message-tags" if command == "TAGMSG" else ""
    if name.startswith("#"):
        channel = world.channel(name)
        if channel is None:
            if not quiet:
                world.numeric(client, 403, "No such channel", name)
            return
        if not _may_speak(world, client, channel):
            if not quiet:
                world.numeric(client, 404, "Cannot send to channel", channel.name)
            return
        shown = target[: len(target) - len(name)] + channel.name
        message = world.message(client.source, f"{command} {shown}{tail}", sender=client, msgid=True, tags=tags)
        world.stats["messages"] += 1
        for member, modes in channel.members.items():
            if member is client or (status and not set(modes) & set(status)):
                continue
            if not needs or needs in member.caps:
                member.send(message)
    else:
        peer = world.find(name)
        if peer is None or not peer.registered:
            if not quiet:
                world.numeric(client, 401, "No such nick", name)
            return
        message = world.message(client.source, f"{command} {peer.nick}{tail}", sender=client, msgid=True, tags=tags)
        world.stats["messages"] += 1
        if peer is not client or "echo-message" not in client.caps:
            world.tell((peer,), message, needs)
        if peer.away is not None and command == "PRIVMSG":
            world.numeric(client, 301, peer.away, peer.nick)
    if "echo-message" in client.caps:
        client.send(message)


def _may_speak(world: World, client: Client, channel: Channel) -> bool:
    modes = channel.members.get(client)
    if modes:
        return True
    if modes is None and "n" in channel.modes:
        return False
    return "m" not in channel.modes and not (channel.bans and is_banned(world, client, channel))
