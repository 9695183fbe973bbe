"""What a fake homeserver keeps of a user and of a file."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Account", "File"]


@dataclass(slots=True)
class Account:
    """A registered user. `token` is None for the appservice's own; `device` is the one that the token belongs to."""

    id: str
    token: str | None = None
    device: str | None = None
    devices: dict[str, str] = field(default_factory=dict)
    displayname: str | None = None
    avatar_url: str | None = None
    presence: tuple[str, str | None] = ("offline", None)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Account data by type."""


@dataclass(slots=True)
class File:
    """A media address; `data` is None until its bytes are uploaded."""

    owner: str
    data: bytes | None = None
    mime: str = "application/octet-stream"
    name: str | None = None
