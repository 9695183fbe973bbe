"""Builds the configured networks: connectors from entry points, their hosts and inboxes."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.api.network import Connector
from bridge_core.app.rooms import RoomSettings
from bridge_core.config import Config, ConfigError, LoadedConfig, Problem, UnknownOutcome
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.encryption import EncryptionMode, NetworkEncryption
from bridge_core.config.network import MembersShown
from bridge_core.engine.networks import Network, NetworkOptions, Networks, Unknown
from bridge_core.engine.permissions import Permissions
from bridge_core.engine.spaces import SpaceKind
from bridge_core.engine.store_ports import Users
from bridge_core.matrix.puppets import PuppetServer

GROUP: Final = "matrix_bridge.networks"


class AdapterError(BridgeError):
    """An adapter that the configuration names cannot be used."""


def adapters(types: Sequence[str]) -> dict[str, Any]:
    """The adapters of these types, imported. Raises AdapterError."""
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    found: dict[str, Any] = {}
    for name in set(types):
        if name not in installed:
            raise AdapterError(f"there is no adapter {name}; installed are: {', '.join(sorted(installed))}")
        try:
            found[name] = installed[name].load()
        except ImportError as error:
            raise AdapterError(f"the adapter {name} cannot be loaded: {error}") from error
    return found


def load_networks(
    loaded: LoadedConfig, further: Mapping[str, Any]
) -> tuple[dict[str, NetworkConfig], dict[str, Connector]]:
    """The networks' validated configuration, and a connector for each. Raises ConfigError and AdapterError.

    `further` are adapters by type beside the installed ones.
    """
    types = [str(section.get("type", "")) for section in loaded.config.networks.values()]
    installed = sorted({entry.name for entry in entry_points(group=GROUP)} | set(further))
    found = {**adapters([name for name in types if name in installed and name not in further]), **further}
    configs = loaded.validate_networks({name: one.config_model for name, one in found.items()}, installed)
    connectors: dict[str, Connector] = {
        name: found[config.common.type](NetworkId(name), config.settings) for name, config in configs.items()
    }
    if problems := list(_bad_chats(loaded, configs, connectors)):
        raise ConfigError(problems)
    return configs, connectors


def _bad_chats(
    loaded: LoadedConfig, configs: Mapping[str, NetworkConfig], connectors: Mapping[str, Connector]
) -> Iterator[Problem]:
    """Configured portals whose chats their networks do not have, in the networks' own words."""
    for name, config in configs.items():
        for number, portal in enumerate(config.common.portals):
            try:
                connectors[name].chat(portal.chat)
            except ValueError as error:
                (place,) = loaded.sources.places([("networks", name, "portals", number)])
                yield Problem(place, f"networks.{name}.portals.{number}", f"{portal.chat!r} is no chat: {error}")


def puppet_servers(config: Config) -> dict[str, PuppetServer]:
    """Homeservers where the bridge may act as users: the own one always, by tokens that they give."""
    servers = {config.homeserver.domain: PuppetServer(str(config.homeserver.address))}
    for name, server in config.double_puppet.servers.items():
        address = server.address or (config.homeserver.address if name == config.homeserver.domain else None)
        token = server.as_token.get_secret_value() if server.as_token is not None else None
        servers[name] = PuppetServer(str(address), token)
    return servers


def make_networks(
    config: Config,
    configs: Mapping[str, NetworkConfig],
    connectors: Mapping[str, Connector],
    permissions: Permissions,
    users: Users,
) -> Networks:
    """The networks of the engine."""
    networks: dict[NetworkId, Network] = {}
    for name, network in configs.items():
        common = network.common
        relay = common.relay or config.relay
        unknown = common.unknown or config.journal.unknown
        provided = frozenset(config.homeserver.domain if mask == "local" else mask for mask in common.provided_logins)
        options = NetworkOptions(
            name=common.displayname,
            relay=relay.enabled,
            relay_reactions=relay.reactions or connectors[name].meta.signed,
            relay_polls=relay.polls,
            unknown=Unknown.RESEND if unknown is UnknownOutcome.RESEND else Unknown.REPORT,
            eager=common.members is MembersShown.EAGER,
            leave_grace=common.leave_grace,
            follow_removals=common.follow_removals,
            power_cap=common.power_cap,
            provided_for=provided,
            grants=frozenset(common.grants),
            double_bridges=common.double_bridges,
            max_age=common.max_age,
            eager_in={
                connectors[name].chat(portal.chat): portal.members is MembersShown.EAGER
                for portal in common.portals
                if portal.members is not None
            },
            copy_between_rooms=common.copy_between_rooms,
            opens_files=common.encrypted_file_links
            and common.encryption in (NetworkEncryption.ALLOW, NetworkEncryption.DEFAULT)
            and config.encryption.mode is not EncryptionMode.OFF,
        )
        identifier = NetworkId(name)
        networks[identifier] = Network(identifier, connectors[name], options, permissions, users)
    return Networks(networks)


def room_settings(config: Config, configs: Mapping[str, NetworkConfig]) -> RoomSettings:
    """What the configuration says of rooms."""
    return RoomSettings(
        join_rules={NetworkId(name): one.common.portal_join_rule.value for name, one in configs.items()},
        admins=tuple(UserId(user) for user in config.rules().admins()),
        rate=config.limits.membership_rate,
        spaces={NetworkId(name): SpaceKind(one.common.space.value) for name, one in configs.items()},
        by_alias=frozenset(NetworkId(name) for name, one in configs.items() if one.common.create_by_alias),
    )
