"""SPF records (RFC 7208 sections 4.6 and 7): read, and their macros expanded. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final
from urllib.parse import quote

from bridges.email.codec.outcomes import Result

_TERM: Final = re.compile(r"([+\-~?]?)([A-Za-z][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_MACRO: Final = re.compile(r"%(?:\{([slodiphvSLODIPHV])(\d{0,3})([rR]?)([.\-+,/_=]*)\}|([%_-]))")
_CIDR: Final = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?$")
_TOP: Final = re.compile(r"[A-Za-z0-9-]*[A-Za-z-][A-Za-z0-9-]*")
_QUALIFIERS: Final = {
    "": Result.PASS, "+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL,
}  # fmt: skip
_LONGEST: Final = 253
MOST_TERMS: Final = 500


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One directive. `domain` is not expanded, empty for the current one; `v4` and `v6` are prefix lengths."""

    result: Result
    name: str
    domain: str = ""
    v4: int = 32
    v6: int = 128
    network: IPv4Network | IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """A record's mechanisms in order, and where it goes on when none matches."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""


def is_spf(text: str) -> bool:
    """Whether it is an SPF record, well-formed or not."""
    head = text[:7].lower()
    return head == "v=spf1" or head == "v=spf1 "


def parse_spf(text: str) -> SpfRecord:
    """A record. Raises ValueError in words: a permanent error, whatever would have matched before it."""
    if not text.isascii():
        raise ValueError("the record is not ASCII")
    terms = [term for term in text[6:].split(" ") if term]
    if len(terms) > MOST_TERMS:
        raise ValueError("the record has too many terms")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in terms:
        found = _TERM.fullmatch(term)
        if found is None:
            raise ValueError(f"a term is malformed: {term[:60]}")
        sign, name, rest = found[1], found[2].lower(), found[3]
        if rest.startswith("=") and not sign:
            if name in ("redirect", "exp"):
                if name in modifiers:
                    raise ValueError(f"{name} is there twice")
                modifiers[name] = _spec(rest[1:])
            else:
                _macros(rest[1:])
            continue
        mechanisms.append(_mechanism(_QUALIFIERS[sign], name, rest))
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect", ""))


def _mechanism(result: Result, name: str, rest: str) -> Mechanism:
    if name == "all" and not rest:
        return Mechanism(result, name)
    if name in ("include", "exists") and rest.startswith(":"):
        return Mechanism(result, name, _spec(rest[1:]))
    if name == "ptr" and (not rest or rest.startswith(":")):
        return Mechanism(result, name, _spec(rest[1:]) if rest else "")
    if name in ("a", "mx") and (not rest or rest[0] in ":/"):
        found = _CIDR.search(rest)
        assert found is not None
        v4, v6 = int(found[1] or 32), int(found[2] or 128)
        if v4 > 32 or v6 > 128:
            raise ValueError("a prefix is too long")
        domain = rest[: found.start()]
        if domain and not domain.startswith(":"):
            raise ValueError(f"{name} is malformed")
        return Mechanism(result, name, _spec(domain[1:]) if domain else "", v4, v6)
    if name in ("ip4", "ip6") and rest.startswith(":"):
        return Mechanism(result, name, network=_network(name, rest[1:]))
    raise ValueError(f"the mechanism {name[:30]} is unknown or malformed")


def _network(name: str, text: str) -> IPv4Network | IPv6Network:
    address, slash, length = text.partition("/")
    if slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length):
        raise ValueError("a prefix is malformed")
    if "%" in address:
        raise ValueError("an address is malformed")
    try:
        if name == "ip4":
            return IPv4Network(f"{address}/{length or 32}", strict=False)
        return IPv6Network(f"{address}/{length or 128}", strict=False)
    except ValueError as error:
        raise ValueError("an address is malformed") from error


def _macros(text: str) -> None:
    """Raises ValueError where a macro is malformed."""
    bare = _MACRO.sub("", text)
    if "%" in bare or any(not "!" <= one <= "~" for one in bare):
        raise ValueError("a macro is malformed")
    for found in _MACRO.finditer(text):
        if found[1] and found[2] and int(found[2]) == 0:
            raise ValueError("a macro keeps no part")


def _spec(text: str) -> str:
    """A domain with macros, checked: it ends with a macro or a top label."""
    _macros(text)
    if not text:
        raise ValueError("a domain is missing")
    if text.endswith("}") and _MACRO.search(text) is not None:
        return text
    head, dot, top = text.removesuffix(".").rpartition(".")
    if not dot or not _TOP.fullmatch(top) or top.startswith("-") or top.endswith("-") or not head:
        raise ValueError(f"a domain is malformed: {text[:60]}")
    return text


def needs_validated(text: str) -> bool:
    """Whether expanding it asks for the validated name of the peer (%{p})."""
    return any(found[1] in ("p", "P") for found in _MACRO.finditer(text) if found[1])


def expand(text: str, values: Mapping[str, str]) -> str:
    """A checked domain with its macros expanded; `values` by lower-case letter. Cut to 253 characters from the left."""

    def one(found: re.Match[str]) -> str:
        letter, digits, reverse, delimiters, literal = found.groups()
        if literal:
            return {"%": "%", "_": " ", "-": "%20"}[str(literal)]
        value = values[letter.lower()]
        if digits or reverse or delimiters:
            parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
            if reverse:
                parts.reverse()
            value = ".".join(parts[-int(digits) :] if digits else parts)
        return quote(value, safe="-._~") if letter.isupper() else value

    name = _MACRO.sub(one, text).removesuffix(".")
    while len(name) > _LONGEST and "." in name:
        name = name.partition(".")[2]
    return name
