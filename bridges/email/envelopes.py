"""A mail's envelope and verdict as the bytes of one row, and back. Pure."""

import json
from typing import Any, Final

from bridges.email.codec.addresses import Address
from bridges.email.mail import Door, Envelope, Policy, Result, Signature, Verdict

_SIGNATURES: Final = 10
_WORDS: Final = 300


def encode(envelope: Envelope, verdict: Verdict, blob: str) -> bytes:
    """At most 64 KiB where the recipients' addresses have 40: what strangers wrote beside them is cut."""
    row = {
        "id": envelope.id,
        "door": envelope.door.value,
        "from": _address(envelope.sender),
        "to": [_address(one) for one in envelope.recipients],
        "peer": envelope.peer,
        "helo": envelope.helo[:255],
        "at": envelope.received_at,
        "size": envelope.size,
        "tls": envelope.tls,
        "login": envelope.login,
        "utf8": envelope.utf8,
        "digest": envelope.digest,
        "has_id": envelope.has_id,
        "verdict": {
            "author": _address(verdict.author),
            "spf": verdict.spf.value,
            "signatures": [
                [one.domain[:253], one.selector[:63], one.result.value, one.reason[:100]]
                for one in verdict.signatures[:_SIGNATURES]
            ],
            "dmarc": verdict.dmarc.value,
            "policy": verdict.policy.value,
            "verified": verdict.verified,
            "source": verdict.source[:_WORDS],
            "reason": verdict.reason[:_WORDS],
            "spam": verdict.spam,
            "loose": verdict.loose,
        },
        "blob": blob,
    }
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def decode(data: bytes) -> tuple[Envelope, Verdict, str]:
    """The same again. Raises ValueError for what is damaged."""
    try:
        row = json.loads(data)
        found = row["verdict"]
        verdict = Verdict(
            author=_parse(found["author"]),
            spf=Result(found["spf"]),
            signatures=tuple(
                Signature(domain, selector, Result(result), reason)
                for domain, selector, result, reason in found["signatures"]
            ),
            dmarc=Result(found["dmarc"]),
            policy=Policy(found["policy"]),
            verified=found["verified"] is True,
            source=found["source"],
            reason=found["reason"],
            spam=found["spam"] is True,
            loose=tuple(found.get("loose", ())),
        )
        envelope = Envelope(
            id=row["id"],
            door=Door(row["door"]),
            sender=_parse(row["from"]),
            recipients=tuple(Address(*one) for one in row["to"]),
            peer=row["peer"],
            helo=row["helo"],
            received_at=row["at"],
            size=row["size"],
            tls=row["tls"],
            login=row["login"],
            utf8=row["utf8"],
            digest=row["digest"],
            has_id=row["has_id"],
        )
        return envelope, verdict, str(row["blob"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("a stored mail's envelope is damaged") from error


def _address(address: Address | None) -> list[str] | None:
    if address is None:
        return None
    return [address.local, address.domain, address.name[:_WORDS]] if address.name else [address.local, address.domain]


def _parse(row: Any) -> Address | None:
    return None if row is None else Address(*row)
