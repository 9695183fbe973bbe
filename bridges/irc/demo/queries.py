"""Questions and small settings: WHO, WHOIS, AWAY, SETNAME, MOTD, LUSERS, VERSION, ISON, USERHOST."""

from __future__ import annotations

from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.wire import Line, split
from bridges.irc.demo.world import World


def who(world: World, client: Client, line: Line) -> None:
    """List a channel's members or one client; understands WHOX field lists."""
    mask = line.params[0] if line.params else "*"
    fields = line.params[1] if len(line.params) > 1 and "%" in line.params[1] else ""
    channel = world.channel(mask)
    targets: list[Client] = []
    if channel is not None:
        if not channel.hidden or client in channel.members:
            targets = list(channel.members)
    else:
        found = world.find(mask)
        targets = [found] if found is not None and found.registered else []
    for target in targets:
        if fields:
            _whox(world, client, target, channel, fields)
        else:
            flags = _flags(world, client, target, channel)
            shown = channel.name if channel is not None else "*"
            words = (shown, target.user, target.host, world.options.name, target.nick, flags)
            world.numeric(client, 352, f"0 {target.real}", *words)
    world.numeric(client, 315, "End of /WHO list", mask)


def _flags(world: World, client: Client, target: Client, channel: Channel | None) -> str:
    here = "G" if target.away is not None else "H"
    bot = world.options.bot_mode or "" if world.is_bot(target) else ""
    return here + bot + (world.prefix(channel, target, "multi-prefix" in client.caps) if channel else "")


def _whox(world: World, client: Client, target: Client, channel: Channel | None, spec: str) -> None:
    """Answer one WHOX line (354) with the asked fields in the order the extension fixes."""
    letters, _, token = spec.partition("%")[2].partition(",")
    values = {
        "t": token or "0",
        "c": channel.name if channel else "*",
        "u": target.user,
        "i": target.host,
        "h": target.host,
        "s": world.options.name,
        "n": target.nick,
        "f": _flags(world, client, target, channel),
        "d": "0",
        "l": "0",
        "a": target.account or "0",
        "o": "n/a",
    }
    words = [values[letter] for letter in "tcuihsnfdlao" if letter in letters]
    world.numeric(client, 354, target.real if "r" in letters else "", *words)


def whois(world: World, client: Client, line: Line) -> None:
    """Describe one client."""
    if not line.params:
        world.numeric(client, 431, "No nickname given")
        return
    name = line.params[-1].split(",")[0]
    target = world.find(name)
    if target is None or not target.registered:
        world.numeric(client, 401, "No such nick", name)
    else:
        nick = target.nick
        world.numeric(client, 311, target.real, nick, target.user, target.host, "*")
        shown = [c for c in target.channels.values() if not c.hidden or client in c.members]
        if shown:
            names = " ".join(world.prefix(c, target, True) + c.name for c in shown)
            world.numeric(client, 319, names, nick)
        world.numeric(client, 312, world.options.network, nick, world.options.name)
        if target.away is not None:
            world.numeric(client, 301, target.away, nick)
        if target.account:
            world.numeric(client, 330, "is logged in as", nick, target.account)
        if world.is_bot(target):
            world.numeric(client, 335, "is a bot", nick)
        if target.secure:
            world.numeric(client, 671, "is using a secure connection", nick)
        idle = str(int(world.now() - target.last_heard))
        world.numeric(client, 317, "seconds idle, signon time", nick, idle, str(int(target.signon)))
    world.numeric(client, 318, "End of /WHOIS list", name)


def away(world: World, client: Client, line: Line) -> None:
    """Set or clear the away message."""
    if not client.registered and "draft/pre-away" not in client.caps:
        world.numeric(client, 451, "You have not registered")
        return
    text = line.params[0][:200] if line.params else ""
    client.away = text or None
    if not client.registered:
        return  # IRCv3 pre-away: nobody is told yet
    if text:
        world.numeric(client, 306, "You have been marked as being away")
    else:
        world.numeric(client, 305, "You are no longer marked as being away")
    note = world.by(client, f"AWAY :{text}" if text else "AWAY")
    world.tell(world.observers(client, "away-notify"), note)


def setname(world: World, client: Client, line: Line) -> None:
    """Change the real name (IRCv3 setname)."""
    if "setname" not in client.caps:
        world.numeric(client, 421, "Unknown command", "SETNAME")
    elif not line.params or not line.params[0] or len(line.params[0]) > world.options.real_length:
        world.fail(client, "SETNAME", "INVALID_REALNAME", "Realname is not valid")
    else:
        client.real = line.params[0]
        note = world.by(client, f"SETNAME :{client.real}")
        world.tell({*world.observers(client, "setname"), client}, note, "setname")


def motd(world: World, client: Client, line: Line) -> None:
    """Send the message of the day."""
    send_motd(world, client)


def send_motd(world: World, client: Client) -> None:
    """Send the configured lines, or 422."""
    if not world.options.motd:
        world.numeric(client, 422, "MOTD file is missing")
        return
    world.numeric(client, 375, f"- {world.options.name} message of the day -")
    for text in world.options.motd:
        world.numeric(client, 372, f"- {text}")
    world.numeric(client, 376, "End of /MOTD command")


def lusers(world: World, client: Client, line: Line) -> None:
    """Count clients and channels."""
    users = sum(1 for other in world.clients.values() if other.registered)
    world.numeric(client, 251, f"There are {users} users on 1 server")
    world.say(client, f"254 {client.nick} {len(world.channels)} :channels formed")


def version(world: World, client: Client, line: Line) -> None:
    """Name the server's program."""
    world.numeric(client, 351, "", "matrix-bridge-demo-ircd-1", world.options.name)


def ison(world: World, client: Client, line: Line) -> None:
    """Say which of the given nicks are here."""
    nicks = split(" ".join(line.params))
    here = [found.nick for nick in nicks if (found := world.find(nick)) and found.registered]
    world.say(client, f"303 {client.nick} :{' '.join(here)}")


def userhost(world: World, client: Client, line: Line) -> None:
    """Give user and host of up to five nicks."""
    out = []
    for nick in line.params[:5]:
        found = world.find(nick)
        if found is not None and found.registered:
            sign = "-" if found.away is not None else "+"
            out.append(f"{found.nick}={sign}{found.user}@{found.host}")
    world.say(client, f"302 {client.nick} :{' '.join(out)}")
