"""What the bridge does on Matrix besides sending events: memberships, state, receipts. All of it may be done twice."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import orjson

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import SendRequest

REASON: Final = b'"reason"'
"""In the body of each request that gives a reason (and of a few others)."""
Act = Callable[[SendRequest], Awaitable[None]]
"""Brings about what the request wishes for; errors as of the Matrix side. Nothing harmful when it is so already."""


class Acts:
    """All acts by kind. A delivery towards Matrix that names a kind is performed here instead of being sent."""

    def __init__(self) -> None:
        self._acts: dict[str, Act] = {}
        self._secret: Callable[[RoomId, UserId], Awaitable[bool]] | None = None

    def seal_by(self, secret: Callable[[RoomId, UserId], Awaitable[bool]]) -> None:
        """Ask this whether what a user says in a room is encrypted: then no reasons are given there."""
        self._secret = secret

    def add(self, kind: str, act: Act) -> None:
        """Perform requests of `kind` so. Kinds are stored in the journal: one that was used keeps its meaning."""
        if kind in self._acts:
            raise ValueError(f"{kind} is performed already")
        self._acts[kind] = act

    async def perform(self, kind: str, request: SendRequest) -> None:
        """Do it. Raises RejectedError for a kind that this version does not know, and what the act raises."""
        act = self._acts.get(kind)
        if act is None:
            raise RejectedError(f"this version does not know how to do {kind}")
        if self._secret is not None and REASON in request.body and await self._secret(request.room, request.sender):
            request = without_reason(request)
        await act(request)


def without_reason(request: SendRequest) -> SendRequest:
    """The same, for an encrypted room: a reason is what people say, in what homeservers have to read."""
    content = orjson.loads(request.body)
    content.pop("reason", None)
    return replace(request, body=orjson.dumps(content))
