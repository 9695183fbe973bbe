"""DMARC records (RFC 9989 section 4.7), and where they stand. Pure."""

from dataclasses import dataclass
from typing import Final

from bridges.email.codec.outcomes import Policy
from bridges.email.codec.tags import lenient_tags

_LABELS: Final = 8


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """What a domain's owner says. `psd` is y, n or u. `testing`: the policy is to be applied one step milder."""

    policy: Policy
    subdomains: Policy
    missing: Policy
    """For subdomains that do not exist."""
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False


def parse_dmarc(text: str) -> DmarcRecord | None:
    """A record; None for what is none. Unknown tags, and known ones with unknown values, are passed over.

    Without a p= that can be read it is as p=none.
    """
    first, _, _ = text.partition(";")
    name, equals, value = first.partition("=")
    if name.strip().lower() != "v" or not equals or value.strip() != "DMARC1":
        return None
    tags = lenient_tags(text)
    policy = _policy(tags.get("p")) or Policy.NONE
    subdomains = _policy(tags.get("sp")) or policy
    psd = tags.get("psd", "u").lower()
    return DmarcRecord(
        policy,
        subdomains,
        _policy(tags.get("np")) or subdomains,
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        psd if psd in ("y", "n") else "u",
        tags.get("t", "n").lower() == "y",
    )


def walk(domain: str) -> list[str]:
    """The names at which a tree walk asks, the domain itself first; at most eight (section 4.10)."""
    labels = domain.split(".")
    found = [domain]
    labels = labels[1:] if len(labels) < _LABELS else labels[-(_LABELS - 1) :]
    while labels:
        found.append(".".join(labels))
        labels = labels[1:]
    return found


def milder(policy: Policy) -> Policy:
    """What is done while the owner tests the policy (t=y)."""
    return Policy.QUARANTINE if policy is Policy.REJECT else Policy.NONE


def _policy(value: str | None) -> Policy | None:
    try:
        return Policy(value.lower()) if value is not None else None
    except ValueError:
        return None
