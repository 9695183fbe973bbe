"""What a room tells of being bridged (MSC2346). Written, and never read: anybody with power in a room can write it."""

from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.network import NetworkMeta
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.portals import ENCRYPTED
from bridge_core.engine.store_ports import PortalRow

BRIDGE_STATE: Final = ("m.bridge", "uk.half-shot.bridge")
"""State types that tell clients what a room is bridged to (MSC2346, unmerged: both are in use)."""


def bridge_key(network: NetworkId, chat: ChatId) -> str:
    """The state key under which a room tells of one chat. At most 255 bytes fit into an event."""
    key = f"dev.matrix_bridge://{network}/{chat}"
    return key.encode()[:255].decode(errors="ignore")


def bridge_content(
    bot: UserId, portal: PortalRow, meta: NetworkMeta, name: str, *, encrypted: bool = False
) -> Mapping[str, Any]:
    """What the room is bridged to, and where plaintext exists. `name` is what the chat is called.

    `encrypted`: the room begins so; of a chat that has had an encrypted room it is said in any case.
    """
    content = {
        "bridgebot": bot,
        "protocol": {"id": meta.protocol, "displayname": meta.name},
        "network": {"id": portal.network, "displayname": meta.name},
        "channel": {"id": portal.chat[:1024], "displayname": label(name, NAME)},
        "dev.matrix_bridge.plaintext": meta.plaintext.value,
    }
    if encrypted or portal.options.get(ENCRYPTED):
        content["dev.matrix_bridge.encryption"] = "to-bridge"
    return content
