"""Which header fields of a mail those who answer for its author answer for.

A signature covers the fields that it names (RFC 6376, 5.4 and 8.15): whoever has a signed mail can put others on top
of it, and it still passes. What such fields would do to somebody else is not done. Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bridges.email.codec.addresses import Address
from bridges.email.codec.canonical import field_name
from bridges.email.codec.dkim import SignatureField, parse_signature
from bridges.email.mail import Result, Signature
from bridges.email.trust.head import Head

_LISTS: Final = frozenset({"list-id", "list-post", "list-unsubscribe", "list-unsubscribe-post"})
MOST: Final = 8
"""Signatures of one mail that are looked at, from the top."""
SENSITIVE: Final = _LISTS | {"to", "cc", "reply-to", "in-reply-to", "references", "chat-edit", "chat-delete"}
"""Fields that decide where answers go, which conversation a mail belongs to, and what it does to other mails."""
_ID: Final = re.compile(r"<([^<>]{1,255})>\s*$")


def covered(fields: Iterable[bytes], names: Iterable[str]) -> tuple[str, ...]:
    """The sensitive names of which a signature with these `names` (h=) covers each field that is there."""
    there, listed = Counter(map(field_name, fields)), Counter(names)
    return tuple(sorted(name for name in SENSITIVE if there[name] and listed[name] >= there[name]))


def claimed(head: Head, passed: Iterable[Signature]) -> tuple[Signature, ...]:
    """The same signatures, each with what it covers where only another server has checked them.

    Of several fields that could be the one that passed, only what all of them cover counts; nothing does where one
    cannot be read, or there are too many: it may be that one.
    """
    found, fields = [], _fields(head)
    for one in passed:
        sets = [
            set(covered(head.fields, field.names))
            for field in fields or ()
            if field.domain == one.domain and (not one.selector or field.selector == one.selector)
        ]
        common = set.intersection(*sets) if sets else set[str]()
        found.append(replace(one, covered=tuple(sorted(common))))
    return tuple(found)


def loose_by_results(head: Head, author: Address, signatures: Sequence[Signature]) -> tuple[str, ...]:
    """The same where another server has checked, which does not say what a signature covers.

    Where it names no signature at all, each that could be meant counts; where there is none, it was not a signature.
    """
    passed = claimed(head, (one for one in signatures if one.result is Result.PASS))
    near = [one for one in passed if related(one.domain, author.domain)]
    fields = _fields(head)
    if not signatures and fields is not None:
        domains = {found.domain for found in fields if related(found.domain, author.domain)}
        near = list(claimed(head, (Signature(domain, "", Result.PASS) for domain in sorted(domains))))
        if not near:
            return ()
    return loose(head, [one.covered for one in near], passed)


def related(domain: str, author: str) -> bool:
    """Whether two domains are the same, or one is below the other."""
    return domain == author or domain.endswith(f".{author}") or author.endswith(f".{domain}") if domain else False


def loose(head: Head, author: Iterable[Iterable[str]], signatures: Sequence[Signature]) -> tuple[str, ...]:
    """The sensitive fields of a mail that nobody answers for who may.

    `author` are the names that are covered by what proves the author. A list answers for its own fields.
    """
    good = {name for names in author for name in names}
    ids = head.all("list-id")
    match = _ID.search(head.value(ids[0])) if len(ids) == 1 else None
    if match is not None:
        name = match[1].strip().lower()
        for one in signatures:
            if one.result is Result.PASS and one.domain and (name == one.domain or name.endswith(f".{one.domain}")):
                good |= _LISTS & set(one.covered)
    there = set(map(field_name, head.fields))
    return tuple(sorted(name for name in SENSITIVE if name in there and name not in good))


def _fields(head: Head) -> list[SignatureField] | None:
    """All signatures of a mail; None where there are too many, or one cannot be read."""
    raw = head.all("dkim-signature")
    try:
        return [parse_signature(one) for one in raw] if len(raw) <= MOST else None
    except ValueError:
        return None
