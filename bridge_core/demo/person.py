"""What every client of demos and tests does in the same way, whatever it speaks by: say things, and wait for some."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["Person"]

_T = TypeVar("_T")


class Person(ABC):
    """A mix-in over `send`, `_more` and `_last`. Every call raises what they raise."""

    user_id: str

    @abstractmethod
    async def send(self, room: str, content: Mapping[str, Any], kind: str = "m.room.message") -> str:
        """Sends an event and returns its id."""

    @abstractmethod
    async def _more(self) -> None:
        """Returns once there may be something new to see; nothing that came since it was called is missed."""

    @abstractmethod
    def _last(self) -> str:
        """What was seen last, for whoever reads why a wait ended."""

    async def wait_until(self, found: Callable[[], _T | None], timeout: float, what: str) -> _T:
        """Returns the first result of `found` that is not None; raises TimeoutError naming `what`.

        Several callers may wait at once.
        """
        try:
            async with asyncio.timeout(timeout):
                while (result := found()) is None:
                    await self._more()
                return result
        except TimeoutError:
            raise TimeoutError(f"{self.user_id} did not see {what} in {timeout:g} s; {self._last()}") from None

    async def send_text(self, room: str, body: str, *, html: str | None = None, kind: str = "m.text") -> str:
        """Sends a message and returns its id; `kind` is its msgtype (m.text, m.notice, m.emote)."""
        content = {"msgtype": kind, "body": body}
        if html is not None:
            content |= {"format": "org.matrix.custom.html", "formatted_body": html}
        return await self.send(room, content)

    async def reply(self, room: str, event_id: str, body: str) -> str:
        """Replies to an event with plain text."""
        relation = {"m.in_reply_to": {"event_id": event_id}}
        return await self.send(room, {"msgtype": "m.text", "body": body, "m.relates_to": relation})

    async def edit(self, room: str, event_id: str, body: str) -> str:
        """Replaces an own message's text."""
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        return await self.send(room, {**new, "body": f"* {body}", "m.new_content": new, "m.relates_to": relation})

    async def react(self, room: str, event_id: str, key: str) -> str:
        """Puts a reaction on an event; it is never encrypted, as with all clients."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room, {"m.relates_to": relation}, "m.reaction")
