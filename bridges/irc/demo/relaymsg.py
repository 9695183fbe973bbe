"""RELAYMSG: an operator of a channel speaks under a made-up name with a separator in it (draft/relaymsg)."""

from __future__ import annotations

from bridges.irc.demo import messages
from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

CAPABILITY = "draft/relaymsg"


def relaymsg(world: World, client: Client, line: Line) -> None:
    """Say something as somebody from elsewhere; those with the capability see who relayed it (the tag)."""
    if CAPABILITY not in world.capabilities:
        world.numeric(client, 421, "Unknown command", "RELAYMSG")
        return
    if len(line.params) < 3:
        world.numeric(client, 461, "Not enough parameters", "RELAYMSG")
        return
    target, name, text = line.params[:3]
    channel = world.channel(target)
    if channel is None:
        world.numeric(client, 403, "No such channel", target)
    elif not channel.is_op(client):
        world.fail(client, "RELAYMSG", "PRIVS_NEEDED", "Only channel operators can relay messages", channel.name)
    elif not _is_name(world, name):
        world.fail(client, "RELAYMSG", "INVALID_NICK", "Invalid nickname", name)
    elif not text:
        world.fail(client, "RELAYMSG", "BLANK_MSG", "The message must not be blank")
    else:
        recipients = [member for member in channel.members if member is not client]
        route = messages.Route(channel.name, recipients, channel, None)
        message = world.message(
            f"{name}!relay@{world.options.name}",
            f"PRIVMSG {channel.name} :{text}",
            msgid=True,
            tags=messages.client_tags(world, client, line.tags),
        )
        message.relayed_by = client.nick
        world.stats["messages"] += 1
        world.tell(recipients, message)
        messages.remember(world, client, route, "PRIVMSG", message)
        if "echo-message" in client.caps:
            client.send(message)


def _is_name(world: World, name: str) -> bool:
    """Say whether a name cannot be taken for that of a client: it holds a separator, and nothing that breaks lines."""
    separators = world.options.relaymsg_separators
    return bool(set(name) & set(separators)) and not set(name) & set(" !@*?,:#") and len(name) <= 64
