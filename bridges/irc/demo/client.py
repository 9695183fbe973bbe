"""What the server knows about one connected client, and about one channel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridges.irc.demo.message import TAG_BITS, Message
from bridges.irc.demo.wire import escape_tag

if TYPE_CHECKING:
    from bridges.irc.demo.batches import OpenBatch
    from bridges.irc.demo.link import Link
    from bridges.irc.demo.masks import Mask
    from bridges.irc.demo.sasl import Exchange


class Client:
    """One connection's identity, capabilities and memberships; ``send`` is the only way to say something to it."""

    __slots__ = (
        "account",
        "address",
        "away",
        "batches",
        "caps",
        "caps_version",
        "capture",
        "certfp",
        "channels",
        "checking",
        "host",
        "ident",
        "ip",
        "label",
        "last_heard",
        "link",
        "mask",
        "metadata",
        "modes",
        "monitored",
        "negotiating",
        "nick",
        "open",
        "password",
        "pinged",
        "real",
        "registered",
        "sasl",
        "secure",
        "signon",
        "subscribed",
        "user",
        "webirc",
    )

    def __init__(
        self, link: Link, address: tuple[str, int], secure: bool, now: float, *, host: str, certfp: str = ""
    ) -> None:
        self.link = link
        #: Where the connection really comes from; ``ip`` and ``host`` are what a gateway said (WEBIRC).
        self.address = address
        self.ip = address[0]
        self.host = host
        self.secure = secure
        #: SHA-256 of the client's certificate in hex; empty when it showed none.
        self.certfp = certfp
        self.webirc: dict[str, str] = {}
        #: What its ident server said; ``checking`` while that is being asked.
        self.ident = ""
        self.checking = False
        self.nick = "*"
        self.user = ""
        self.real = ""
        self.account = ""
        self.password: str | None = None
        self.away: str | None = None
        self.caps: frozenset[str] = frozenset()
        self.caps_version = 0
        self.mask = 0
        self.negotiating = False
        self.registered = False
        self.sasl: Exchange | None = None
        self.modes: set[str] = set()
        self.channels: dict[str, Channel] = {}
        self.signon = now
        self.last_heard = now
        self.pinged = False
        self.label = ""
        self.capture: list[Message] | None = None
        self.open: OpenBatch | None = None
        self.metadata: dict[str, str] = {}
        self.subscribed: set[str] = set()
        self.monitored: dict[str, str] = {}
        self.batches = itertools.count(1)

    @property
    def source(self) -> str:
        """The client's full prefix, nick!user@host."""
        return f"{self.nick}!{self.user}@{self.host}"

    def set_caps(self, caps: frozenset[str]) -> None:
        """Take over a new set of capabilities."""
        self.caps = caps
        self.mask = sum(bit for name, bit in TAG_BITS if name in caps)

    def send(self, message: Message) -> None:
        """Queue one line for this client; while a labelled command runs it is kept for its answer."""
        if self.capture is not None:
            self.capture.append(message)
        else:
            self.link.write(message.render(self.mask))

    def answer_labelled(self, server: str, limit: int) -> None:
        """Send what the labelled command produced: an ACK, one labelled line, or a labelled batch.

        A batch that is the whole answer carries the label itself. Source: IRCv3 labeled-response.
        """
        lines, self.capture = self.capture or [], None
        tag, self.label = "label=" + escape_tag(self.label), ""
        if not lines:
            self.link.write(Message(f":{server} ACK", limit=limit).render_with(0, tag))
        elif len(lines) == 1 or (lines[0].opens and lines[-1].body == f":{server} BATCH -{lines[0].opens}"):
            self.link.write(lines[0].render_with(self.mask, tag))
            for line in lines[1:]:
                self.link.write(line.render(self.mask))
        else:
            name = f"l{next(self.batches)}"
            opening = Message(f":{server} BATCH +{name} labeled-response", limit=limit)
            self.link.write(opening.render_with(0, tag))
            for line in lines:
                self.link.write(line.render_with(self.mask, "" if line.batch else "batch=" + name))
            self.link.write(Message(f":{server} BATCH -{name}", limit=limit).render(0))


#: Statuses that may do what operators may.
_OPS = frozenset("qao")


@dataclass(slots=True)
class Channel:
    """A channel: members with their prefix modes, topic, modes, lists (by letter and folded mask) and invitations."""

    name: str
    created: int
    members: dict[Client, str] = field(default_factory=dict)
    modes: set[str] = field(default_factory=set)
    key: str = ""
    limit: int = 0
    topic: str = ""
    topic_by: str = ""
    topic_at: int = 0
    forward: str = ""
    lists: dict[str, dict[str, Mask]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    invited: set[Client] = field(default_factory=set)

    def is_op(self, client: Client) -> bool:
        """Say whether the client is a channel operator, or more."""
        return not _OPS.isdisjoint(self.members.get(client, ""))

    def is_half(self, client: Client) -> bool:
        """Say whether the client is a half-operator at least."""
        return self.is_op(client) or "h" in self.members.get(client, "")

    @property
    def hidden(self) -> bool:
        """Whether only members may know of the channel (+s, +p)."""
        return not self.modes.isdisjoint("sp")

    def mode_words(self, member: bool) -> list[str]:
        """Give the channel's modes with their parameters; the key only for members."""
        flags = "".join(sorted(self.modes))
        words: list[str] = []
        if self.key:
            flags += "k"
            words.append(self.key if member else "*")
        if self.limit:
            flags += "l"
            words.append(str(self.limit))
        if self.forward:
            flags += "f"
            words.append(self.forward)
        return ["+" + flags, *words]
