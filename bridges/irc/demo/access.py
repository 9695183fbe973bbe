"""What a channel lets happen: who may come in, and who may speak."""

from __future__ import annotations

from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.masks import Mask
from bridges.irc.demo.world import World


def listed(world: World, client: Client, channel: Channel, letter: str) -> Mask | None:
    """Give the first mask of a list that is about the client."""
    masks = channel.lists.get(letter)
    if not masks:
        return None
    return next((mask for mask in masks.values() if mask.matches(world, client)), None)


def ban(world: World, client: Client, channel: Channel, letter: str = "b") -> Mask | None:
    """Give the ban (or the quiet) in force against the client; an exemption (+e) lifts it."""
    found = listed(world, client, channel, letter)
    return None if found is None or listed(world, client, channel, "e") is not None else found


def refusal(world: World, client: Client, channel: Channel, key: str) -> tuple[int, str] | None:
    """Say why the client may not join: numeric and mode; None when it may. An invitation passes everything."""
    if client in channel.invited:
        return None
    if ban(world, client, channel) is not None:
        return 474, "+b"
    if "i" in channel.modes and listed(world, client, channel, "I") is None:
        return 473, "+i"
    if channel.key and key != channel.key:
        return 475, "+k"
    if channel.limit and len(channel.members) >= channel.limit:
        return 471, "+l"
    if "r" in channel.modes and not client.account:
        return 477, "+r"
    if "S" in channel.modes and not client.secure:
        return 489, "+S"
    return None


def forward(world: World, client: Client, channel: Channel) -> str:
    """Give the channel a refused client is sent to: the ban's own, else that of +f; empty when there is none."""
    found = ban(world, client, channel)
    return (found.forward if found is not None else "") or channel.forward


def may_speak(world: World, client: Client, channel: Channel) -> bool:
    """Say whether what the client says reaches the channel."""
    status = channel.members.get(client)
    if status:
        return True
    if status is None and "n" in channel.modes:
        return False
    if "m" in channel.modes or ("R" in channel.modes and not client.account):
        return False
    return not channel.lists or (ban(world, client, channel) is None and ban(world, client, channel, "q") is None)
