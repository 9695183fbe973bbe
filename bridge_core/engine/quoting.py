"""What a message answers, in words, for chats that do not show it: only what both sides could read anyway.

The homeserver shows the bridge more than it shows a replier, so its word alone is no licence to repeat an event
(CVE-2023-38700, CVE-2024-32000). Repeated is only what was said in this very chat and room, to all of the chat, while
the replier was in the room, and is still there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from bridge_core.api.content import Spoiler
from bridge_core.api.errors import BridgeError
from bridge_core.api.matrix import MatrixMessage, MessageRef
from bridge_core.api.network import Client
from bridge_core.api.optional import Quotes
from bridge_core.content.limits import Limits
from bridge_core.content.matrix import parse_message
from bridge_core.content.plain import to_plain
from bridge_core.content.profiles import PROFILE
from bridge_core.content.tree import nodes_of
from bridge_core.engine.decrypting import Decrypting
from bridge_core.engine.expiry import TIMER
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.relaying import without_name
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

FOR_SOME = "dev.matrix_bridge.least_power"
"""Content key of what was said to some people of the chat only: the least power that they have."""
_MOST = 500


class Quoting:
    """Fetches excerpts from the homeserver when a message is sent: no text is kept for it."""

    def __init__(self, matrix: MatrixSide, members: Members, decrypting: Decrypting, limits: Limits) -> None:
        self._matrix = matrix
        self._decrypting = decrypting
        self._members = members
        self._limits = limits

    async def quoted(self, client: Client, portal: PortalRow, message: MatrixMessage) -> MatrixMessage:
        """The message, with an excerpt of what it answers if its client wants one and it may have one.

        What cannot be known now is left out: the message does not wait for it.
        """
        answered = message.reply_to
        if answered is None or not isinstance(client, Quotes):
            return message
        longest = min(client.quotes(message), _MOST)
        if longest <= 0 or portal.options.get(TIMER):
            return message  # what disappears is not said once more
        try:
            text = await self._said(message, answered)
        except BridgeError as error:
            log.info("quote_left_out", room=message.room, error=str(error))
            return message
        if not text:
            return message
        cut = text if len(text) <= longest else f"{text[: longest - 1].rstrip()}\u2026"
        return replace(message, reply_to=replace(answered, excerpt=cut))

    async def _said(self, message: MatrixMessage, answered: MessageRef) -> str:
        if answered.remote_sender is None and answered.matrix_sender is None:
            return ""  # it never crossed, or whoever said it has opted out
        came = (await self._members.joined_at(message.room)).get(message.sender.id)
        if came is None or answered.timestamp is None or answered.timestamp < came:
            return ""
        event: Mapping[str, Any] | None = await self._matrix.event(message.room, answered.event_id, self._matrix.bot)
        if event is None or event.get("room_id", message.room) != message.room:
            return ""
        event = await self._decrypting.clear({**event, "room_id": message.room})
        if event.get("type") != "m.room.message":
            return ""
        content = event.get("content")
        if not isinstance(content, dict) or not content or FOR_SOME in content:
            return ""
        text = parse_message(content, self._limits).content.text
        profile = content.get(PROFILE)
        if isinstance(profile, dict) and profile.get("has_fallback") is True:
            text = without_name(text, str(profile.get("displayname")))
        if any(isinstance(node, Spoiler) for node in nodes_of(text)):
            return ""
        return " ".join(to_plain(text)[: _MOST * 4].split())
