"""What comes back to the reverse-paths of our mails (VERP): reports on the message that they belong to."""

from collections.abc import Sequence
from typing import Final

import structlog

from bridge_core.api.events import Fate, RemoteEvent
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.delivery.fates import status
from bridges.email.delivery.rows import Row
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.mail import Fate as Told
from bridges.email.mail import Mail, ReportKind
from bridges.email.ports import About, Reply

log = structlog.get_logger(__name__)
_FATES: Final = {
    "failed": Fate.FAILED,
    "delayed": Fate.DELAYED,
    "delivered": Fate.DELIVERED,
    "expanded": Fate.DELIVERED,
    "relayed": Fate.DELIVERED,
}


class ReturnPaths:
    """The `Returned` of ports. A report counts by its token alone: what it says of itself anybody can write."""

    def __init__(self, shelf: Shelf, tokens: Tokens, suppressions: Suppressions, name: str) -> None:
        self._shelf = shelf
        self._tokens = tokens
        self._suppressions = suppressions
        self._name = f"{name}+"

    def token(self, address: Address) -> str | None:
        """As `Returned.token`; the proof in it is checked, so that nobody can guess one."""
        local = address.local.casefold()
        token = local.removeprefix(self._name)
        return token if token != local and self._tokens.returned(token) is not None else None

    async def about(self, token: str) -> About | None:
        """Which mail the token is of, as long as it is remembered: an automatic answer belongs to its conversation."""
        row = await self._row(token)
        return row.about if row is not None else None

    async def events(self, token: str, mail: Mail) -> Sequence[RemoteEvent]:
        """As `Returned.events`. A report names one recipient, the token's, whatever address stands in it."""
        row = await self._row(token)
        if row is None:
            log.info("mail_report_unknown", token=token[:8])
            return ()
        if mail.report is None or mail.report.kind is not ReportKind.DELIVERY:
            return ()
        found = [one for one in mail.report.fates if one.action.lower() in _FATES]
        if not found:
            return ()
        told = _worst(found)
        fate = _FATES[told.action.lower()]
        if fate is Fate.FAILED and told.status.startswith("5"):
            reply = Reply(550, told.status, told.text)
            await self._suppressions.note(row.about.mailbox.domain, row.recipient, reply)
        return (status(row.about, row.recipient, fate, _words(told)),)

    async def _row(self, token: str) -> Row | None:
        name = self._tokens.returned(token)
        return await self._shelf.get(name) if name is not None else None


def _worst(fates: Sequence[Told]) -> Told:
    """Of an address that became several, what the sender must know."""
    order = ("failed", "delayed", "relayed", "expanded", "delivered")
    return min(fates, key=lambda one: order.index(one.action.lower()))


def _words(told: Told) -> str:
    if told.action.lower() == "relayed":
        return "passed on to a system that sends no reports"
    return " ".join(one for one in (told.status, told.text) if one)[:500]
