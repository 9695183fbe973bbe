"""Stands in for what is not there yet."""

from collections.abc import Sequence

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import MessageId
from bridges.email.codec.addresses import Address
from bridges.email.mail import Door, Envelope, Mail, Verdict
from bridges.email.ports import About, OpenRaw, OutgoingMail, Reply, Visit


class Unsent:
    """Sends nothing."""

    def token(self, address: Address) -> str | None:
        return None

    async def events(self, token: str, mail: Mail) -> Sequence[RemoteEvent]:
        return ()

    async def submit(
        self, mail: OutgoingMail, recipients: Sequence[Address], about: About, *, hold: float | None = None
    ) -> None:
        raise RejectedError("no mail is sent yet")

    async def replace(self, message: MessageId, mail: OutgoingMail) -> bool:
        return False

    async def cancel(self, message: MessageId) -> bool:
        return False


class Believing:
    """Lets everything in."""

    async def connected(self, peer: str, door: Door) -> Reply | None:
        return None

    async def sender(self, visit: Visit, sender: Address | None) -> Reply | None:
        return None

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        return None

    async def mail(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        return Verdict(envelope.sender, verified=envelope.sender is not None)
