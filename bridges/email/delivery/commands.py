"""Commands of the bot about mails on their way out."""

from collections.abc import Sequence

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridges.email.delivery.ledger import Ledger


class QueueCommands:
    """`queue` and `suppressed`. `ledger` is there once the network has been started."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them, for `OffersCommands`."""
        return (
            AdapterCommand(
                "queue",
                "[ACTION] [MAIL]",
                "what waits to be sent. ACTION: list (behind MAIL), show MAIL, retry MAIL or all, drop MAIL",
                self._queue,
                CommandLevel.ADMIN,
                private=True,
            ),
            AdapterCommand(
                "suppressed",
                "[ADDRESS]",
                "addresses that nothing is sent to, since a server said that they do not exist; with ADDRESS it is "
                "written to again",
                self._suppressed,
                CommandLevel.ADMIN,
                private=True,
            ),
        )

    async def _queue(self, call: CommandCall) -> str:
        action, name = call.get("action", "list").lower(), call.get("mail")
        ledger = self._there()
        if action == "list":
            return await ledger.listed(name.lower())
        acts = {"show": ledger.shown, "retry": ledger.retried, "drop": ledger.dropped}
        if action not in acts:
            raise RejectedError("say list, show, retry or drop")
        if not name:
            raise RejectedError(f"say which: {action} MAIL")
        return await acts[action](name.lower())

    async def _suppressed(self, call: CommandCall) -> str:
        address = call.get("address")
        return await self._there().cleared(address) if address else await self._there().suppressed()

    def _there(self) -> Ledger:
        if self.ledger is None:
            raise RejectedError("the network is not started")
        return self.ledger
