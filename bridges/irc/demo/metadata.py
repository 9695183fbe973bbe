"""METADATA: keys and values of clients and channels (IRCv3 draft/metadata-2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.message import Message
from bridges.irc.demo.wire import Line, upper
from bridges.irc.demo.world import World

CAPABILITY = "draft/metadata-2"
_KEY = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_.:/-]*\Z")
#: Bytes of a value.
_VALUE_LIMIT = 300

Target = Client | Channel


def metadata(world: World, client: Client, line: Line) -> None:
    """Run one subcommand: GET, LIST, SET, CLEAR, SUB, UNSUB, SUBS, SYNC."""
    if CAPABILITY not in client.caps:
        world.numeric(client, 421 if client.registered else 451, "Unknown command", "METADATA")
        return
    if len(line.params) < 2:
        world.numeric(client, 461, "Not enough parameters", "METADATA")
        return
    name, sub, words = line.params[0], upper(line.params[1]), line.params[2:]
    if sub in ("SUB", "UNSUB", "SUBS"):
        _subscriptions(world, client, sub, words)
        return
    target = _find(world, client, name)
    if target is None:
        world.fail(client, "METADATA", "INVALID_TARGET", "invalid metadata target", name)
    elif sub == "GET":
        _answer(world, client, target, words)
    elif sub == "LIST":
        _answer(world, client, target, list(target.metadata))
    elif sub == "SYNC":
        _sync(world, client, target)
    elif sub in ("SET", "CLEAR"):
        if not _may_set(client, target):
            key = words[0] if sub == "SET" and words else "*"
            world.fail(client, "METADATA", "KEY_NO_PERMISSION", "permission denied", _name(target), key)
        elif sub == "CLEAR":
            _clear(world, client, target)
        else:
            _set(world, client, target, words)
    else:
        world.fail(client, "METADATA", "SUBCOMMAND_INVALID", "invalid subcommand", sub)


def _find(world: World, client: Client, name: str) -> Target | None:
    if name == "*":
        return client
    channel = world.channel(name)
    if channel is not None:
        return channel if client in channel.members or not channel.hidden else None
    return world.find(name)


def _may_set(client: Client, target: Target) -> bool:
    return target is client if isinstance(target, Client) else target.is_op(client)


def _name(target: Target) -> str:
    return target.nick if isinstance(target, Client) else target.name


def _answer(world: World, client: Client, target: Target, keys: list[str]) -> None:
    """Send the values of some keys, in a batch."""
    opening, closing = world.batch("metadata", _name(target))
    client.send(opening)
    for key in keys:
        folded = key.lower()
        if not _KEY.match(key):
            text = f"FAIL METADATA KEY_INVALID {key} :invalid key"
        elif folded in target.metadata:
            text = f"761 {client.nick} {_name(target)} {folded} * :{target.metadata[folded]}"
        else:
            text = f"766 {client.nick} {_name(target)} {folded} :no matching key"
        client.send(world.message(world.options.name, text).inside(opening.opens))
    client.send(closing)


def _set(world: World, client: Client, target: Target, words: list[str]) -> None:
    key = words[0].lower() if words else ""
    if not _KEY.match(key):
        world.fail(client, "METADATA", "KEY_INVALID", "invalid key", words[0] if words else "*")
        return
    value = words[1] if len(words) > 1 else ""
    if len(value) > _VALUE_LIMIT:
        world.fail(client, "METADATA", "VALUE_INVALID", "value is too long or not UTF-8")
    elif not value and key not in target.metadata:
        world.fail(client, "METADATA", "KEY_NOT_SET", "key not set", _name(target), key)
    elif value and key not in target.metadata and len(target.metadata) >= world.options.metadata_keys:
        world.fail(client, "METADATA", "LIMIT_REACHED", "metadata limit reached", _name(target))
    else:
        change(world, target, key, value, by=client)
        if value:
            world.numeric(client, 761, value, _name(target), key, "*")
        else:
            world.numeric(client, 766, "no matching key", _name(target), key)


def _clear(world: World, client: Client, target: Target) -> None:
    keys = list(target.metadata)
    for key in keys:
        change(world, target, key, "", by=client)
    _answer(world, client, target, keys)


def change(world: World, target: Target, key: str, value: str, *, by: Client | None = None) -> None:
    """Set or (when empty) take away a value, and tell those who subscribed to the key, but not who did it."""
    if value:
        target.metadata[key] = value
    else:
        target.metadata.pop(key, None)
    if isinstance(target, Channel):
        seeing: Iterable[Client] = target.members
    elif target.registered:
        seeing = {*world.peers(target), *world.watchers(target), target}
    else:
        return
    note = world.message(by.source if by is not None else world.options.name, _line(target, key))
    for other in seeing:
        if other is not by and key in other.subscribed and CAPABILITY in other.caps:
            other.send(note)


def _line(target: Target, key: str) -> str:
    value = target.metadata.get(key)
    return f"METADATA {_name(target)} {key} *" + (f" :{value}" if value is not None else "")


def _subscriptions(world: World, client: Client, sub: str, words: list[str]) -> None:
    if sub == "SUBS":
        if client.subscribed:
            world.numeric(client, 772, " ".join(sorted(client.subscribed)))
        return
    done: list[str] = []
    for word in words:
        key = word.lower()
        if not _KEY.match(key):
            world.fail(client, "METADATA", "KEY_INVALID", "invalid key", word)
        elif sub == "UNSUB":
            client.subscribed.discard(key)
            done.append(key)
        elif key not in client.subscribed and len(client.subscribed) >= world.options.metadata_subs:
            world.fail(client, "METADATA", "TOO_MANY_SUBS", "too many subscriptions", word)
            break
        else:
            client.subscribed.add(key)
            done.append(key)
    if done:
        world.numeric(client, 770 if sub == "SUB" else 771, " ".join(done))
    if sub == "SUB":
        seen: list[Target] = [*client.channels.values(), *world.peers(client)]
        _send(world, client, [(target, key) for target in seen for key in done if key in target.metadata])


def _sync(world: World, client: Client, target: Target) -> None:
    targets: list[Target] = [target, *target.members] if isinstance(target, Channel) else [target]
    pairs = [(one, key) for one in targets for key in sorted(client.subscribed) if key in one.metadata]
    opening, closing = world.batch("metadata", _name(target))
    for message in (opening, *_notes(world, pairs, opening.opens), closing):
        client.send(message)


def joined(world: World, client: Client, channel: Channel) -> None:
    """Tell who joins a channel what it subscribed to, and tell the members what they did about who joins."""
    if CAPABILITY not in world.capabilities:
        return
    if CAPABILITY in client.caps and client.subscribed:
        seen: list[Target] = [channel, *channel.members]
        _send(world, client, [(t, k) for t in seen if t is not client for k in t.metadata if k in client.subscribed])
    for key in client.metadata:
        note = world.message(world.options.name, _line(client, key))
        for member in channel.members:
            if member is not client and key in member.subscribed and CAPABILITY in member.caps:
                member.send(note)


def _send(world: World, client: Client, pairs: list[tuple[Target, str]]) -> None:
    """Send values outside of an answer, in a batch of their own."""
    if pairs:
        opening, closing = world.batch("metadata")
        for message in (opening, *_notes(world, pairs, opening.opens), closing):
            client.send(message)


def _notes(world: World, pairs: list[tuple[Target, str]], within: str) -> list[Message]:
    return [world.message(world.options.name, _line(target, key)).inside(within) for target, key in pairs]
