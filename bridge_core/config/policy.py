"""Sections `permissions`, `relay`, `media`, `limits`: who may do what, and how much."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from bridge_core.config.section import Section
from bridge_core.config.types import Duration, HttpUrl, Listen, ListenOn, Secret, ServerName, Size


class Permission(StrEnum):
    """What a Matrix user may do, from nothing to everything."""

    BLOCKED = "blocked"
    RELAY = "relay"
    USER = "user"
    ADMIN = "admin"


class Relay(Section):
    """Speaking for Matrix users who have no login of their own."""

    enabled: bool = Field(default=True, description="Whether the bridge's own login speaks for them.")
    reactions: bool = Field(
        default=False,
        description="Whether their reactions are passed on. All come from the relay's account then, and where a person "
        "may put a reaction but once, the second one of a kind is lost.",
    )
    polls: bool = Field(
        default=False,
        description="Whether their polls and votes are passed on as such, all from the relay's account: where it has "
        "one vote, the last one counts. When off, a poll becomes text.",
    )


class PuppetServer(Section):
    """A homeserver where the bridge may act as users who have a login."""

    as_token: Secret | None = Field(
        default=None,
        description="Token of an appservice that may act as that server's users: a second registration there, without "
        "`url`, whose user namespace has `exclusive: false`. Without it users may still give tokens of their own.",
    )
    address: HttpUrl | None = Field(
        default=None, description="Where its client API is; for the bridge's own homeserver, null is its address."
    )


class DoublePuppet(Section):
    """Showing what a user does on a network from elsewhere (their phone, say) as done by their own Matrix account.

    Otherwise it appears under a ghost of theirs. Only in rooms where the user is already.
    """

    servers: dict[ServerName, PuppetServer] = Field(
        default={}, description="Homeservers by name. Whoever holds such a token can act as every user there."
    )
    manual: bool = Field(
        default=True,
        description="Whether users may give the bridge an access token of theirs (`login-matrix`), on the bridge's "
        "own homeserver and those of `servers`.",
    )


class Media(Section):
    """Files towards networks that cannot carry them, as signed links served by the bridge."""

    enabled: bool = Field(
        default=False, description="Whether files become links. When off, the sender is told it was not sent."
    )
    public_url: HttpUrl | None = Field(
        default=None,
        description="Address of the links: an origin of its own (such as https://media.example.org) that a "
        "proxy passes on to `listen`, never one that also serves a web client.",
    )
    listen: ListenOn = Field(default=Listen("127.0.0.1", 29311), description="Where these requests arrive.")
    secret: Secret | None = Field(
        default=None,
        description="Signs the links; a new one makes all earlier links invalid. `matrix-bridge init` generates it.",
        examples=["REPLACE-ME-matrix-bridge-init-does-this"],
    )
    expiry: Duration = Field(default=30 * 86400.0, gt=0, description="How long a link works.")
    max_size: Size = Field(
        default=50 * 1024 * 1024,
        ge=1024,
        description="Largest file in either direction. Synapse accepts 50 MiB unless told otherwise.",
    )
    spool: str | None = Field(
        default=None,
        min_length=1,
        description="Folder for files on their way, seen from this file's folder. They are sealed there, and erased "
        "when they have arrived. null: `spool` beside the SQLite database, with PostgreSQL beside this file.",
    )
    spool_size: Size = Field(
        default=4 * 1024**3,
        ge=10 * 1024 * 1024,
        description="Bytes of all files on their way, mails that wait included. Beyond, new ones are refused for now.",
    )
    spool_reserve: Size = Field(
        default=256 * 1024**2,
        ge=0,
        description="Bytes of the disk that files on their way leave free, for the database beside them.",
    )


class Limits(Section):
    """Bounds on what strangers can make the bridge do."""

    html_bytes: Size = Field(
        default=64 * 1024,
        ge=1024,
        description="Longest HTML body that is parsed; a Matrix event is at most 64 KiB. Beyond: plain text.",
    )
    html_depth: int = Field(
        default=100,
        ge=8,
        le=100,
        description="Deepest nesting of HTML that is kept; the Matrix specification asks for 100.",
    )
    reference_wait: Duration = Field(
        default=30.0,
        ge=0,
        description="How long a reply, edit, reaction or redaction waits for a message still under way. Then a reply "
        "goes without its reference; the others are tried again later, and rejected when that message never crossed.",
    )
    membership_rate: float = Field(
        default=10.0,
        gt=0,
        le=1000,
        description="Ghosts per second, at most, that join and leave rooms without having spoken: people of eager "
        "networks, and what differs after an outage. Each costs a homeserver more than a message does.",
    )
    stop_deadline: Duration = Field(
        default=10.0,
        gt=0,
        description="How long a stop waits for work in hand; what is left is done at the next start.",
    )
