"""The whole configuration."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from bridge_core.config.control import Api, Status
from bridge_core.config.describe import section_of
from bridge_core.config.encryption import Encryption, EncryptionMode, NetworkEncryption
from bridge_core.config.homeserver import Appservice, Homeserver
from bridge_core.config.masks import Mask, names_everybody
from bridge_core.config.network import NetworkName
from bridge_core.config.observing import Health, Logging, Observe
from bridge_core.config.policy import DoublePuppet, Limits, Media, Permission, Relay
from bridge_core.config.quotas import Quotas
from bridge_core.config.rules import Rules
from bridge_core.config.section import Section
from bridge_core.config.storage import Database, Journal
from registration.namespaces import Template


class Config(Section):
    """config.yaml.

    Any value can come from the environment instead: MATRIX_BRIDGE__JOURNAL__SECRET for journal.secret, or
    MATRIX_BRIDGE__JOURNAL__SECRET_FILE naming a file that holds it. The bridge never writes this file.
    Durations are written 30s, 5m, 2h, 7d; sizes 512 KiB, 50 MiB.
    """

    homeserver: Homeserver
    appservice: Appservice = Appservice()
    database: Database = Database()
    journal: Journal
    permissions: dict[Mask, Permission] = Field(
        default={"local": Permission.USER},
        description="Who may do what. Keys: @user:server, a server name, local (the homeserver's users), * "
        "(everybody), and patterns (@*-bot:example.org, *.example.org); the closest one counts, but for blocked, "
        "which beats all others. Values: blocked (nothing crosses), relay (spoken for by the bridge's own login), "
        "user (may log in and make portals), admin. Who is not named is blocked.",
    )
    quotas: Quotas = Quotas()
    relay: Relay = Relay()
    double_puppet: DoublePuppet = DoublePuppet()
    media: Media = Media()
    encryption: Encryption = Encryption()
    status: Status = Status()
    api: Api = Api()
    health: Health = Health()
    logging: Logging = Logging()
    observe: Observe = Observe()
    limits: Limits = Limits()
    networks: dict[NetworkName, dict[str, Any]] = Field(
        description="The networks, each under a name of your own, which becomes part of its ghosts' names.",
        min_length=1,
    )

    @field_validator("permissions")
    @classmethod
    def _not_everybody(cls, value: dict[str, Permission]) -> dict[str, Permission]:
        for mask, permission in value.items():
            if permission is Permission.BLOCKED and names_everybody(mask):
                raise ValueError(
                    f"{mask}: blocked beats every other line, so it would shut out everybody, admins too; "
                    "who is not named is blocked already, so leave it out"
                )
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _empty_section(cls, value: Any, info: ValidationInfo) -> Any:
        """A section whose keys are all commented out is the default section."""
        field = cls.model_fields.get(info.field_name or "")
        return {} if value is None and field is not None and section_of(field.annotation) else value

    def permission_of(self, user_id: str) -> Permission:
        """What a Matrix user may do. For many questions make `Rules` once."""
        return self.rules().of(user_id)

    def rules(self) -> Rules:
        """The permissions made ready."""
        return Rules(self.permissions, self.homeserver.domain)

    def disagreements(self) -> list[tuple[str, str]]:
        """Keys that do not fit others: (dotted key, what is wrong). The loader reports them."""
        media = ("public_url", "secret") if self.media.enabled else ()
        templates = ("user_template", "alias_template") if len(self.networks) > 1 else ()
        listeners = {"appservice.listen": self.appservice.listen, "health.listen": self.health.listen}
        if self.media.enabled:
            listeners["media.listen"] = self.media.listen
        return [
            *(
                (f"double_puppet.servers.{name}.address", "is missing: it is another homeserver than the bridge's own")
                for name, server in self.double_puppet.servers.items()
                if server.address is None and name != self.homeserver.domain
            ),
            *(
                (f"media.{key}", "is missing, and media.enabled is true")
                for key in media
                if getattr(self.media, key) is None
            ),
            *(
                (f"appservice.{key}", "needs {network}, since there are several networks")
                for key in templates
                if not Template(getattr(self.appservice, key)).has_network
            ),
            *(
                (f"appservice.{one}", f"is missing, and appservice.{other} is given")
                for one, other in (("as_token", "hs_token"), ("hs_token", "as_token"))
                if getattr(self.appservice, one) is None and getattr(self.appservice, other) is not None
            ),
            *(
                (f"networks.{name}.encryption", f"{wanted} cannot be, since encryption.mode is off")
                for name, network in self.networks.items()
                if self.encryption.mode is EncryptionMode.OFF
                and (wanted := network.get("encryption")) in {NetworkEncryption.DEFAULT, NetworkEncryption.REQUIRE}
            ),
            *(
                (f"networks.{name}.encrypted_file_links", "cannot be, since encryption is require")
                for name, network in self.networks.items()
                if network.get("encryption") == NetworkEncryption.REQUIRE and network.get("encrypted_file_links")
            ),
            *(
                (later, f"{address} is {earlier} already")
                for (earlier, other_address), (later, address) in combinations(listeners.items(), 2)
                if address is not None and address == other_address and (address.port or address.path)
            ),
        ]
