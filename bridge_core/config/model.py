"""The whole configuration."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from bridge_core.config.homeserver import Appservice, Homeserver
from bridge_core.config.network import NetworkName
from bridge_core.config.observing import Health, Logging
from bridge_core.config.policy import Limits, Mask, Media, Permission, Relay, mask_rank
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
        "(everybody); the closest one counts. Values: blocked (nothing crosses), relay (spoken for by the "
        "bridge's own login), user (may log in and make portals), admin. Who is not named is blocked; local "
        "users are `user` unless said otherwise.",
    )
    relay: Relay = Relay()
    media: Media = Media()
    health: Health = Health()
    logging: Logging = Logging()
    limits: Limits = Limits()
    networks: dict[NetworkName, dict[str, Any]] = Field(
        description="The networks, each under a name of your own, which becomes part of its ghosts' names.",
        min_length=1,
    )

    def permission_of(self, user_id: str) -> Permission:
        """What a Matrix user may do; the closest entry counts, and who is not named is blocked."""
        return permission_of(self.permissions, user_id, self.homeserver.domain)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.media.enabled and self.media.public_url is None:
            raise ValueError("media.public_url is missing, and media.enabled is true")
        if self.media.enabled and self.media.secret is None:
            raise ValueError("media.secret is missing, and media.enabled is true")
        if len(self.networks) > 1:
            for key in ("user_template", "alias_template"):
                if not Template(getattr(self.appservice, key)).has_network:
                    raise ValueError(f"appservice.{key} needs {{network}}, since there are several networks")
        if (self.appservice.as_token is None) != (self.appservice.hs_token is None):
            raise ValueError("appservice.as_token and appservice.hs_token must be given together")
        listeners = [self.appservice.listen]
        listeners += [self.health.listen] if self.health.listen else []
        listeners += [self.media.listen] if self.media.enabled else []
        seen = [str(one) for one in listeners if one.port or one.path]
        if len(set(seen)) != len(seen):
            raise ValueError("appservice.listen, health.listen and media.listen must differ")
        return self


def permission_of(permissions: dict[Annotated[str, Mask], Permission], user_id: str, domain: str) -> Permission:
    """What `user_id` may do under a map of masks, on the homeserver named `domain`."""
    best, found = 0, None
    for mask, permission in permissions.items():
        rank = mask_rank(mask, user_id, domain)
        if rank > best:
            best, found = rank, permission
    local = user_id.partition(":")[2] == domain
    if local and best < 2:  # "*" opens the bridge to the federation; it is not meant to demote one's own users
        return max(found or Permission.USER, Permission.USER, key=list(Permission).index)
    return found or Permission.BLOCKED
