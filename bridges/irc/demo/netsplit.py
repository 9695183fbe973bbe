"""Netsplits: a part of the clients goes behind another server, and comes back (IRCv3 netsplit and netjoin batches)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.message import Message
from bridges.irc.demo.world import World


def split(near: World, leaving: Sequence[Client], name: str) -> World:
    """Take clients out of a world into one of their own, with their channels; each side sees the other quit.

    The quits' reason names the two servers; who knows ``batch`` gets them in a netsplit batch.
    """
    far = near.beside(replace(near.options, name=name))
    gone = set(leaving)
    staying = [client for client in near.clients.values() if client not in gone]
    reason = f"{near.options.name} {name}"
    for one, others in ((leaving, staying), (staying, leaving)):
        quits = {client: near.by(client, f"QUIT :{reason}") for client in one if client.registered}
        for client in others:
            seen = near.peers(client)
            _tell(near, client, "netsplit", [quits[other] for other in quits if other in seen], name)
    for channel in list(near.channels.values()):
        moved = {client: modes for client, modes in channel.members.items() if client in gone}
        if not moved:
            continue
        folded = near.fold(channel.name)
        copy = far.channels[folded] = replace(
            channel,
            members=moved,
            modes=set(channel.modes),
            lists={letter: dict(masks) for letter, masks in channel.lists.items()},
            metadata=dict(channel.metadata),
            invited=channel.invited & gone,
        )
        for client in moved:
            client.channels[folded] = copy
            del channel.members[client]
        if not channel.members:
            del near.channels[folded]
    for client in leaving:
        _move(client, near, far)
    return far


def heal(near: World, far: World) -> None:
    """Bring everybody back: the channels become one again, each side sees the other join.

    Of two with the same nick the one behind the far server is killed. The near side's topics and modes stay.
    """
    for client in list(far.clients.values()):
        if near.find(client.nick) is not None:
            far.kill(client, "Nick collision")
    for link in [link for link in far.links if link.client is None or far.find(link.client.nick) is not link.client]:
        far.links.discard(link)
        link.world = near
        near.links.add(link)
    back = list(far.clients.values())
    lines: dict[Client, list[Message]] = {}
    for folded, theirs in far.channels.items():
        ours = near.channels.setdefault(folded, replace(theirs, members={}))
        before, come = dict(ours.members), dict(theirs.members)
        ours.members.update(come)
        for client in come:
            client.channels[folded] = ours
        for others, comers in ((before, come), (come, before)):
            for client in others:
                lines.setdefault(client, []).extend(_joins(near, client, ours, comers))
    for client in back:
        _move(client, far, near)
    if near.links:
        near.empty.clear()
    for client, seen in lines.items():
        _tell(near, client, "netjoin", seen, far.options.name)


def _joins(near: World, to: Client, channel: Channel, comers: dict[Client, str]) -> list[Message]:
    """Give the lines that tell somebody who is back in a channel, with their status."""
    lines = []
    for client in comers:
        tail = f" {client.account or '*'} :{client.real}" if "extended-join" in to.caps else ""
        lines.append(near.by(client, f"JOIN {channel.name}{tail}"))
    for client, modes in comers.items():
        if modes:
            words = " ".join([client.nick] * len(modes))
            lines.append(near.message(near.options.name, f"MODE {channel.name} +{modes} {words}"))
    return lines


def _tell(near: World, client: Client, kind: str, lines: Sequence[Message], far: str) -> None:
    if not lines:
        return
    if "batch" not in client.caps:
        for line in lines:
            client.send(line)
        return
    opening, closing = near.batch(kind, near.options.name, far)
    client.send(opening)
    for line in lines:
        client.send(line.inside(opening.opens))
    client.send(closing)


def _move(client: Client, source: World, target: World) -> None:
    folded = source.fold(client.nick)
    del source.clients[folded]
    target.clients[folded] = client
    source.links.discard(client.link)
    target.links.add(client.link)
    client.link.world = target
