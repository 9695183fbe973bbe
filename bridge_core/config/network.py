"""Section `networks`: the keys every network has; the rest belongs to its adapter."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from bridge_core.api.network import Grant
from bridge_core.config.encryption import NetworkEncryption
from bridge_core.config.globs import Glob
from bridge_core.config.masks import ExactMask
from bridge_core.config.policy import Relay
from bridge_core.config.section import Section
from bridge_core.config.storage import UnknownOutcome
from bridge_core.config.types import Duration, Words

NetworkName = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$"), Words("a-z, 0-9 and -, starting with a letter, at most 32")
]


class JoinRule(StrEnum):
    """Who may join the rooms that the bridge makes for chats."""

    PUBLIC = "public"
    INVITE = "invite"


class MembersShown(StrEnum):
    """Which people of a chat are in its rooms."""

    LAZY = "lazy"
    EAGER = "eager"


class SpaceShown(StrEnum):
    """Which spaces gather the rooms that the bridge makes."""

    NONE = "none"
    NETWORK = "network"
    USER = "user"
    BOTH = "both"


class PortalEntry(Section):
    """One Matrix room bridged with one remote chat."""

    chat: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="The remote chat, as the network writes it (#channel, room@muc.example.org).",
        examples=["#welcome"],
    )
    room: Annotated[str, Field(pattern=r"^[!#]\S{1,254}$"), Words("a room id (!...) or alias (#...)")] | None = Field(
        default=None,
        description="An existing room to join, by id or alias. Without it the bridge makes a room.",
    )
    members: MembersShown | None = Field(
        default=None, description="Which of its people are in its rooms, where that is not as `members` of the network."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"chat": value} if isinstance(value, str) else value


def _pattern(value: str) -> str:
    Glob.parse(value)
    return value


Pattern = Annotated[str, AfterValidator(_pattern), Words("a chat, with * and ? as wildcards")]


class PortalFilter(Section):
    """Which chats may have new portals, by command, by alias or by a first message. Configured ones always may."""

    allow: list[Pattern] = Field(default=[], description="Where there is one, only chats that one of these names.")
    deny: list[Pattern] = Field(default=[], description="Chats that may not, whatever `allow` says.")


class Backfill(Section):
    """What is fetched of chats on networks that keep their history."""

    initial: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="How many of a chat's latest messages are shown when its room is first entered.",
    )
    catch_up: int = Field(
        default=500,
        ge=0,
        le=10_000,
        description="How many messages of a chat are fetched at most after the connection was away. What is beyond "
        "appears as a notice.",
    )
    max_age: Duration = Field(default=7 * 86400, description="What is older is left out.")
    rate: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=10, description="Requests for history per second at most, for all chats together."
    )


class Privacy(Section):
    """The privacy filter, for networks whose people must know who reads along."""

    all_members_joined: bool = Field(
        default=False,
        description="Whether what people of a chat say is held back while anybody is in the Matrix room who is not in "
        "the chat by a connection of their own; the room is told who. It is shown, in order, when they are in the chat "
        "or out of the room. Rooms made for such a network let in who knocks, once they are in the chat; a room's "
        "history visibility has to be `joined`. What is held longer than `journal.retry_window` becomes a dead letter.",
    )
    kick_after: Duration = Field(
        default=0.0,
        ge=0,
        description="Who is in the way for this long is removed from the room, with the reason. 0: nobody is.",
    )
    exempt: list[ExactMask] = Field(
        default=[], description="Who may read along all the same: a room's moderation bots, say."
    )


class Newcomers(Section):
    """How long new users wait before what they say crosses: spam comes from accounts and homeservers made for it."""

    user_wait: Duration = Field(
        default=0.0, ge=0, description="Since the bridge saw the user write for the first time."
    )
    server_wait: Duration = Field(
        default=0.0, ge=0, description="Since it saw anybody of their homeserver. Our own one is never new."
    )


class NetworkCommon(Section):
    """What the bridge itself reads of a network's section."""

    type: str = Field(min_length=1, description="The adapter: irc, echo, or another installed one.", examples=["echo"])
    displayname: str | None = Field(
        default=None, description="The network's name as people know it; null for the key above."
    )
    portals: list[PortalEntry] = Field(
        default=[], description="Chats bridged from the start. A plain text is short for `chat`."
    )
    portal_join_rule: JoinRule = Field(
        default=JoinRule.PUBLIC,
        description="Who may join the rooms that the bridge makes for this network's chats. public: everybody, from "
        "other homeservers too, who knows or guesses the alias, and they read what is said from then on, even who "
        "could not enter the chat itself. invite: who is invited, first by the bot at an admin's `portal NETWORK "
        "CHAT`, then by any member; take it for chats with a key, an invite list or bans. Rooms made before are left.",
    )
    space: SpaceShown = Field(
        default=SpaceShown.NONE,
        description="Spaces for the rooms that the bridge makes. network: one with all shared chats, which may be "
        "joined as `portal_join_rule` says. user: one for each user with their private chats, to which they are "
        "invited. both, or none.",
    )
    grants: list[Grant] = Field(
        default=[],
        description="What those who run the network have allowed, on networks that must be asked (IRC): portals (rooms "
        "made for chats on demand: the command `portal`, `create_by_alias`), private_replies (to who wrote first), "
        "private_messages (to anybody), puppets (connections of Matrix users of their own, provided or logged in), "
        "public_history (rooms that anybody can read without being in them: public logs). "
        "What is not here is refused, whoever asks; chats in `portals` and rooms bridged by `bridge` need none of it.",
    )
    create_by_alias: bool = Field(
        default=False,
        description="Whether asking the homeserver for the alias of any valid chat makes its portal, 60 an hour at "
        "most. The homeserver does not say who asks: with this on, everybody who can reach it may have chats bridged, "
        "as far as the filter and `grants` allow.",
    )
    members: MembersShown = Field(
        default=MembersShown.LAZY,
        description="Which people of a chat are in its rooms. lazy: who has spoken. eager: everybody that the network "
        "tells of, brought in beside the messages at `limits.membership_rate`; each is an account on your homeserver.",
    )
    leave_grace: Duration = Field(
        default=600.0,
        ge=0,
        description="How long a person who left a chat stays in its rooms; who returns, or speaks, before does not "
        "leave at all. 0: they leave at once.",
    )
    follow_removals: bool = Field(
        default=False,
        description="Whether a Matrix user whose own connection is thrown out of a chat (kicked, banned, or left "
        "elsewhere) is removed from its rooms too. Otherwise the room is told. Who leaves elsewhere and has a double "
        "puppet leaves by that in any case.",
    )
    power_cap: int = Field(
        default=50,
        ge=0,
        le=99,
        description="Highest power level that the bridge gives people in rooms, whatever they may do on the network. "
        "50 can kick, ban and set the topic; nobody is ever given what the bridge itself has.",
    )
    portal_filter: PortalFilter = Field(
        default=PortalFilter(), description="Which chats may have new portals; admins add to it by `filter`."
    )
    provided_logins: list[ExactMask] = Field(
        default=["local"],
        description="Matrix users who get a connection of their own without logging in, on networks that "
        "offer it. Each connection costs the network something, so federated users are named on purpose.",
    )
    relay: Relay | None = Field(default=None, description="Replaces the section `relay` for this network.")
    backfill: Backfill = Field(
        default=Backfill(),
        description="What was said before or meanwhile. Nobody is shown what was said before they came, unless the "
        "network says that everybody there may read it.",
    )
    double_bridges: bool = Field(
        default=False,
        description="Whether a room may be bridged that another bridge joins to the same kind of network, as its "
        "state tells (m.bridge). What is said on one network would come back to it, or to another of its kind.",
    )
    max_age: Duration = Field(
        default=0.0,
        ge=0,
        description="How old a message from Matrix may be when it is handed to the network, by the time that its "
        "homeserver gives it. An older one ends as rejected (`too_old`) and its sender is told: what was meant for an "
        "hour ago may mean something else now. Nothing is too old at 0, but for what `journal.retry_window` gives up. "
        "Redactions and changes of the room are never too old.",
    )
    copy_between_rooms: bool = Field(
        default=True,
        description="Whether, where a chat is bridged to several rooms, what Matrix users say in one of them is copied "
        "to the others once the chat has it: as the user, where they are in that room and the bridge may act as them "
        "(section `double_puppet`), else through the bot under their name. Private chats are never copied.",
    )
    newcomers: Newcomers = Field(default=Newcomers(), description="Users and homeservers that were not seen before.")
    privacy: Privacy = Field(default=Privacy(), description="Who may read along of those who are not in the chat.")
    encryption: NetworkEncryption = Field(
        default=NetworkEncryption.ALLOW,
        description="End-to-end encryption of this network's rooms, once `encryption.mode` is not off. off: nothing "
        "crosses in an encrypted room. allow: in encrypted rooms the bridge reads and writes encrypted. default: rooms "
        "that the bridge makes are encrypted from the start. require: they are, those it made before become so, and "
        "nothing crosses in a room that is not, or while encryption does not work.",
    )
    encrypted_file_links: bool = Field(
        default=False,
        description="Whether files of encrypted rooms are handed out by media links too, on networks that carry no "
        "files: the bridge then decrypts them for everybody who has the link, and keeps their keys as long as links "
        "work. Never where encryption is `require` or off. Without it, links given out before open nothing.",
    )
    presence: bool = Field(
        default=False,
        description="Whether it is shown who is there, both ways. It costs the homeserver much; Synapse has to have "
        "presence enabled for it.",
    )
    unknown: UnknownOutcome | None = Field(default=None, description="Replaces journal.unknown for this network.")

    @field_validator("provided_logins", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Network(BaseModel):
    """A validated network: the common keys, and the adapter's own settings as its model made them."""

    model_config = {"frozen": True, "arbitrary_types_allowed": True}

    name: str
    common: NetworkCommon
    settings: Any
