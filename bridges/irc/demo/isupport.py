"""What the server says it supports: numeric 005, and the ISUPPORT command (IRCv3 draft/extended-isupport)."""

from __future__ import annotations

from bridges.irc.demo import masks
from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

CAPABILITY = "draft/extended-isupport"
#: Tokens in one line.
_PER_LINE = 12


def isupport(world: World, client: Client, line: Line) -> None:
    """Answer with all tokens; before registration for those with the capability only."""
    if CAPABILITY not in world.capabilities:
        world.numeric(client, 421 if client.registered else 451, "Unknown command", "ISUPPORT")
    elif not client.registered and CAPABILITY not in client.caps:
        world.numeric(client, 451, "You have not registered")
    else:
        send(world, client)


def send(world: World, client: Client, words: list[str] | None = None) -> None:
    """Send tokens, all of them when none are given; in a batch to who knows draft/extended-isupport."""
    words = tokens(world) if words is None else words
    lines = [
        world.message(
            world.options.name,
            " ".join(["005", client.nick, *words[start : start + _PER_LINE], ":are supported by this server"]),
        )
        for start in range(0, len(words), _PER_LINE)
    ]
    if {"batch", CAPABILITY} <= client.caps:
        opening, closing = world.batch("draft/isupport")
        lines = [opening, *(line.inside(opening.opens) for line in lines), closing]
    for message in lines:
        client.send(message)


def tokens(world: World) -> list[str]:
    """List the server's ISUPPORT tokens."""
    options = world.options
    joins = "" if options.join_targets is None else str(options.join_targets)
    many = options.message_targets
    signs = "".join(world.prefix_signs.values())
    key = "k" if "k" in options.channel_settings else ""
    settings = "".join(letter for letter in options.channel_settings if letter != "k")
    return [
        f"CASEMAPPING={options.casemapping}",
        f"CHANTYPES={options.chantypes}",
        f"PREFIX={options.prefix}",
        f"STATUSMSG={signs}",
        f"CHANMODES={world.lists},{key},{settings},{options.channel_flags}",
        f"CHANLIMIT={options.chantypes}:{options.channels_per_client}",
        f"MAXLIST={world.lists}:{options.list_length}",
        f"NICKLEN={options.nick_length}",
        f"USERLEN={options.user_length}",
        f"CHANNELLEN={options.channel_length}",
        f"TOPICLEN={options.topic_length}",
        f"NAMELEN={options.real_length}",
        f"LINELEN={options.line_length}",
        "AWAYLEN=200",
        "KICKLEN=255",
        "MODES=6",
        f"TARGMAX=JOIN:{joins},KICK:1,NAMES:1,NOTICE:{many},PRIVMSG:{many},TAGMSG:{many},WHOIS:1",
        f"NETWORK={options.network}",
        "WHOX",
        *(["EXCEPTS=e"] if "e" in world.lists else []),
        *(["INVEX=I"] if "I" in world.lists else []),
        *masks.extban_token(options),
        *_switched(world),
        *options.further_isupport,
    ]


def _switched(world: World) -> list[str]:
    """List the tokens that come with what is switched on."""
    options = world.options
    words = []
    if "draft/chathistory" in world.capabilities:
        words += [f"CHATHISTORY={options.history_limit}", "MSGREFTYPES=msgid,timestamp"]
    if options.client_tag_deny:
        words.append(f"CLIENTTAGDENY={','.join(options.client_tag_deny)}")
    if options.bot_mode is not None:
        words.append(f"BOT={options.bot_mode}")
    if options.knock:
        words.append("KNOCK")
    if options.monitor is not None:
        words.append(f"MONITOR={options.monitor}")
    if options.utf8_only:
        words.append("UTF8ONLY")
    return words
