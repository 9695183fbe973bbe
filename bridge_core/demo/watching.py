"""Shows what is said in the rooms while a demo stays open."""

from collections.abc import Callable

import aiohttp

from bridge_core.api.demo import DemoError, Event
from bridge_core.demo.encrypted.user import EncryptedUser
from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridge_core.demo.screen import Screen, shown

__all__ = ["line_of", "watch"]

_WAIT_MS = 5_000


def line_of(event: Event, own: str) -> str | None:
    """A message as one line with an arrow that says where it comes from; None for other events."""
    body = event.get("content", {}).get("body")
    if event.get("type") != "m.room.message" or not isinstance(body, str):
        return None
    sender = str(event.get("sender"))
    arrow = "Matrix ──▶" if sender == own else "──▶ Matrix"
    return f"{arrow}  {sender}  {shown(body)}"


async def watch(client: MatrixClient | EncryptedUser, screen: Screen, trouble: Callable[[], str | None]) -> None:
    """Show every new message until cancelled. Raises DemoError when a process has ended."""
    wait = 0
    seen: set[str] = set()
    while True:
        try:
            await client.sync(wait)
        except (MatrixError, aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(trouble() or f"the homeserver does not answer: {error}") from error
        for event in client.events:
            known = event["event_id"] in seen
            seen.add(event["event_id"])
            line = line_of(event, client.user_id)
            if wait and not known and line is not None:  # what is known at first was shown as a step
                screen.say(line)
        wait = _WAIT_MS
        words = trouble()
        if words is not None:
            raise DemoError(words)
