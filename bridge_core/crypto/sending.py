"""Sends to-device messages in batches."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from bridge_core.api.ids import UserId
from bridge_core.crypto.keyobjects import PeerDevice
from bridge_core.crypto.ports import KeyServer, Owner

__all__ = ["plain_to_device", "sent"]


async def sent(
    server: KeyServer, owner: Owner, event_type: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
) -> None:
    """Send them in one request; none, no request. A transaction id of its own: whoever repeats it encrypts anew."""
    if messages:
        await server.send_to_device(owner, event_type, secrets.token_hex(12), messages)


async def plain_to_device(
    server: KeyServer,
    owner: Owner,
    event_type: str,
    peers: Sequence[PeerDevice],
    content: Mapping[str, Any],
    batch: int,
) -> None:
    """Send the same, unencrypted, to many devices."""
    for start in range(0, len(peers), batch):
        messages: dict[UserId, dict[str, Mapping[str, Any]]] = {}
        for one in peers[start : start + batch]:
            messages.setdefault(one.user, {})[one.id] = content
        await sent(server, owner, event_type, messages)
