"""Section `encryption`: end-to-end encryption of rooms, up to the bridge."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from bridge_core.config.section import Section
from bridge_core.config.types import Duration


class EncryptionMode(StrEnum):
    """Whether rooms are encrypted for, and how keys reach the bridge."""

    OFF = "off"
    AUTO = "auto"
    APPSERVICE = "appservice"
    SYNC = "sync"


class GhostDevices(StrEnum):
    """Whose device encrypts what a ghost says."""

    PER_GHOST = "per-ghost"
    BOT = "bot"


class TrustName(StrEnum):
    """How far a device is known to be its owner's, from anybody's to confirmed by an admin."""

    MISMATCHED = "mismatched"
    UNKNOWN = "unknown"
    UNSIGNED = "unsigned"
    NO_IDENTITY = "no-identity"
    CROSS_SIGNED = "cross-signed"
    PINNED = "pinned"
    VERIFIED = "verified"


class NetworkEncryption(StrEnum):
    """What a network's rooms may, shall or must be."""

    OFF = "off"
    ALLOW = "allow"
    DEFAULT = "default"
    REQUIRE = "require"


class Trusted(Section):
    """How far a device must be trusted, for each thing that depends on it."""

    send: TrustName = Field(
        default=TrustName.CROSS_SIGNED,
        description="Which devices can read what the bridge says. Others are left out, counted, and named once. "
        "no-identity lets in clients that know no cross-signing.",
    )
    receive: TrustName = Field(
        default=TrustName.UNSIGNED,
        description="From which devices messages are taken. What others say is refused, and they are told; what is of "
        "a device that is not listed (yet) waits.",
    )
    share: TrustName = Field(
        default=TrustName.CROSS_SIGNED,
        description="Which devices are given keys of earlier messages when they ask, if they were to have them.",
    )

    @model_validator(mode="after")
    def _of_use(self) -> Trusted:
        if TrustName.MISMATCHED in {self.send, self.share}:
            raise ValueError("mismatched is of use for receive alone: keys go to devices, and those have an owner")
        return self


class Encryption(Section):
    """End-to-end encryption of Matrix rooms, up to the bridge: here all is readable, since it goes on to networks.

    The registration is written anew for it: `matrix-bridge init --only-registration`.
    """

    mode: EncryptionMode = Field(
        default=EncryptionMode.OFF,
        description="off: the bridge takes no part in it: nothing crosses in rooms of which it has seen that they are "
        "encrypted, either way. appservice: keys come with the homeserver's transactions (Synapse with "
        "`experimental_features`, see the guide). sync: the bridge asks for them. auto: as the homeserver can.",
    )
    ghost_devices: GhostDevices = Field(
        default=GhostDevices.PER_GHOST,
        description="per-ghost: each ghost encrypts by a device of its own, signed by an identity of its own, so that "
        "clients show no warning. bot: the bot's device encrypts for all, which costs less; clients warn of each "
        "message.",
    )
    device: str = Field(
        default="MATRIXBRIDGE",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The id of the one device that the bot and each ghost has. Change it after the database was lost: "
        "clients never take new keys for a device that they know.",
    )
    trust: Trusted = Field(
        default=Trusted(),
        description="How far devices must be trusted. mismatched (of use for receive alone): the "
        "session is another user's, as of ghosts that speak by their bot's device. unknown: "
        "the owner's server does not list it. unsigned: the "
        "owner has an identity and has not signed it. no-identity: the owner has none. cross-signed: the owner has "
        "signed it. pinned: with the identity that was seen first. verified: with one that an admin has confirmed. "
        "Which devices there are is what homeservers say: from cross-signed on they cannot speak for their users.",
    )
    missing_key_wait: Annotated[Duration, Field(ge=0, le=600)] = Field(
        default=10.0,
        description="How long what is said later in a room waits for a message whose key has not come. After that the "
        "message is delivered late, and marked so, when its key comes.",
    )
    missing_key_lifetime: Annotated[Duration, Field(gt=0)] = Field(
        default=7 * 86400.0,
        description="When a message whose key never came is given up, and its sender told.",
    )
    session_max_age: Annotated[Duration, Field(ge=0)] = Field(
        default=180 * 86400.0,
        description="When keys of what others said are removed, after they came. 0: never.",
    )
    session_max_unused: Annotated[Duration, Field(ge=0)] = Field(
        default=90 * 86400.0, description="The same, after they were last needed. 0: never."
    )

    backup: bool = Field(
        default=False,
        description="Put the keys of what can be read here into a backup at the homeserver (the bot's), encrypted with "
        "a key that is made from the recovery key. With `encryption restore KEY` messages can be read again after the "
        "database is lost, as far back as session_max_age. Keys that are removed here stay in the backup.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Encryption:
        if self.missing_key_lifetime < self.missing_key_wait:
            raise ValueError("missing_key_lifetime is shorter than missing_key_wait")
        return self
