"""What is wrong, or risky, in one registration or between several, in an administrator's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from registration.automaton import Unsupported, overlap
from registration.model import Namespace, Registration

# Ordinary people have names like these; a namespace that holds them all claims the whole server.
_ORDINARY = ("alice", "bob.smith", "x1")
_WEAK = re.compile(r"(?i)change|replace|example|placeholder|secret|password|token|test|xxx|<|>")
_MIN_TOKEN = 32


class Level(StrEnum):
    """How bad a finding is; only errors make a check fail."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: what is wrong, where, and what to do about it."""

    level: Level
    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}\n    {self.advice}"


def review(name: str, registration: Registration, domain: str | None = None) -> list[Finding]:
    """All findings about one registration; `domain` is the homeserver's name when it is known."""
    return list(_review(name, registration, domain))


def weak_secret(value: str) -> str | None:
    """Why `value` must not be used as a token or secret; None when it may."""
    if len(value) < _MIN_TOKEN:
        return f"is shorter than {_MIN_TOKEN} characters"
    if len(set(value)) < 8:
        return "repeats a few characters"
    return "looks like a placeholder" if _WEAK.search(value) and not _random(value) else None


def _random(value: str) -> bool:
    # A generated token may spell "test" by chance; a placeholder is words.
    return bool(re.search(r"[0-9].*[0-9].*[0-9].*[0-9]", value)) and value.count(" ") == 0


def _review(name: str, registration: Registration, domain: str | None) -> Iterator[Finding]:
    for key, token in (("as_token", registration.as_token), ("hs_token", registration.hs_token)):
        if reason := weak_secret(token):
            yield Finding(
                Level.ERROR,
                f"{name}: {key}",
                reason,
                "Generate a new one; both the homeserver and the bridge must then be restarted.",
            )
    if registration.as_token == registration.hs_token:
        yield Finding(
            Level.ERROR,
            f"{name}: hs_token",
            "is the same as as_token, so whoever sees one can play both sides",
            "Generate the two tokens independently.",
        )
    if registration.receive_ephemeral and registration.push_ephemeral:
        yield Finding(
            Level.WARNING,
            f"{name}: de.sorunome.msc2409.push_ephemeral",
            "is set beside receive_ephemeral: each typing, receipt and presence event arrives twice",
            "Remove de.sorunome.msc2409.push_ephemeral.",
        )
    if registration.url is not None and not re.match(r"https?://[^\s/]|unix:", registration.url):
        yield Finding(
            Level.ERROR,
            f"{name}: url",
            "is not an http:// or https:// address",
            "Give the address under which the homeserver reaches the bridge, or null for none.",
        )
    if not registration.namespaces.users:
        yield Finding(
            Level.WARNING,
            f"{name}: namespaces.users",
            "is empty: the bridge cannot create ghosts",
            "Generate the registration again from the bridge's configuration.",
        )
    for index, namespace in enumerate(registration.namespaces.users):
        yield from _review_users(f"{name}: namespaces.users[{index}]", namespace, domain)


_ONE_USER = re.compile(r"\^?@(?:[a-z0-9_=/+-]|\\.)+:(?:[A-Za-z0-9:-]|\\.)+\$?")
"""One user and no pattern: the bot, where the registration's sender is another."""


def _review_users(where: str, namespace: Namespace, domain: str | None) -> Iterator[Finding]:
    server = domain or "example.org"
    regex = namespace.regex
    if not regex.removeprefix("^").startswith("@"):
        yield Finding(
            Level.WARNING,
            where,
            f"{regex} does not start with @, so it is not bound to the start of a user id",
            "Write it as @_name_.*:server",
        )
    hits = [user for user in _ORDINARY if re.match(regex, f"@{user}:{server}")]
    if len(hits) == len(_ORDINARY):
        yield Finding(
            Level.ERROR if namespace.exclusive else Level.WARNING,
            where,
            f"{regex} holds every user of the server",
            "Give ghosts a prefix of their own, such as @_name_.*:server",
        )
        return
    if domain and re.search(r":[^:]+$", regex) and not _reaches(regex, domain):
        yield Finding(
            Level.ERROR,
            where,
            f"{regex} holds no user of {domain}; only users of the homeserver itself ever match",
            f"End it with :{re.escape(domain)}",
        )
    if namespace.exclusive and not re.match(r"\^?@_", regex) and not _ONE_USER.fullmatch(regex):
        yield Finding(
            Level.WARNING,
            where,
            f"{regex} is exclusive and does not start with @_, so it can collide with people's names",
            "Start ghosts' names with an underscore (Application Service API, section Registration).",
        )


def _reaches(regex: str, domain: str) -> bool:
    try:
        return overlap(regex, f"@[^:]*:{re.escape(domain)}$")
    except Unsupported:
        return True


def compare(registrations: Mapping[str, Registration]) -> list[Finding]:
    """All collisions between registrations (by file name): ids, tokens, bots, namespaces."""
    findings: list[Finding] = []
    for (first, one), (second, two) in combinations(registrations.items(), 2):
        findings += _compare_keys(f"{first} and {second}", one, two)
        for kind in ("users", "aliases", "rooms"):
            for a in getattr(one.namespaces, kind):
                for b in getattr(two.namespaces, kind):
                    if finding := _compare_namespaces(f"{first} and {second}: namespaces.{kind}", a, b):
                        findings.append(finding)
    return findings


def _compare_keys(where: str, one: Registration, two: Registration) -> Iterator[Finding]:
    for key, what in (
        ("id", "the homeserver refuses two appservices with one id"),
        ("as_token", "the homeserver cannot tell the two appservices apart"),
        ("sender_localpart", "two appservices would act as one bot"),
    ):
        if getattr(one, key) == getattr(two, key):
            yield Finding(Level.ERROR, where, f"have the same {key}: {what}", f"Change {key} in one of them.")


def _compare_namespaces(where: str, one: Namespace, two: Namespace) -> Finding | None:
    if not (one.exclusive or two.exclusive):
        return None  # both only listen
    both = one.exclusive and two.exclusive
    advice = "Give the two bridges different prefixes, and generate their registrations again."
    try:
        if not overlap(one.regex, two.regex):
            return None
    except Unsupported:
        what = f"{one.regex} and {two.regex} may overlap (too complex to decide)"
        return Finding(Level.WARNING, where, what, advice)
    what = f"{one.regex} and {two.regex} overlap"
    if both:
        return Finding(Level.ERROR, where, f"{what}, and both are exclusive", advice)
    return Finding(Level.WARNING, where, f"{what}: the one that is not exclusive sees the other's", advice)
