"""RENAME: a channel gets another name (IRCv3 draft/channel-rename)."""

from __future__ import annotations

from bridges.irc.demo import channels
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

CAPABILITY = "draft/channel-rename"


def rename(world: World, client: Client, line: Line) -> None:
    """Rename a channel, for its operators; members that do not know RENAME see a PART and a JOIN."""
    if CAPABILITY not in world.capabilities:
        world.numeric(client, 421, "Unknown command", "RENAME")
        return
    if len(line.params) < 2:
        world.numeric(client, 461, "Not enough parameters", "RENAME")
        return
    old, new = line.params[:2]
    channel = world.channel(old)
    if channel is None:
        world.numeric(client, 403, "No such channel", old)
    elif client not in channel.members:
        world.numeric(client, 442, "You're not on that channel", channel.name)
    elif not channel.is_op(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
    elif new[:1] != old[:1] or len(new) > world.options.channel_length or set(new) & set("\a ,"):
        world.fail(client, "RENAME", "CANNOT_RENAME", "The channel cannot be renamed", old, new)
    elif world.channel(new) not in (None, channel):
        world.fail(client, "RENAME", "CHANNEL_NAME_IN_USE", "The channel name is already taken", old, new)
    else:
        change(world, client, channel, new, line.params[2] if len(line.params) > 2 else "")


def change(world: World, client: Client, channel: Channel, new: str, reason: str) -> None:
    """Carry a rename out: members, modes, topic and history stay; the old name leads to the new one."""
    old, before, after = channel.name, world.fold(channel.name), world.fold(new)
    cased_only = before == after
    del world.channels[before]
    for member in channel.members:
        del member.channels[before]
        member.channels[after] = channel
    world.history.rename(before, after)
    knows = [member for member in channel.members if CAPABILITY in member.caps]
    others = [member for member in channel.members if CAPABILITY not in member.caps]
    if not cased_only:
        for member in others:
            member.send(world.by(member, f"PART {old}{' :' + reason if reason else ''}"))
        if world.options.renamed_channels:
            world.renamed[before] = new
    world.renamed.pop(after, None)
    channel.name = new
    world.channels[after] = channel
    world.tell(knows, world.by(client, f"RENAME {old} {new} :{reason}"))
    if not cased_only:
        for member in others:
            channels.welcome(world, member, channel, [member])
