"""What a chat can carry, as the document that its rooms show to clients. Pure.

Source: the state event `com.beeper.room_features` that other bridges publish and clients read; beside it the same in
our own words, which know more. A level is -2 rejected, -1 dropped, 0 said in another way, 1 in part, 2 in full.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from bridge_core.api.content import MediaKind
from bridge_core.api.network import Capabilities, Level

EVENT: Final = "com.beeper.room_features"
OURS: Final = "dev.matrix_bridge.features"

_FORMATTING: Final = (
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "inline_code",
    "code_block",
    "syntax_highlighting",
    "blockquote",
    "inline_link",
    "unordered_list",
    "ordered_list",
    "headers",
    "horizontal_line",
    "superscript",
    "subscript",
    "math",
    "details_summary",
    "table",
    "color_foreground",
    "color_background",
)
_FILES: Final[Mapping[MediaKind, str]] = {
    MediaKind.IMAGE: "m.image",
    MediaKind.VIDEO: "m.video",
    MediaKind.AUDIO: "m.audio",
    MediaKind.FILE: "m.file",
    MediaKind.VOICE: "org.matrix.msc3245.voice",
    MediaKind.STICKER: "m.sticker",
}
_SINGLE: Final = {
    "location_message": "location",
    "poll": "poll",
    "thread": "thread",
    "reply": "reply",
    "edit": "edit",
    "delete": "redact",
    "reaction": "react",
}
_STATE: Final = {"m.room.name": "name", "m.room.topic": "topic", "m.room.avatar": "avatar"}
NAMES: Final = (
    "text",
    "formatting",
    "emote",
    "notice",
    "reply",
    "thread",
    "edit",
    "redact",
    "react",
    "poll",
    "vote",
    "location",
    "caption",
    "mention",
    "spoiler",
    "emoji",
    "expiry",
    "typing",
    "receipts",
    "delivery",
    "presence",
    "name",
    "topic",
    "avatar",
    "member",
    "power",
    *(kind.value for kind in MediaKind),
)
"""All features that a chat may have."""


def document(can: Capabilities, missing: frozenset[str]) -> dict[str, Any]:
    """The content of the state event. `missing` are features that the client has no method for."""

    def level(feature: str) -> int:
        return int(Level.REJECTED if feature in missing else can.level(feature))

    content: dict[str, Any] = {
        "formatting": {
            **dict.fromkeys(_FORMATTING, level("formatting")),
            "user_link": level("mention"),
            "custom_emoji": level("emoji"),
            "spoiler": level("spoiler"),
            "spoiler_reason": level("spoiler"),
        },
        "file": {name: _file(can, kind) for kind, name in _FILES.items()},
        "state": {event: {"level": level(feature)} for event, feature in _STATE.items()},
        "member_actions": dict.fromkeys(("ban", "kick", "invite"), level("member")),
        **{name: level(feature) for name, feature in _SINGLE.items()},
        "custom_emoji_reactions": level("react") > 0 and level("emoji") > 0,
        "read_receipts": level("receipts") > 0,
        "typing_notifications": level("typing") > 0,
        OURS: {feature: level(feature) for feature in NAMES},
    }
    limits = {
        "max_text_length": can.max_text,
        "edit_max_age": can.edit_age,
        "delete_max_age": can.redact_age,
        "reaction_count": can.max_reactions,
        "allowed_reactions": list(can.reactions) if can.reactions is not None else None,
    }
    content.update({name: limit for name, limit in limits.items() if limit is not None})
    content["id"] = f"dev.matrix_bridge.{digest(content)}"
    return content


def digest(content: Mapping[str, Any]) -> str:
    """The same for the same document."""
    return blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def _file(can: Capabilities, kind: MediaKind) -> dict[str, Any]:
    level = int(can.level(kind))
    types = can.mimes.get(kind)
    said: dict[str, Any] = {
        "mime_types": dict.fromkeys(types, level) if types is not None else {"*/*": level},
        "caption": int(can.level("caption")),
    }
    if can.max_file is not None:
        said["max_size"] = can.max_file
    return said
