"""Commands about channels: JOIN, PART, TOPIC, NAMES, LIST, KICK, INVITE, KNOCK."""

from __future__ import annotations

from bridges.irc.demo import access, metadata
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.message import Message
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

#: The names under which servers offer to leave NAMES out of a JOIN; ``capabilities`` may hold any of them.
NO_NAMES = frozenset({"no-implicit-names", "draft/no-implicit-names", "soju.im/no-implicit-names"})


def join(world: World, client: Client, line: Line) -> None:
    """Join a list of channels, each with its key; ``0`` leaves all (RFC 2812 section 3.2.1)."""
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "JOIN")
        return
    if line.params[0] == "0":
        for channel in list(client.channels.values()):
            _leave(world, client, channel, "")
        return
    names = [name for name in line.params[0].split(",") if name]
    keys = line.params[1].split(",") if len(line.params) > 1 else []
    limit = world.options.join_targets
    for number, name in enumerate(names):
        if limit is not None and number >= limit:
            world.numeric(client, 407, "Too many targets", name)
            return
        _join_one(world, client, name, keys[number] if number < len(keys) else "")


def _join_one(world: World, client: Client, name: str, key: str, *, sent_on: bool = False) -> None:
    options = world.options
    if not world.is_channel(name) or len(name) > options.channel_length or set(name) & set("\a ,"):
        world.numeric(client, 403, "No such channel", name)
        return
    folded = world.fold(name)
    channel = world.channels.get(folded)
    if channel is None and folded in world.renamed:
        _renamed(world, client, name, world.renamed[folded], key, sent_on)
        return
    if channel is not None and client in channel.members:
        return
    if len(client.channels) >= options.channels_per_client:
        world.numeric(client, 405, "You have joined too many channels", name)
        return
    if channel is None:
        channel = world.channels[folded] = Channel(name, int(world.now()), modes=set(options.channel_modes))
        modes = "".join(letter for letter in world.prefix_modes if letter in options.founder)
    else:
        refusal = access.refusal(world, client, channel, key)
        if refusal:
            onward = access.forward(world, client, channel)
            if onward and not sent_on and world.fold(onward) != folded:
                world.numeric(client, 470, "Forwarding to another channel", channel.name, onward)
                _join_one(world, client, onward, "", sent_on=True)
            else:
                world.numeric(client, refusal[0], f"Cannot join channel ({refusal[1]})", channel.name)
            return
        modes = ""
    channel.members[client] = modes
    channel.invited.discard(client)
    client.channels[folded] = channel
    world.record(channel, welcome(world, client, channel, list(channel.members)), "JOIN", client)


def _renamed(world: World, client: Client, old: str, new: str, key: str, sent_on: bool) -> None:
    """Answer a JOIN to a channel's old name: a FAIL for those who know RENAME, else 470 and the new channel."""
    text = "The channel has been renamed"
    if "draft/channel-rename" in client.caps:
        world.fail(client, "JOIN", "CHANNEL_RENAMED", text, old, new)
    elif not sent_on:
        world.numeric(client, 470, text, old, new)
        _join_one(world, client, new, key, sent_on=True)


def welcome(world: World, client: Client, channel: Channel, seen_by: list[Client]) -> Message:
    """Tell of a JOIN, and tell the one who joined what there is to know of the channel. Gives the JOIN."""
    plain = world.by(client, f"JOIN {channel.name}")
    extended = world.by(client, f"JOIN {channel.name} {client.account or '*'} :{client.real}")
    for member in seen_by:
        member.send(extended if "extended-join" in member.caps else plain)
    if client.away is not None:
        note = world.by(client, f"AWAY :{client.away}")
        world.tell([m for m in seen_by if m is not client], note, "away-notify")
    if channel.topic:
        send_topic(world, client, channel)
    if NO_NAMES.isdisjoint(client.caps):
        send_names(world, client, channel)
    metadata.joined(world, client, channel)
    return plain


def part(world: World, client: Client, line: Line) -> None:
    """Leave a list of channels."""
    reason = f" :{line.params[1]}" if len(line.params) > 1 and line.params[1] else ""
    for name in line.params[0].split(",") if line.params else []:
        channel = _joined(world, client, name)
        if channel is not None:
            _leave(world, client, channel, reason)
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "PART")


def _leave(world: World, client: Client, channel: Channel, reason: str) -> None:
    note = world.by(client, f"PART {channel.name}{reason}")
    world.tell(channel.members, note)
    world.record(channel, note, "PART", client)
    world.part(client, channel)


def _joined(world: World, client: Client, name: str) -> Channel | None:
    """Look up a channel the client is in; tells it 403 or 442 otherwise."""
    channel = world.channel(name)
    if channel is None:
        world.numeric(client, 403, "No such channel", name)
    elif client not in channel.members:
        world.numeric(client, 442, "You're not on that channel", channel.name)
    else:
        return channel
    return None


def topic(world: World, client: Client, line: Line) -> None:
    """Show or set a channel's topic."""
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "TOPIC")
        return
    channel = _joined(world, client, line.params[0])
    if channel is None:
        return
    if len(line.params) == 1:
        if channel.topic:
            send_topic(world, client, channel)
        else:
            world.numeric(client, 331, "No topic is set", channel.name)
        return
    if "t" in channel.modes and not channel.is_half(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
        return
    channel.topic = line.params[1][: world.options.topic_length]
    channel.topic_by, channel.topic_at = client.source, int(world.now())
    note = world.by(client, f"TOPIC {channel.name} :{channel.topic}")
    world.tell(channel.members, note)
    world.record(channel, note, "TOPIC", client)


def send_topic(world: World, client: Client, channel: Channel) -> None:
    """Send the topic, who set it and when."""
    world.numeric(client, 332, channel.topic, channel.name)
    world.numeric(client, 333, "", channel.name, channel.topic_by, str(channel.topic_at))


def names(world: World, client: Client, line: Line) -> None:
    """List a channel's members."""
    name = line.params[0].split(",")[0] if line.params else "*"
    channel = world.channel(name)
    if channel is None or (channel.hidden and client not in channel.members):
        world.numeric(client, 366, "End of /NAMES list", name)
    else:
        send_names(world, client, channel)


def send_names(world: World, client: Client, channel: Channel) -> None:
    """Send 353 lines that fit the line limit, then 366."""
    every, full = "multi-prefix" in client.caps, "userhost-in-names" in client.caps
    sign = "@" if "s" in channel.modes else "*" if "p" in channel.modes else "="
    room = world.options.line_length - 12 - len(world.options.name + client.nick + channel.name)
    words: list[str] = []
    used = 0
    for member in channel.members:
        word = world.prefix(channel, member, every) + (member.source if full else member.nick)
        if words and used + len(word) + 1 > room:
            world.numeric(client, 353, " ".join(words), sign, channel.name)
            words, used = [], 0
        words.append(word)
        used += len(word) + 1
    if words:
        world.numeric(client, 353, " ".join(words), sign, channel.name)
    world.numeric(client, 366, "End of /NAMES list", channel.name)


def list_(world: World, client: Client, line: Line) -> None:
    """List channels with their size and topic; secret ones only to members."""
    wanted = {world.fold(name) for name in line.params[0].split(",")} if line.params else None
    world.numeric(client, 321, "Users  Name", "Channel")
    for folded, channel in world.channels.items():
        hidden = channel.hidden and client not in channel.members
        if not hidden and (wanted is None or folded in wanted):
            world.say(client, f"322 {client.nick} {channel.name} {len(channel.members)} :{channel.topic}")
    world.numeric(client, 323, "End of /LIST")


def kick(world: World, client: Client, line: Line) -> None:
    """Remove a member from a channel."""
    if len(line.params) < 2:
        world.numeric(client, 461, "Not enough parameters", "KICK")
        return
    channel = _joined(world, client, line.params[0])
    if channel is None:
        return
    if not channel.is_half(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
        return
    target = world.find(line.params[1])
    if target is None or target not in channel.members:
        world.numeric(client, 441, "They aren't on that channel", line.params[1], channel.name)
        return
    if channel.is_op(target) and not channel.is_op(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
        return
    reason = (line.params[2] if len(line.params) > 2 else client.nick)[:255]
    note = world.by(client, f"KICK {channel.name} {target.nick} :{reason}")
    world.tell(channel.members, note)
    world.record(channel, note, "KICK", client)
    world.part(target, channel)


def invite(world: World, client: Client, line: Line) -> None:
    """Invite somebody to a channel, past +i, +k, +l and bans."""
    if len(line.params) < 2:
        world.numeric(client, 461, "Not enough parameters", "INVITE")
        return
    target = world.find(line.params[0])
    if target is None or not target.registered:
        world.numeric(client, 401, "No such nick", line.params[0])
        return
    channel = _joined(world, client, line.params[1])
    if channel is None:
        return
    if target in channel.members:
        world.numeric(client, 443, "is already on channel", target.nick, channel.name)
        return
    if "i" in channel.modes and not channel.is_op(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
        return
    channel.invited.add(target)
    world.numeric(client, 341, "", target.nick, channel.name)
    note = world.by(client, f"INVITE {target.nick} :{channel.name}")
    target.send(note)
    world.tell([m for m in channel.members if m is not client], note, "invite-notify")
    if target.away is not None:
        world.numeric(client, 301, target.away, target.nick)


def knock(world: World, client: Client, line: Line) -> None:
    """Ask the operators of a channel with +i or +k to be let in (no RFC; numerics as ratbox and solanum have them)."""
    if not world.options.knock:
        world.numeric(client, 421, "Unknown command", "KNOCK")
        return
    channel = world.channel(line.params[0]) if line.params else None
    if channel is None:
        world.numeric(client, 403, "No such channel", *line.params[:1])
    elif client in channel.members:
        world.numeric(client, 714, "You are already on that channel.", channel.name)
    elif "i" not in channel.modes and not channel.key:
        world.numeric(client, 713, "Channel is open.", channel.name)
    else:
        words = f"is KNOCKing: {line.params[1]}" if len(line.params) > 1 else "has asked for an invite."
        for member in channel.members:
            if channel.is_op(member):
                world.numeric(member, 710, words, channel.name, channel.name, client.source)
        world.numeric(client, 711, "Your KNOCK has been delivered.", channel.name)
