"""What a chat is called, is about and looks like: from the network into its rooms, and from people there back.

A room that was there before the bridge belongs to its admins: there nothing of it crosses, in neither direction.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.events import RemoteInfo
from bridge_core.api.ids import EventId, NetworkId, PortalKey, RoomId
from bridge_core.api.matrix import MatrixInfo, MatrixSender
from bridge_core.engine.avatars import Avatars
from bridge_core.engine.bridgestate import BRIDGE_STATE, bridge_content, bridge_key
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.injection import Injection
from bridge_core.engine.joinrules import stricter
from bridge_core.engine.labels import NAME, TOPIC, label, lines
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import PortalIndex, own_rooms
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.rooms import Describe
from bridge_core.engine.roomstates import RoomStates
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.translation import Kind, Translation

log = structlog.get_logger(__name__)

_TYPES: Final = ("m.room.name", "m.room.topic", "m.room.avatar")
_AVATAR: Final = "avatar"
"""Option of a portal: the source of the picture that its rooms have."""

Further = Callable[[PortalRow, RemoteInfo], Awaitable[list[Prepared]]]
"""What else follows for a portal when its chat's description has changed."""


class Descriptions:
    """Names, topics and pictures of chats, both ways. `join_rules`: the widest that each network's rooms may have."""

    def __init__(
        self,
        portals: PortalIndex,
        matrix: MatrixSide,
        avatars: Avatars,
        states: RoomStates,
        injection: Injection,
        describe: Describe,
        join_rules: Mapping[NetworkId, str],
    ) -> None:
        self._portals = portals
        self._matrix = matrix
        self._avatars = avatars
        self._states = states
        self._injection = injection
        self._describe = describe
        self._join_rules = join_rules
        self._further: tuple[Further, ...] = ()

    def add_to(self, conversion: Conversion, translation: Translation) -> None:
        """Take part in both directions."""
        conversion.add(RemoteInfo, self._changed)
        for event_type in _TYPES:
            kind = Kind(
                self._translated, True, MatrixInfo, reaches=self._reaches, undo=self._put_back, taken=self._taken
            )
            translation.add(event_type, kind)

    def also(self, further: Further) -> None:
        """Let this follow too when a description has changed."""
        self._further = (*self._further, further)

    async def _changed(self, entry: Entry, event: RemoteInfo) -> list[Prepared]:
        key = PortalKey(NetworkId(entry.network), event.chat, event.receiver)
        portal = self._portals.meant(key, entry.id)
        if portal is None:
            raise NothingToDo("no portal for this chat")
        name = None if event.name is None else label(event.name, NAME)
        topic = None if event.topic is None else lines(event.topic, TOPIC)
        portal = await self._portals.update(portal, name=name, topic=topic)
        wishes = {} if name is None else {"m.room.name": {"name": name or label(portal.chat, NAME)}}
        if topic is not None:
            wishes["m.room.topic"] = {"topic": topic}
        if event.avatar is not None and (mxc := await self._picture(portal, event.avatar)) is not None:
            wishes["m.room.avatar"] = {"url": mxc} if mxc else {}
            portal = await self._portals.set_option(portal, _AVATAR, event.avatar or None)
        if event.join_rule is not None:
            wishes["m.room.join_rules"] = {"join_rule": self._join_rule(portal, event.join_rule)}
        made = [self._states.wish(room, kind, wish) for room in own_rooms(portal) for kind, wish in wishes.items()]
        if name is not None:
            made += await self._bridge_states(portal, name)
        for further in self._further:
            made += await further(portal, event)
        if not made:
            raise NothingToDo("nothing of it is shown in a room")
        return made

    async def _bridge_states(self, portal: PortalRow, name: str) -> list[Prepared]:
        meta, _, _ = await self._describe(portal)
        content = bridge_content(self._matrix.bot, portal, meta, name or portal.chat)
        key = bridge_key(portal.network, portal.chat)
        return [self._states.wish(room, kind, content, key) for room in own_rooms(portal) for kind in BRIDGE_STATE]

    def _join_rule(self, portal: PortalRow, asked: str) -> str:
        """What the network asks for, as long as it lets nobody in who may not come in by the configuration."""
        widest = "invite" if portal.receiver else self._join_rules.get(portal.network, "public")
        return stricter(widest, asked)

    async def _picture(self, portal: PortalRow, source: str) -> str | None:
        """Where the picture is on Matrix, uploaded once; empty for none, None when it cannot be had."""
        try:
            return await self._avatars.mxc(source)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.info("room_picture_not_carried", network=portal.network, chat=portal.chat, error=str(error))
            return None

    def _reaches(self, event: Mapping[str, Any], portal: PortalRow) -> bool:
        if RoomId(event["room_id"]) not in own_rooms(portal):
            return False
        said = _said(event)
        return not (said.get("name") == portal.name or said.get("topic") == portal.topic)

    async def _translated(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixInfo:
        timestamp = event.get("origin_server_ts")
        return MatrixInfo(
            RoomId(event["room_id"]),
            EventId(event["event_id"]),
            portal.chat,
            sender,
            timestamp if isinstance(timestamp, int) else 0,
            **_said(event),
        )

    async def _taken(self, event: Mapping[str, Any], portal: PortalRow) -> None:
        """The chat's other rooms say so too, and all tell it to clients."""
        said = _said(event)
        picture: Attachment | None = said.get("avatar")
        info = RemoteInfo(
            portal.chat,
            name=said.get("name"),
            topic=said.get("topic"),
            avatar=picture.source if picture is not None else None,
            receiver=portal.receiver,
        )
        await self._injection.put(portal.network, info)

    async def _put_back(self, event: Mapping[str, Any], portal: PortalRow) -> None:
        """The room says again what the network says."""
        said = _said(event)
        _, known, _ = await self._describe(portal)
        name = (known.name if known else None) or portal.name or portal.chat
        topic = known.topic if known and known.topic is not None else portal.topic
        avatar = known.avatar if known and known.avatar is not None else portal.options.get(_AVATAR, "")
        info = RemoteInfo(
            portal.chat,
            name=name if "name" in said else None,
            topic=topic if "topic" in said else None,
            avatar=avatar if "avatar" in said else None,
            receiver=portal.receiver,
        )
        await self._injection.put(portal.network, info)


def _said(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a state event says of the chat, as the fields of MatrixInfo."""
    content = event["content"]
    if event["type"] == "m.room.avatar":
        url, info = content.get("url"), content.get("info")
        info = info if isinstance(info, dict) else {}
        source = url if isinstance(url, str) and url.startswith("mxc://") else ""
        mime = info.get("mimetype")
        return {"avatar": Attachment(MediaKind.IMAGE, "avatar", source, mime if isinstance(mime, str) else None)}
    field = "name" if event["type"] == "m.room.name" else "topic"
    text = content.get(field)
    text = text if isinstance(text, str) else ""
    return {field: label(text, NAME) if field == "name" else lines(text, TOPIC)}
