"""What a network knows of its chats and people."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge_core.api.events import MemberPower, RemoteSender


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """What a network knows of a chat. None means unknown."""

    name: str | None = None
    topic: str | None = None
    avatar: str | None = None
    direct: bool = False
    members: tuple[RemoteSender, ...] | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    powers: tuple[MemberPower, ...] = ()
    parent: str | None = None
    """Name of the group of chats that it belongs to, where the network has such groups."""
    expiry: int | None = None
    """Milliseconds after which messages disappear there, 0 for never, None for unknown."""
    join_rule: str | None = None
    speak_power: int | None = None
    listed: bool | None = None
    """As in RemoteInfo."""


@dataclass(frozen=True, slots=True)
class UserInfo:
    """What a network knows of a person. `identifiers` are addresses such as `irc:nick`."""

    name: str | None = None
    avatar: str | None = None
    bot: bool = False
    identifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What a chat's own side should know of the Matrix room before it agrees. None: not known.

    `members` are the Matrix users in it. `history` is who reads what was said, as Matrix calls it: `joined` (since they
    joined), `invited`, `shared` (members everything), `world_readable` (anybody everything).
    """

    members: int | None = None
    history: str | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """Something in a network's settings that works and should be otherwise: what it is, and what to do.

    `grave`: the network cannot start with it.
    """

    what: str
    advice: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One of a network's own figures, as it is now: it becomes a metric with the label `network` in front of `labels`.

    `name` is lower case with underscores and begins with the protocol. `values` are by the values of `labels`, which
    come from a list in the code, never from strangers. A `counter` never falls while the process lives.
    """

    name: str
    help: str
    values: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = ()
    counter: bool = False
