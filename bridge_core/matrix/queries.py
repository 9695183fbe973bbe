"""What the homeserver may ask: does a user or room exist, and third-party lookups."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["NoQueries", "Queries"]


class Queries(Protocol):
    """Answers of the bridge. The homeserver waits meanwhile, so each must end within seconds."""

    async def user(self, user_id: str) -> bool:
        """Whether the user exists; it must have been registered when this returns True."""

    async def room(self, alias: str) -> bool:
        """Whether the alias exists; its room must have been created when this returns True."""

    async def protocol(self, protocol: str) -> Mapping[str, Any] | None:
        """The protocol's description (user_fields, location_fields, icon, field_types, instances), None if unknown."""

    async def users(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """People of a protocol by its fields; None for an unknown protocol."""

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """Chats of a protocol by its fields; None for an unknown protocol."""

    async def user_of(self, user_id: str) -> Sequence[Mapping[str, Any]]:
        """The people behind a Matrix user id."""

    async def location_of(self, alias: str) -> Sequence[Mapping[str, Any]]:
        """The chats behind a room alias."""


class NoQueries:
    """Knows nothing: every query is answered with 404 or an empty list."""

    async def user(self, user_id: str) -> bool:
        """No user."""
        return False

    async def room(self, alias: str) -> bool:
        """No room."""
        return False

    async def protocol(self, protocol: str) -> Mapping[str, Any] | None:
        """No protocol."""
        return None

    async def users(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """No protocol."""
        return None

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        """No protocol."""
        return None

    async def user_of(self, user_id: str) -> Sequence[Mapping[str, Any]]:
        """Nobody."""
        return ()

    async def location_of(self, alias: str) -> Sequence[Mapping[str, Any]]:
        """Nowhere."""
        return ()
