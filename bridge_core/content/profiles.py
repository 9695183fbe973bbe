"""Per-message profiles: whom a message is from where its sender speaks for others. Source: MSC4144 (unstable keys)."""

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.content import Profile
from bridge_core.content.addresses import is_mxc
from bridge_core.content.to_html import escaped

PROFILE: Final = "com.beeper.per_message_profile"
_LONGEST: Final = 100


def add_profile(content: dict[str, Any], profile: Profile, avatar: str | None) -> None:
    """Put the profile on an event's content, and for clients that do not know profiles the name before the text.

    Only on messages of text: files show their own name. `avatar` is on Matrix, or None.
    """
    said: dict[str, Any] = {"id": profile.id[:255]}
    name = shown_name(profile.name)
    if name:
        said["displayname"] = name
    if is_mxc(avatar):
        said["avatar_url"] = avatar
    content[PROFILE] = said
    if name and content.get("msgtype") in ("m.text", "m.notice", "m.emote"):
        said["has_fallback"] = True
        html = content.get("formatted_body")
        formatted = html if isinstance(html, str) else escaped(content["body"])
        content["body"] = f"{name}: {content['body']}"
        content["format"] = "org.matrix.custom.html"
        content["formatted_body"] = f"<strong data-mx-profile-fallback>{escaped(name)}: </strong>{formatted}"


def read_profile(content: Mapping[str, object]) -> Profile | None:
    """The profile of an event's content, claimed by its sender; None when there is none that names somebody."""
    found = content.get(PROFILE, content.get("m.per_message_profile"))
    if not isinstance(found, Mapping):
        return None
    name, avatar, identity = found.get("displayname"), found.get("avatar_url"), found.get("id")
    shown = shown_name(name) if isinstance(name, str) else ""
    if not shown:
        return None
    return Profile(
        identity[:255] if isinstance(identity, str) else "",
        shown,
        avatar if isinstance(avatar, str) and is_mxc(avatar) else None,
    )


def shown_name(name: str | None) -> str:
    """A name in one line of visible characters: nothing that turns the text around or hides in it."""
    spaced = (" " if character.isspace() else character for character in (name or "")[: _LONGEST * 4])
    visible = "".join(character for character in spaced if unicodedata.category(character) not in _HIDDEN)
    return " ".join(visible.split())[:_LONGEST]


_HIDDEN: Final = ("Cc", "Cf", "Cs", "Co")
