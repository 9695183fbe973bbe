"""PRIVMSG, NOTICE and TAGMSG: the hot path of the demo server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridges.irc.demo import access, services, speech
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.history import Entry, private_key
from bridges.irc.demo.message import Message
from bridges.irc.demo.speech import Speech
from bridges.irc.demo.wire import Line, escape_tag
from bridges.irc.demo.world import World


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


def client_tags(world: World, client: Client, tags: Mapping[str, str]) -> str:
    """Give the client tags that may go on, as they go onto the wire (IRCv3 message-tags, CLIENTTAGDENY)."""
    if not tags or "message-tags" not in client.caps:
        return ""
    deny = world.options.client_tag_deny
    return ";".join(
        f"{key}={escape_tag(value)}" if value else key
        for key, value in tags.items()
        if key.startswith("+") and not _denied(deny, key[1:])
    )


def _denied(deny: tuple[str, ...], name: str) -> bool:
    return name in deny or ("*" in deny and "-" + name not in deny)


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
    tags = client_tags(world, client, line.tags)
    if command == "TAGMSG" and not tags:
        return
    if services.is_service(world, line.params[0]):
        services.nickserv(world, client, text)
        return
    targets = line.params[0].split(",")
    for target in targets[: world.options.message_targets]:
        route = find_route(world, client, target, quiet)
        if route is not None:
            _deliver(world, client, route, command, text, tags)
    if len(targets) > world.options.message_targets and not quiet:
        world.numeric(client, 407, "Too many targets", targets[world.options.message_targets])


@dataclass(slots=True)
class Route:
    """Where something that was said goes: ``target`` as the recipients see it, without the sender's own echo."""

    target: str
    recipients: Sequence[Client]
    channel: Channel | None
    peer: Client | None


def find_route(world: World, client: Client, target: str, quiet: bool = False) -> Route | None:
    """Find who hears what the client says to a target; None when it may not, which it is told unless ``quiet``."""
    status = world.statuses.get(target[:1], "") if world.is_channel(target[1:]) else ""
    name = target[1:] if status else target
    if not world.is_channel(name):
        peer = world.find(name)
        if peer is None or not peer.registered:
            if not quiet:
                world.numeric(client, 401, "No such nick", name)
            return None
        alone = peer is client and "echo-message" in client.caps
        return Route(peer.nick, () if alone else (peer,), None, peer)
    channel = world.channel(name)
    if channel is None:
        if not quiet:
            world.numeric(client, 403, "No such channel", name)
        return None
    if not access.may_speak(world, client, channel):
        if "z" in channel.modes:
            heard = [member for member in channel.members if channel.is_op(member) and member is not client]
            return Route(world.options.op_moderated_mark + channel.name, heard, channel, None)
        if not quiet:
            world.numeric(client, 404, "Cannot send to channel", channel.name)
        return None
    recipients = [
        member
        for member, modes in channel.members.items()
        if member is not client and not (status and not set(modes) & set(status))
    ]
    return Route(target[: len(target) - len(name)] + channel.name, recipients, channel, None)


def _deliver(world: World, client: Client, route: Route, command: str, text: str, tags: str) -> None:
    tail = f" :{text}" if command != "TAGMSG" else ""
    message = world.message(client.source, f"{command} {route.target}{tail}", sender=client, msgid=True, tags=tags)
    world.stats["messages"] += 1
    world.tell(route.recipients, message, "message-tags" if command == "TAGMSG" else "")
    remember(world, client, route, command, message)
    _answer_away(world, client, route, command)
    if "echo-message" in client.caps:
        client.send(message)


def deliver_speech(world: World, client: Client, route: Route, said: Speech) -> None:
    """Deliver a multiline message: as a batch to those who know it, as lines to the others."""
    batched, plain = said.batched(world), said.plain(world)
    world.stats["messages"] += 1
    heard = [*route.recipients, *((client,) if "echo-message" in client.caps else ())]
    for member in heard:
        for message in batched if speech.knows(member) else plain:
            member.send(message)
    remember(world, client, route, said.command, said)
    _answer_away(world, client, route, said.command)


def remember(world: World, client: Client, route: Route, command: str, content: Message | Speech) -> None:
    """Put something that was said into its conversation's history; what only some of a channel hear is left out."""
    author = world.identity(client)
    if route.channel is not None:
        if route.target == route.channel.name:
            world.history.add(Entry(world.fold(route.channel.name), content, command, author))
    elif route.peer is not None:
        peer = world.identity(route.peer)
        shown = ((author, client.nick), (peer, route.peer.nick))
        world.history.add(Entry(private_key(author, peer), content, command, author, peer, shown))


def _answer_away(world: World, client: Client, route: Route, command: str) -> None:
    if route.peer is not None and route.peer.away is not None and command == "PRIVMSG":
        world.numeric(client, 301, route.peer.away, route.peer.nick)
