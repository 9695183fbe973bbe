"""MODE for channels and users (RFC 2812 sections 3.1.5 and 3.2.3; modes as on solanum, InspIRCd and UnrealIRCd)."""

from __future__ import annotations

from bridges.irc.demo import masks
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

#: Numerics of a list's entry and its end.
_LISTS = {"b": (367, 368), "e": (348, 349), "I": (346, 347), "q": (728, 729)}
#: What a half-operator may change, beside lists.
_HALF = "imntv"


def mode(world: World, client: Client, line: Line) -> None:
    """Show or change modes."""
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "MODE")
    elif not world.is_channel(line.params[0]):
        _user_mode(world, client, line)
    else:
        channel = world.channel(line.params[0])
        if channel is None:
            world.numeric(client, 403, "No such channel", line.params[0])
        elif len(line.params) == 1:
            words = channel.mode_words(client in channel.members)
            world.numeric(client, 324, "", channel.name, *words)
            world.numeric(client, 329, "", channel.name, str(channel.created))
        else:
            _channel_mode(world, client, channel, line.params[1:])


def _user_mode(world: World, client: Client, line: Line) -> None:
    if world.find(line.params[0]) is not client:
        world.numeric(client, 502, "Can't change mode for other users")
        return
    if len(line.params) == 1:
        world.numeric(client, 221, "", "+" + "".join(sorted(client.modes)))
        return
    changed = _Changes()
    for adding, letter in _letters(line.params[1]):
        if letter != "i" and letter != world.options.bot_mode:
            world.numeric(client, 501, "Unknown MODE flag")
        elif adding != (letter in client.modes):
            (client.modes.add if adding else client.modes.discard)(letter)
            changed.note(adding, letter)
    if changed.text:
        client.send(world.by(client, f"MODE {client.nick} :{changed.text}"))


class _Changes:
    """Collects what was really changed, in the shortest form: +ov-b with its parameters."""

    def __init__(self) -> None:
        self.text = ""
        self.words: list[str] = []
        self._sign = ""

    def note(self, adding: bool, letter: str, word: str | None = None) -> None:
        sign = "+" if adding else "-"
        if sign != self._sign:
            self.text += sign
            self._sign = sign
        self.text += letter
        if word is not None:
            self.words.append(word)


def _letters(text: str) -> list[tuple[bool, str]]:
    adding = True
    out: list[tuple[bool, str]] = []
    for letter in text:
        if letter in "+-":
            adding = letter == "+"
        else:
            out.append((adding, letter))
    return out


def _channel_mode(world: World, client: Client, channel: Channel, params: list[str]) -> None:
    words = iter(params[1:])
    changed = _Changes()
    for adding, letter in _letters(params[0])[:20]:
        if letter in world.lists:
            word = next(words, None)
            if word is None:
                _show_list(world, client, channel, letter)
                continue
        else:
            takes = letter in world.prefix_modes or letter == "k" or (letter in "fl" and adding)
            word = next(words, "") if takes else None
            if word == "":
                continue
        if not _may_change(world, client, channel, letter):
            world.numeric(client, 482, "You're not channel operator", channel.name)
            break
        _change(world, client, channel, changed, adding, letter, word)
    if changed.text:
        text = " ".join([changed.text, *changed.words])
        note = world.by(client, f"MODE {channel.name} {text}")
        world.tell(channel.members, note)
        world.record(channel, note, "MODE", client)


def _may_change(world: World, client: Client, channel: Channel, letter: str) -> bool:
    if letter in "qa" and letter in world.prefix_modes:
        return "q" in channel.members.get(client, "")
    if channel.is_op(client):
        return True
    return channel.is_half(client) and (letter in _HALF or letter in world.lists)


def _change(
    world: World,
    client: Client,
    channel: Channel,
    changed: _Changes,
    adding: bool,
    letter: str,
    word: str | None,
) -> None:
    if letter in world.prefix_modes and word is not None:
        target = world.find(word)
        if target is None or target not in channel.members:
            world.numeric(client, 441, "They aren't on that channel", word, channel.name)
            return
        held = channel.members[target]
        if adding != (letter in held):
            channel.members[target] = held + letter if adding else held.replace(letter, "")
            changed.note(adding, letter, target.nick)
    elif letter in world.lists and word is not None:
        _change_list(world, client, channel, changed, adding, letter, word)
    elif letter not in world.options.channel_settings + world.options.channel_flags:
        world.numeric(client, 472, "is unknown mode char to me", letter)
    elif letter == "k" and word is not None:
        if " " not in word and "," not in word and not word.startswith(":"):
            channel.key = word if adding else ""
            changed.note(adding, letter, word)
    elif letter == "l":
        if adding and not (word and word.isascii() and word.isdigit()):
            return
        channel.limit = int(word or 0) if adding else 0
        changed.note(adding, letter, word)
    elif letter == "f":
        if adding and world.channel(word or "") is None:
            world.numeric(client, 403, "No such channel", word or "*")
            return
        channel.forward = word or ""
        changed.note(adding, letter, word)
    elif adding != (letter in channel.modes):
        (channel.modes.add if adding else channel.modes.discard)(letter)
        changed.note(adding, letter)


def _change_list(
    world: World, client: Client, channel: Channel, changed: _Changes, adding: bool, letter: str, word: str
) -> None:
    text = masks.complete(world, word)
    folded = world.fold(text)
    known = channel.lists.setdefault(letter, {})
    if adding and folded not in known:
        if len(known) >= world.options.list_length:
            world.numeric(client, 478, "Channel list is full", channel.name, text)
            return
        known[folded] = masks.make(world, text, client.source)
        changed.note(adding, letter, text)
    elif not adding and folded in known:
        changed.note(adding, letter, known.pop(folded).text)


def _show_list(world: World, client: Client, channel: Channel, letter: str) -> None:
    entry, end = _LISTS[letter]
    middle = (channel.name, letter) if letter == "q" else (channel.name,)
    if letter in "eI" and not channel.is_half(client):
        world.numeric(client, 482, "You're not channel operator", channel.name)
        return
    for mask in channel.lists.get(letter, {}).values():
        world.numeric(client, entry, "", *middle, mask.text, mask.by, str(mask.at))
    world.numeric(client, end, "End of channel list", *middle)
