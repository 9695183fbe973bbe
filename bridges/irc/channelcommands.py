"""What Matrix users tell the network about channels: commands beside those of the bridge."""

from collections.abc import Callable, Sequence
from typing import Protocol

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import NotConnectedError, RejectedError, UnsupportedError
from bridge_core.api.ids import ChatId, UserId
from bridges.irc.nicks import BadName
from bridges.irc.state import NetworkState


class Speaks(Protocol):
    """A Matrix user's client: `puppet.Puppet`."""

    async def say_to(self, chat: ChatId, status: str, text: str) -> None:
        """Says something to those with a status in a channel; returns when it is proved."""


class ChannelCommands:
    """key and ops. `client` is a user's; `retry` has a channel entered now that was refused before."""

    def __init__(
        self,
        state: NetworkState,
        client: Callable[[UserId], Speaks | None],
        retry: Callable[[ChatId], None],
    ) -> None:
        self._state = state
        self._client = client
        self._retry = retry

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them."""
        return (
            AdapterCommand(
                "key",
                "CHANNEL [KEY]",
                "enter a channel with this key from now on (none: forget it)",
                self._key,
                level=CommandLevel.ADMIN,
                private=True,
                secret=("key",),
            ),
            AdapterCommand("ops", "TEXT...", "say something to the operators of this room's channel only", self._ops),
        )

    async def _key(self, call: CommandCall) -> str:
        try:
            chat = self._state.chat(call["channel"])
            await self._state.keys.keep(chat, call.get("key"))
        except BadName as error:
            raise RejectedError(str(error)) from None
        self._retry(chat)
        return f"{chat} is entered with that key." if call.get("key") else f"{chat} is entered without a key."

    async def _ops(self, call: CommandCall) -> str:
        """The network tells only its operators; who reads along in the room has seen the command all the same."""
        if call.chat is None or not self._state.is_channel(call.chat):
            raise RejectedError("this room is no channel's")
        client = self._client(call.user)
        if client is None:
            raise NotConnectedError("you have no connection to the network now")
        status = self._state.isupport.to_operators
        if status is None:
            raise UnsupportedError("this network has no messages to operators only")
        await client.say_to(call.chat, status, " ".join(call["text"].split()))
        return f"Said to {status}{call.chat}."
