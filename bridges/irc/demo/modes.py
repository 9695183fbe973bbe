"""MODE for channels and users (RFC 2812 sections 3.1.5 and 3.2.3; the minimum a bridge meets)."""

from __future__ import annotations

from bridges.irc.demo.channels import add_ban, complete_mask
from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

FLAGS = "imnst"


def mode(world: World, client: Client, line: Line) -> None:
    """Show or change modes."""
    if not line.params:
        world.numeric(client, 461, "Not enough parameters", "MODE")
    elif not line.params[0].startswith("#"):
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
        if letter not in "iB":
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
        if letter == "b":
            word = next(words, None)
            if word is None:
                _list_bans(world, client, channel)
                continue
        else:
            takes = letter in "ovk" or (letter == "l" and adding)
            word = next(words, "") if takes else None
            if word == "":
                continue
        if not channel.is_op(client):
            world.numeric(client, 482, "You're not channel operator", channel.name)
            break
        _change(world, client, channel, changed, adding, letter, word)
    if changed.text:
        text = " ".join([changed.text, *changed.words])
        note = world.by(client, f"MODE {channel.name} {text}")
        world.tell(channel.members, note)
        world.record(channel, note, "MODE", client)


def _change(
    world: World,
    client: Client,
    channel: Channel,
    changed: _Changes,
    adding: bool,
    letter: str,
    word: str | None,
) -> None:
    if letter in "ov" and word is not None:
        target = world.find(word)
        if target is None or target not in channel.members:
            world.numeric(client, 441, "They aren't on that channel", word, channel.name)
            return
        held = channel.members[target]
        if adding != (letter in held):
            channel.members[target] = held + letter if adding else held.replace(letter, "")
            changed.note(adding, letter, target.nick)
    elif letter == "b" and word is not None:
        mask = complete_mask(word)
        done = add_ban(world, channel, mask, client.source) if adding else channel.bans.pop(mask, None)
        if done:
            changed.note(adding, letter, mask)
    elif letter == "k" and word is not None:
        channel.key = word if adding else ""
        changed.note(adding, letter, word)
    elif letter == "l":
        if adding and not (word or "").isdigit():
            return
        channel.limit = int(word or 0) if adding else 0
        changed.note(adding, letter, word)
    elif letter in FLAGS:
        if adding != (letter in channel.modes):
            (channel.modes.add if adding else channel.modes.discard)(letter)
            changed.note(adding, letter)
    else:
        world.numeric(client, 472, "is unknown mode char to me", letter)


def _list_bans(world: World, client: Client, channel: Channel) -> None:
    for mask, (_, by, at) in channel.bans.items():
        world.numeric(client, 367, "", channel.name, mask, by, str(at))
    world.numeric(client, 368, "End of channel ban list", channel.name)
