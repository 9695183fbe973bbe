"""What became of mails, told where they were written."""

from collections.abc import Sequence

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import Fate, RemoteEvent, RemoteStatus
from bridge_core.api.ids import RemoteUserId
from bridge_core.api.network import Inbox
from bridges.email.codec.addresses import Address
from bridges.email.delivery.rows import Row
from bridges.email.ports import About, Reply

log = structlog.get_logger(__name__)


class Fates:
    """Tells them."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def tell(self, events: Sequence[RemoteEvent]) -> bool:
        """Return when they are stored: whether they are. What is not is told with the next try."""
        if not events:
            return True
        try:
            await self._inbox.receive(events)
        except BridgeError as error:
            log.warning("mail_fate_not_stored", events=len(events), error=str(error))
            return False
        return True


def status(about: About, recipient: Address, fate: Fate, reason: str) -> RemoteStatus:
    """What became of a mail for one recipient."""
    return RemoteStatus(about.chat, about.message, fate, RemoteUserId(recipient.key), reason or None, about.receiver)


def failed(row: Row) -> RemoteStatus:
    """It will not arrive."""
    return status(row.about, row.recipient, Fate.FAILED, why(row))


def delayed(row: Row, give_up_at: str) -> RemoteStatus:
    """It has not arrived yet."""
    return status(row.about, row.recipient, Fate.DELAYED, f"{why(row)}. It is tried until {give_up_at}.")


def recovered(row: Row) -> RemoteStatus:
    """It has arrived after all."""
    return status(row.about, row.recipient, Fate.DELIVERED, f"taken by {row.server}" if row.server else "")


def why(row: Row) -> str:
    """The last answer, in words for the sender."""
    reply = row.reply
    if reply is None:
        return "it could not be tried"
    if not reply.code:
        return reply.text
    server = f"{row.server}: " if row.server else ""
    return f"{server}{said(reply)}"


def said(reply: Reply) -> str:
    """A server's answer on one line."""
    return " ".join(one for one in (str(reply.code), reply.status, reply.text) if one)
