"""What the bot says of itself where anybody can look: who runs it, and that it is a bot."""

from collections.abc import Iterator

from bridge_core.api.info import Advice
from bridges.irc.codec.isupport import Isupport
from bridges.irc.config import IrcConfig


def introduction(config: IrcConfig) -> str:
    """The bot's real name, with whoever runs it (what networks ask of bots)."""
    if not config.contact or config.contact in config.realname:
        return config.realname
    return f"{config.realname} ({config.contact})"


def bot_mark(isupport: Isupport) -> str:
    """The user mode that marks a bot (IRCv3 bot-mode: ISUPPORT BOT); empty where the network has none."""
    mark = isupport.tokens.get("BOT", "")
    return mark if len(mark) == 1 and mark.isascii() and mark.isalpha() else ""


def advice(config: IrcConfig) -> Iterator[Advice]:
    """What whoever runs the bridge should do for the network's sake."""
    if not config.contact:
        yield Advice(
            "nobody can tell who runs this bridge",
            "Set `contact`: networks ask it of bots, and ban what nobody answers for.",
        )
    if config.sasl is None:
        yield Advice(
            "the bot has no account",
            "Register its nick and set `sasl`: channels trust accounts, and staff look for them.",
        )
