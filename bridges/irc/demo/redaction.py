"""REDACT: taking a message back (IRCv3 draft/message-redaction)."""

from __future__ import annotations

from datetime import datetime

from bridges.irc.demo import messages
from bridges.irc.demo.client import Client
from bridges.irc.demo.history import Entry, private_key
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

CAPABILITY = "draft/message-redaction"


def redact(world: World, client: Client, line: Line) -> None:
    """Take a message out of the history and tell those who know how; authors may, and a channel's operators."""
    if CAPABILITY not in client.caps:
        world.numeric(client, 421, "Unknown command", "REDACT")
        return
    if len(line.params) < 2:
        world.numeric(client, 461, "Not enough parameters", "REDACT")
        return
    target, msgid = line.params[:2]
    reason = f" :{line.params[2]}" if len(line.params) > 2 and line.params[2] else ""
    channel = world.channel(target)
    peer = None if channel is not None else world.find(target)
    if (channel is None or client not in channel.members) and peer is None:
        world.fail(client, "REDACT", "INVALID_TARGET", f"You cannot delete messages from {target}", target)
        return
    me = world.identity(client)
    key = world.fold(channel.name) if channel is not None else private_key(me, world.identity(peer) if peer else "")
    entry = world.history.find(msgid)
    if entry is None or entry.key != key:
        text = "This message does not exist or is too old"
        world.fail(client, "REDACT", "UNKNOWN_MSGID", text, target, msgid)
    elif entry.author != me and (channel is None or not channel.is_op(client)):
        text = "You are not authorised to delete this message"
        world.fail(client, "REDACT", "REDACT_FORBIDDEN", text, target, msgid)
    elif _too_late(world, entry):
        window, text = str(int(world.options.redact_window or 0)), "You can no longer delete this message"
        world.fail(client, "REDACT", "REDACT_WINDOW_EXPIRED", text, target, msgid, window)
    else:
        members = [member for member in channel.members if member is not client] if channel is not None else [peer]
        route = messages.Route(
            channel.name if channel is not None else peer.nick if peer is not None else target,
            [member for member in members if member is not None],
            channel,
            peer,
        )
        world.history.remove(entry)
        message = world.message(client.source, f"REDACT {route.target} {msgid}{reason}", sender=client, msgid=True)
        world.tell(route.recipients, message, CAPABILITY)
        messages.remember(world, client, route, "REDACT", message)
        if "echo-message" in client.caps:
            client.send(message)


def _too_late(world: World, entry: Entry) -> bool:
    window = world.options.redact_window
    return window is not None and world.now() - datetime.fromisoformat(entry.time).timestamp() > window
