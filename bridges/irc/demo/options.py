"""Switches of the demo IRC server: what it offers, what it limits, and the faults a test can order."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Every capability the server knows; ``ServerOptions.capabilities`` takes a part of it away.
CAPABILITIES: frozenset[str] = frozenset(
    {
        "account-notify",
        "account-tag",
        "away-notify",
        "batch",
        "cap-notify",
        "chghost",
        "draft/channel-rename",
        "draft/chathistory",
        "draft/event-playback",
        "draft/extended-isupport",
        "draft/message-redaction",
        "draft/metadata-2",
        "draft/multiline",
        "draft/pre-away",
        "draft/relaymsg",
        "echo-message",
        "extended-join",
        "extended-monitor",
        "invite-notify",
        "labeled-response",
        "message-tags",
        "multi-prefix",
        "no-implicit-names",
        "sasl",
        "server-time",
        "setname",
        "standard-replies",
        "userhost-in-names",
    }
)

#: Those that no server of Debian offers: ``CAPABILITIES - DRAFTS`` is what a good server of today has.
DRAFTS: frozenset[str] = frozenset(name for name in CAPABILITIES if name.startswith("draft/"))


@dataclass(frozen=True, slots=True)
class Flood:
    """How fast a client may speak: ``burst`` lines at once, then ``rate`` a second; with more than ``excess`` lines
    waiting it is ended (Excess Flood)."""

    burst: int = 20
    rate: float = 1.0
    excess: int = 20


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How one demo server behaves. Lengths are in bytes, times in seconds.

    ``capabilities`` is what is offered, and with it goes what belongs to it: commands, ISUPPORT tokens, batches.
    ``multiline_bytes``, ``multiline_lines`` are the value of draft/multiline; a batch open for ``batch_timeout`` ends
    in FAIL BATCH TIMEOUT. ``history`` messages and events are kept for each conversation (0: none, and then nothing
    can be redacted either); a CHATHISTORY answer has ``history_limit`` at most. ``redact_window`` is how long a
    message can be redacted (None: for ever). ``client_tag_deny`` is CLIENTTAGDENY: names without the ``+``, ``*``
    for all, ``-name`` for an exception.

    Channels: ``chantypes``, ``prefix`` (as in ISUPPORT; ``(qaohv)~&@%+`` gives all), ``founder`` is the status of who
    opens a channel. ``channel_lists`` are the list modes (``q`` only where PREFIX has none), ``channel_settings`` of
    k, l, f, ``channel_flags`` of: i, m, n, s, p, t, r (only accounts join), R (only accounts speak), S (only TLS
    joins), z (what is refused goes to the operators, ``op_moderated_mark`` in front of the channel's name).
    ``extbans`` is their prefix: ``$`` (``$a:account``), ``~`` (``~account:name``), empty (``R:account``), None for
    none; a ban may end in ``$#channel`` to forward (470).

    ``knock`` is KNOCK. ``bot_mode`` is the user mode of bots, ``monitor`` the length of a MONITOR list (None: no
    MONITOR), ``utf8_only`` refuses all else. NickServ (IDENTIFY, LOGOUT, REGAIN) is there with ``accounts``.
    ``renamed_channels`` remembers the old names of channels for those who come later. ``further_isupport`` are tokens
    that are only told, such as ``draft/ICON=https://example.org/icon.png``.

    Connections: ``sasl_mechanisms`` of PLAIN, EXTERNAL, SCRAM-SHA-256, SCRAM-SHA-512; ``certificates`` maps SHA-256
    fingerprints (hex) to accounts for EXTERNAL (``tls`` must ask for certificates and trust who issued them).
    ``sts_duration`` offers sts: the port on the plain port, the duration (seconds) on the TLS one. ``webirc_password``
    is what gateways say. ``ident_port`` is where each client's host is asked who it is (None: nobody is), for
    ``ident_timeout`` seconds; without an answer the user name begins with ``~``. ``relaymsg_separators`` is the value
    of draft/relaymsg. ``flood`` limits the lines of registered clients.

    ``msgid`` switches message ids, which have no capability of their own (IRCv3 message-ids).
    ``sasl`` is offered only when ``accounts`` (name to password) is not empty.
    """

    name: str = "irc.demo"
    network: str = "DemoNet"
    host: str = "127.0.0.1"
    port: int | None = 0
    tls_port: int | None = None
    tls: ssl.SSLContext | None = None
    password: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = CAPABILITIES
    msgid: bool = True
    casemapping: str = "rfc1459"
    nick_length: int = 30
    user_length: int = 10
    channel_length: int = 64
    topic_length: int = 390
    real_length: int = 128
    line_length: int = 512
    join_targets: int | None = None
    message_targets: int = 4
    channels_per_client: int = 250
    channel_modes: str = "nt"
    chantypes: str = "#"
    prefix: str = "(ov)@+"
    founder: str = "o"
    channel_lists: str = "beIq"
    channel_settings: str = "fkl"
    channel_flags: str = "imnprRsStz"
    op_moderated_mark: str = "@"
    list_length: int = 100
    extbans: str | None = "$"
    bot_mode: str | None = "B"
    knock: bool = True
    monitor: int | None = 100
    metadata_subs: int = 50
    metadata_keys: int = 20
    utf8_only: bool = False
    further_isupport: tuple[str, ...] = ()
    sasl_mechanisms: tuple[str, ...] = ("PLAIN",)
    certificates: Mapping[str, str] = field(default_factory=dict)
    sts_duration: int | None = None
    webirc_password: str | None = None
    ident_port: int | None = None
    ident_timeout: float = 5.0
    relaymsg_separators: str = "/"
    flood: Flood | None = None
    renamed_channels: bool = True
    multiline_bytes: int = 4096
    multiline_lines: int = 100
    batch_timeout: float = 30.0
    history: int = 500
    history_limit: int = 100
    redact_window: float | None = None
    client_tag_deny: tuple[str, ...] = ()
    motd: tuple[str, ...] = ()
    send_queue: int = 1 << 20
    receive_queue: int = 1 << 16
    ping_interval: float = 120.0
    ping_timeout: float = 120.0
    registration_timeout: float = 30.0


class Verdict(enum.Enum):
    """What a fault hook wants done with one line of a client."""

    PASS = "pass"  # noqa: S105 - not a password
    SWALLOW = "swallow"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"


#: nick (``*`` before registration), command, parameters -> what to do with the line.
LineHook = Callable[[str, str, list[str]], Verdict]


@dataclass(frozen=True, slots=True)
class ServerBan:
    """A ban of the whole server. ``kind``: K and G by user@host (465), X by real name, Z by address (both silent)."""

    kind: Literal["G", "K", "X", "Z"]
    mask: str
    reason: str = "no reason"


@dataclass(slots=True)
class Faults:
    """Faults in force; a test sets and clears them while the server runs.

    ``refuse_connections`` closes each new connection at once, ``stalled`` leaves all input unread (the kernel's
    buffers fill up, as with a hung server), ``delay`` holds every outgoing write back, in order. ``bans`` are what
    `DemoIrcServer.ban` adds. Limits end new connections as servers do: ``class_limit`` (No more connections allowed
    in your connection class) by all clients, ``host_limit`` (Too many host connections) by those of one address,
    ``server_limit`` (This server is full), ``throttle`` (Reconnecting too fast) by connections in so many seconds from
    one address. ``sasl_answer`` is a numeric that refuses every login, such as 902; ``wrong_signature`` lets SCRAM
    prove nothing.
    """

    refuse_connections: bool = False
    stalled: bool = False
    delay: float = 0.0
    on_line: LineHook | None = None
    bans: list[ServerBan] = field(default_factory=list)
    class_limit: int | None = None
    host_limit: int | None = None
    server_limit: int | None = None
    throttle: tuple[int, float] | None = None
    sasl_answer: int = 0
    wrong_signature: bool = False
