"""Whether MAIL and RCPT are let pass: bounds first, then the directory, then the inspector."""

import json
from dataclasses import replace
from typing import Final

from bridges.email.codec.addresses import Address
from bridges.email.codec.smtp import MailCommand
from bridges.email.config.receiving import Tls
from bridges.email.mail import Door
from bridges.email.ports import Reply, Visit
from bridges.email.smtp.parts import Refused, Shared
from bridges.email.smtp.reception import FULL, TOO_LARGE, Transaction

_ADDRESS_BYTES: Final = 40 * 1024
"""Of all recipients of one mail, as stored: its envelope is one row, bounded. The rest comes as a second mail."""


def check_secured(shared: Shared, *, tls: bool, login: str | None) -> None:
    """Raises Refused where the door wants TLS or a password first."""
    if shared.tls is Tls.REQUIRED and not tls:
        raise Refused(Reply(530, "5.7.0", "STARTTLS comes first"))
    if shared.door.kind is Door.SUBMISSION and login is None:
        raise Refused(Reply(530, "5.7.0", "a password is needed here"))


async def admit_sender(shared: Shared, visit: Visit, mail: MailCommand) -> Transaction:
    """A mail may begin. Raises Refused. The null reverse-path is asked about too, but nobody should refuse it."""
    parts, flight = shared.parts, shared.flight
    size = mail.size or 0
    if size > parts.settings.largest:
        raise Refused(TOO_LARGE)
    if flight.used + size > flight.most or not await shared.ask(parts.intake.room(size)):
        raise Refused(FULL)
    if (
        visit.login is not None
        and mail.sender is not None
        and not await shared.ask(parts.directory.may_send_as(visit.login, mail.sender))
    ):
        raise Refused(Reply(553, "5.7.1", "that is not your address"))
    refusal = await shared.ask(parts.inspector.sender(visit, mail.sender))
    if refusal is not None:
        raise Refused(refusal)
    return Transaction(mail, [])


async def admit_recipient(shared: Shared, visit: Visit, transaction: Transaction, address: Address) -> None:
    """Add a recipient. Raises Refused; then it was not added. Postmaster is never kept waiting by the inspector."""
    parts = shared.parts
    if address in transaction.recipients:
        return
    length = len(json.dumps([address.local, address.domain], ensure_ascii=False).encode()) + 1
    crowded = len(transaction.recipients) >= parts.settings.recipients
    if crowded or transaction.address_bytes + length > _ADDRESS_BYTES:
        raise Refused(Reply(452, "4.5.3", "too many recipients, send the rest as another mail"))
    sender = transaction.mail.sender
    if visit.login is not None:
        visit = replace(visit, accepted=tuple(transaction.recipients))
    refusal = await shared.ask(parts.directory.recipient(visit, sender, address))
    if refusal is None and address.local.lower() != "postmaster":
        refusal = await shared.ask(parts.inspector.recipient(visit, sender, address))
    if refusal is not None:
        raise Refused(refusal)
    transaction.recipients.append(address)
    transaction.address_bytes += length
