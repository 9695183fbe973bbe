"""Whether a mail may be answered by a program (RFC 3834): never a program's, never twice in a week."""

import re
from hashlib import sha256
from typing import Final

from bridge_core.api.host import KV, Clock
from bridges.email.codec.addresses import Address
from bridges.email.mail import Envelope, Mail

MOST_HOPS: Final = 50
"""Received headers of a mail that has gone round in circles."""
_AGAIN: Final = 7 * 86_400_000
_NOBODY: Final = re.compile(
    r"(mailer-daemon|postmaster|bounces?|listserv|majordomo|abuse|root|(no|do-?not|dont|never)[-_.]?reply.*"
    r"|notifications?|owner-.*|.*-(request|owner|bounces?|relay))"
)
_SUBJECTS: Final = re.compile(
    r"(auto(matic)?[ :-]?(reply|response|antwort)|automatische antwort|autosvar|automatiskt svar|automatisk svar"
    r"|risposta automatica|respuesta automática|réponse automatique|automatisch antwoord|out of (the )?office|abwesen"
    r"|undeliver|delivery (status|failure)|returned mail|mail delivery)",
    re.IGNORECASE,
)


def answerable(mail: Mail, envelope: Envelope) -> bool:
    """Whether somebody may have written it who would read an automatic answer. Pure."""
    return not (
        mail.automatic
        or mail.report is not None
        or mail.list_id
        or mail.list_post
        or mail.bridges
        or mail.hops > MOST_HOPS
        or envelope.sender is None
        or any(_NOBODY.fullmatch(one.local.casefold()) for one in (envelope.sender, *mail.authors))
        or _SUBJECTS.search(mail.subject)
    )


class Answers:
    """Remembers who got an automatic answer."""

    def __init__(self, kv: KV, clock: Clock) -> None:
        self._kv = kv
        self._clock = clock

    async def first(self, mailbox: Address, to: Address) -> bool:
        """Whether the mailbox has sent none to the address for a week; from now on it has."""
        key = f"answered/{sha256(f'{mailbox.key}/{to.key}'.encode()).hexdigest()[:32]}"
        now = self._clock.now_ms()
        row = await self._kv.get(key)
        if row is not None and now - int(row) < _AGAIN:
            return False
        await self._kv.put(key, str(now).encode())
        return True
