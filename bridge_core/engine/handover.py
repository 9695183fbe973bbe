"""Which method of a client takes which event of Matrix."""

from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.errors import UnsupportedError
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixOutgoing,
    MatrixPollEnd,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
    MatrixVote,
)
from bridge_core.api.network import Attempt, Client, Sent
from bridge_core.api.optional import ChangesInfo, Edits, Moderates, Polls, Reacts, Redacts

_WAYS: Final[Mapping[type, tuple[type, str, str]]] = {
    MatrixEdit: (Edits, "edit", "messages cannot be edited there"),
    MatrixRedaction: (Redacts, "redact", "messages cannot be taken back there"),
    MatrixReaction: (Reacts, "react", "there are no reactions there"),
    MatrixVote: (Polls, "vote", "there are no polls there"),
    MatrixPollEnd: (Polls, "end_poll", "there are no polls there"),
    MatrixMember: (Moderates, "moderate", "members cannot be changed from Matrix there"),
    MatrixPower: (Moderates, "moderate", "powers cannot be changed from Matrix there"),
    MatrixInfo: (ChangesInfo, "change_info", "the chat cannot be described from Matrix there"),
}
"""By event: the optional part of the contract, its method, and what the sender is told where it is missing."""


class HandOver:
    """Hands events to clients. Whether a class of clients has a part of the contract is asked once: it is not cheap."""

    def __init__(self) -> None:
        self._has: dict[tuple[type, type], bool] = {}

    def takes(self, client: Client, kind: type) -> bool:
        """Whether the client has the method for events of a class."""
        if kind is MatrixMessage:
            return True
        key = (type(client), kind)
        if key not in self._has:
            self._has[key] = isinstance(client, _WAYS[kind][0])
        return self._has[key]

    async def perform(self, client: Client, event: MatrixOutgoing, attempt: Attempt) -> Sent:
        """Hand it over. Raises UnsupportedError in words for the sender, and the errors of the contract."""
        if isinstance(event, MatrixMessage):
            return await client.send(event, attempt)
        _, method, refusal = _WAYS[type(event)]
        if not self.takes(client, type(event)):
            raise UnsupportedError(refusal)
        way: Any = getattr(client, method)
        sent: Sent = await way(event, attempt)
        return sent
