"""Stands in for what is not there yet."""

from bridges.email.codec.addresses import Address
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.ports import OpenRaw, Reply, Visit


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
