"""Everything the demo server knows: clients, channels, options, faults, and the ways to speak to them."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from bridges.irc.demo.client import Channel, Client
from bridges.irc.demo.history import Entry, History
from bridges.irc.demo.link import Link
from bridges.irc.demo.message import Message
from bridges.irc.demo.options import Faults, ServerOptions, Verdict
from bridges.irc.demo.wire import FOLDS, Line, parse

Handler = Callable[["World", Client, Line], None]


class World:
    """The server's state. Nothing in it blocks; everything runs in the loop's thread."""

    def __init__(
        self,
        options: ServerOptions,
        faults: Faults,
        handlers: Mapping[str, Handler],
        complete: Callable[[World, Client], None],
    ) -> None:
        self.options = options
        self.faults = faults
        self.links: set[Link] = set()
        self.clients: dict[str, Client] = {}
        self.channels: dict[str, Channel] = {}
        self.stats: Counter[str] = Counter()
        self.capabilities = self._offered()
        self.empty = asyncio.Event()
        self.empty.set()
        self.renamed: dict[str, str] = {}
        self.monitors: dict[str, set[Client]] = {}
        modes, _, signs = options.prefix[1:].partition(")")
        self.prefix_modes = modes
        self.prefix_signs = dict(zip(modes, signs, strict=True))
        self.statuses = {sign: modes[: number + 1] for number, sign in enumerate(signs)}
        self.lists = "".join(letter for letter in options.channel_lists if letter not in modes)
        self._chantypes = options.chantypes
        self.arrivals: dict[str, deque[float]] = {}
        self.tls_port: int | None = None
        self._complete = complete
        self._handlers = handlers
        self._fold = FOLDS[options.casemapping]
        self._dirty: list[Link] = []
        self._msgid_prefix = secrets.token_hex(4)
        self._msgids = itertools.count(1)
        self._batches = itertools.count(1)
        self.history = History(options.history)
        self._clock_at = 0.0
        self._clock_text = ""

    def _offered(self) -> frozenset[str]:
        offered = self.options.capabilities
        if not (self.options.accounts or self.options.certificates):
            offered -= {"sasl"}
        upward = self.options.sts_duration is not None and self.options.tls_port is not None
        return offered | {"sts"} if upward else offered

    def complete(self, client: Client) -> None:
        """Let a client in when nothing is missing any more."""
        if self.links and client.link in self.links:
            self._complete(self, client)

    def cap_value(self, name: str, client: Client) -> str:
        """Give a capability's value as this client is told it (capability negotiation 302); empty for none."""
        options = self.options
        if name == "sts":
            # The way up is told on the plain port, the policy on the secure one (IRCv3 sts).
            return f"duration={options.sts_duration}" if client.secure else f"port={self.tls_port}"
        return {
            "draft/metadata-2": f"before-connect,max-subs={options.metadata_subs},max-keys={options.metadata_keys}",
            "draft/multiline": f"max-bytes={options.multiline_bytes},max-lines={options.multiline_lines}",
            "draft/relaymsg": options.relaymsg_separators,
            "sasl": ",".join(options.sasl_mechanisms),
        }.get(name, "")

    def beside(self, options: ServerOptions) -> World:
        """Make the world of another server of the same network: no clients, the same faults, counters and offer."""
        other = World(options, self.faults, self._handlers, self._complete)
        other.capabilities, other.stats, other.history = self.capabilities, self.stats, self.history
        other._msgids, other._batches, other._msgid_prefix = self._msgids, self._batches, self._msgid_prefix
        return other

    # --- time, names

    def is_channel(self, name: str) -> bool:
        """Say whether a name is one of a channel (CHANTYPES)."""
        return name[:1] in self._chantypes and name != ""

    def is_bot(self, client: Client) -> bool:
        """Say whether the client has marked itself as a bot (IRCv3 bot-mode)."""
        return self.options.bot_mode is not None and self.options.bot_mode in client.modes

    def prefix(self, channel: Channel, client: Client, every: bool) -> str:
        """Give the client's prefix characters: the highest one, or all (multi-prefix)."""
        modes = channel.members.get(client, "")
        signs = "".join(self.prefix_signs[letter] for letter in self.prefix_modes if letter in modes)
        return signs if every else signs[:1]

    def now(self) -> float:
        """Wall-clock seconds."""
        return time.time()

    def timestamp(self) -> str:
        """The server-time value of now, in milliseconds; made once per millisecond."""
        now = time.time()
        if now - self._clock_at >= 0.001 or now < self._clock_at:
            self._clock_at = now
            self._clock_text = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return self._clock_text

    def fold(self, name: str) -> str:
        """Case-fold a nick or channel by the server's CASEMAPPING."""
        return name.translate(self._fold)

    def find(self, nick: str) -> Client | None:
        """Look a registered or registering client up by nick."""
        return self.clients.get(self.fold(nick))

    def channel(self, name: str) -> Channel | None:
        """Look a channel up by name."""
        return self.channels.get(self.fold(name))

    # --- speaking

    def message(
        self, source: str, text: str, *, sender: Client | None = None, msgid: bool = False, tags: str = ""
    ) -> Message:
        """Make a line ``:source text`` with the tags recipients may ask for; ``tags`` are relayed client tags."""
        if sender is not None and self.is_bot(sender):
            tags = "bot;" + tags if tags else "bot"
        return Message(
            f":{source} {text}",
            limit=self.options.line_length,
            time=self.timestamp(),
            msgid=f"{self._msgid_prefix}{next(self._msgids)}" if msgid and self.options.msgid else "",
            account=sender.account if sender else "",
            client_tags=tags,
        )

    def batch(
        self,
        kind: str,
        *words: str,
        sender: Client | None = None,
        tags: str = "",
        within: str = "",
        msgid: bool = False,
    ) -> tuple[Message, Message]:
        """Make the lines that open and close a new batch; the first one's ``opens`` is its reference."""
        reference = f"b{next(self._batches)}"
        source = sender.source if sender is not None else self.options.name
        opening = self.message(
            source, " ".join(["BATCH", "+" + reference, kind, *words]), sender=sender, msgid=msgid, tags=tags
        )
        opening.opens = reference
        opening.batch = within
        closing = Message(f":{self.options.name} BATCH -{reference}", batch=within)
        return opening, closing

    def record(self, channel: Channel, message: Message, command: str, sender: Client | None = None) -> None:
        """Keep an event of a channel for those who ask for its history with draft/event-playback."""
        key = self.fold(channel.name)
        self.history.add(Entry(key, message, command, author=self.identity(sender) if sender else ""))

    def identity(self, client: Client) -> str:
        """Tell whose history something is: the account's, else the nick's."""
        return self.fold(client.account or client.nick)

    def by(self, client: Client, text: str) -> Message:
        """Make a line that tells others what this client did."""
        return self.message(client.source, text, sender=client)

    def say(self, client: Client, text: str) -> None:
        """Send a line from the server itself."""
        client.send(self.message(self.options.name, text))

    def numeric(self, client: Client, code: int, text: str, *words: str) -> None:
        """Send a numeric: its middle words, then its human text (none when empty)."""
        middle = " ".join([f"{code:03d}", client.nick, *words])
        self.say(client, f"{middle} :{text}" if text else middle)

    def fail(self, client: Client, command: str, code: str, text: str, *words: str) -> None:
        """Send a standard reply FAIL to clients that know them (IRCv3 standard-replies).

        Who negotiated a draft that is built on them knows those of its command.
        """
        if "standard-replies" in client.caps or command in BUILT_ON_REPLIES:
            self.say(client, f"{' '.join(['FAIL', command, code, *words])} :{text}")

    def tell(self, clients: Iterable[Client], message: Message, needs: str = "") -> None:
        """Send one line to many, rendered once per variant; ``needs`` limits it to a capability."""
        for client in clients:
            if not needs or needs in client.caps:
                client.send(message)

    def observers(self, client: Client, capability: str) -> set[Client]:
        """Everyone with a capability who shares a channel with the client or watches it (IRCv3 extended-monitor)."""
        seeing = self.peers(client) | self.watchers(client)
        return {other for other in seeing if capability in other.caps and other is not client}

    def watchers(self, client: Client) -> set[Client]:
        """Everyone who watches the client's nick with extended-monitor."""
        watching = self.monitors.get(self.fold(client.nick), ())
        return {other for other in watching if "extended-monitor" in other.caps}

    def peers(self, client: Client) -> set[Client]:
        """Everyone who shares a channel with the client, without itself."""
        seen: set[Client] = set()
        for channel in client.channels.values():
            seen.update(channel.members)
        seen.discard(client)
        return seen

    # --- lines

    def handle(self, client: Client, text: str) -> None:
        """Run one input line of a client, with the fault hook and the labelled answer around it."""
        line = parse(text)
        if line is None:
            return
        self.stats["lines_in"] += 1
        if self.options.utf8_only and not _is_utf8(text):
            self.fail(client, line.command, "INVALID_UTF8", "Message rejected, your software must use UTF-8")
            return
        client.last_heard = self.now()
        client.pinged = False
        hook = self.faults.on_line
        verdict = hook(client.nick, line.command, line.params) if hook else Verdict.PASS
        if verdict is Verdict.SWALLOW:
            return
        if verdict is Verdict.DROP_BEFORE:
            client.link.abort("Connection reset")
            return
        client.label = line.tags.get("label", "")[:64] if "labeled-response" in client.caps else ""
        if client.label:
            client.capture = []
        self._run(client, line)
        if client.label:
            client.answer_labelled(self.options.name, self.options.line_length)
        if verdict is Verdict.DROP_AFTER:
            client.link.abort("Connection reset")

    def _run(self, client: Client, line: Line) -> None:
        handler = self._handlers.get(line.command)
        if handler is None:
            if client.registered:
                self.numeric(client, 421, "Unknown command", line.command)
            return
        if not client.registered and line.command not in BEFORE_REGISTRATION:
            self.numeric(client, 451, "You have not registered")
            return
        if client.open is not None and client.open.takes(line):
            client.open.add(self, client, line)
        else:
            handler(self, client, line)

    # --- memberships and ends

    def part(self, client: Client, channel: Channel) -> None:
        """Take the client out of the channel, and an empty channel out of the world. Says nothing."""
        channel.members.pop(client, None)
        client.channels.pop(self.fold(channel.name), None)
        if not channel.members:
            self.channels.pop(self.fold(channel.name), None)

    def quit(self, client: Client, reason: str) -> None:
        """Forget the client and tell its peers; a second call does nothing."""
        if self.find(client.nick) is not client:
            return
        for nick in client.monitored:
            self.monitors.get(nick, set()).discard(client)
        if client.registered:
            note = self.by(client, f"QUIT :{reason}")
            self.tell(self.peers(client), note)
            for channel in client.channels.values():
                self.record(channel, note, "QUIT", client)
        for channel in list(client.channels.values()):
            self.part(client, channel)
        for channel in self.channels.values():
            channel.invited.discard(client)
        del self.clients[self.fold(client.nick)]
        if client.registered:
            for watcher in self.monitors.get(self.fold(client.nick), ()):
                self.numeric(watcher, 731, client.nick)

    def kill(self, client: Client, reason: str) -> None:
        """Disconnect the client with an ERROR it can read."""
        self.quit(client, reason)
        client.link.close(f"{client.nick}[{client.host}] ({reason})")

    def count_registered(self) -> int:
        """Count the clients that are in."""
        return sum(1 for client in self.clients.values() if client.registered)

    def link_opened(self, link: Link) -> None:
        """Note that a connection was accepted."""
        self.links.add(link)
        self.empty.clear()

    def link_lost(self, link: Link) -> None:
        """Note that a connection is gone; ``empty`` is set with the last one."""
        self.links.discard(link)
        if not self.links:
            self.empty.set()

    # --- output

    def schedule_flush(self, link: Link) -> None:
        """Have the link flushed at the end of this turn of the loop."""
        self._dirty.append(link)
        if len(self._dirty) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()


def _is_utf8(text: str) -> bool:
    try:
        text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True


#: Commands whose drafts answer by standard replies in any case.
BUILT_ON_REPLIES: frozenset[str] = frozenset({"BATCH", "CHATHISTORY", "METADATA", "REDACT", "RELAYMSG", "RENAME"})

#: Commands a client may use before it is registered.
BEFORE_REGISTRATION: frozenset[str] = frozenset(
    {"AUTHENTICATE", "AWAY", "CAP", "ISUPPORT", "METADATA", "NICK", "PASS", "PING", "PONG", "QUIT", "USER", "WEBIRC"}
)
