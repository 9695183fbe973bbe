"""What the configuration asks of the registration."""

from __future__ import annotations

from bridge_core.config.encryption import EncryptionMode
from bridge_core.config.model import Config
from registration.generate import Wanted


def public_url(config: Config) -> str | None:
    """Where the homeserver reaches the bridge; None when only `appservice.url` could say it."""
    if config.appservice.url is not None:
        return config.appservice.url
    listen = config.appservice.listen
    if listen.path is not None:
        return None
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    host = anywhere.get(listen.host) or (f"[{listen.host}]" if ":" in listen.host else listen.host)
    return f"http://{host}:{listen.port}"


def wanted_registration(config: Config) -> Wanted:
    """The registration that fits the configuration."""
    encryption = config.encryption.mode is not EncryptionMode.OFF
    return Wanted(
        id=config.appservice.id,
        url=public_url(config),
        domain=config.homeserver.domain,
        bot=config.appservice.bot,
        sender=config.appservice.sender,
        networks=list(config.networks),
        user_template=config.appservice.user_template,
        alias_template=config.appservice.alias_template,
        # Keys come only where typing and receipts come too.
        ephemeral=config.appservice.ephemeral or encryption,
        encryption=encryption,
        # A type is what its adapter calls its protocol; Synapse asks for look-ups only those who name it.
        protocols=sorted({str(network["type"]) for network in config.networks.values() if "type" in network}),
    )
