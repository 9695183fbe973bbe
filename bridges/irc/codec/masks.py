"""Whom the masks of a channel's lists name: `nick!user@host` with `*` and `?`, CIDR, and extended bans.

Servers differ in what they call extended bans: ISUPPORT EXTBAN and ACCOUNTEXTBAN tell (IRCv3 account-extban, solanum's
`$a:`, UnrealIRCd's `~a:` and `~account:`, InspIRCd's `R:` and `account:`). A mask that is not understood names nobody:
the server decides then, and says so. A bridge that took an odd mask for all has banned everyone (matrix-appservice-irc
issue 1551).
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from bridges.irc.codec.casemap import Fold
from bridges.irc.codec.isupport import Isupport

_LONGEST: Final = 512
_STACKED_AT_MOST: Final = 4
_WILD: Final = frozenset("*?")


class Who(NamedTuple):
    """Somebody as far as known: the empty string for an unknown user or host; account None for unknown, "" for none."""

    nick: str
    user: str = ""
    host: str = ""
    account: str | None = None
    real: str | None = None


class Effect(StrEnum):
    """What a list's entry does to those it names."""

    BAN = "ban"
    """They cannot come in, and cannot speak."""
    MUTE = "mute"
    """They cannot speak."""
    OTHER = "other"
    """Something that keeps nobody out: or nobody knows what."""


Matcher = Callable[[Who], bool | None]


@dataclass(frozen=True, slots=True)
class Mask:
    """One entry, understood. `names` says whether it names somebody: None when that cannot be told."""

    text: str
    effect: Effect
    names: Matcher
    everybody: bool = False
    """Whether it names all there are."""


class _Kind(StrEnum):
    ACCOUNT = "account"
    REAL = "real"
    FULL = "full"
    UNAUTHED = "unauthed"
    MUTE = "mute"
    TIMED = "timed"


# What solanum and its kin, UnrealIRCd, and InspIRCd (with Ergo) call those that are understood.
_DOLLAR: Final[Mapping[str, _Kind]] = MappingProxyType({"a": _Kind.ACCOUNT, "r": _Kind.REAL, "x": _Kind.FULL})
_TILDE: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "a": _Kind.ACCOUNT,
        "account": _Kind.ACCOUNT,
        "r": _Kind.REAL,
        "realname": _Kind.REAL,
        "q": _Kind.MUTE,
        "quiet": _Kind.MUTE,
        "t": _Kind.TIMED,
        "time": _Kind.TIMED,
    }
)
_BARE: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "R": _Kind.ACCOUNT,
        "account": _Kind.ACCOUNT,
        "r": _Kind.REAL,
        "realname": _Kind.REAL,
        "m": _Kind.MUTE,
        "mute": _Kind.MUTE,
        "U": _Kind.UNAUTHED,
        "unauthed": _Kind.UNAUTHED,
    }
)


def glob(pattern: str, text: str) -> bool:
    """Whether `*` and `?` of the pattern can stand for what the text has there. At most len x len steps."""
    place = start = 0
    star, resumed = -1, 0
    while start < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed = place, start
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[start]):
            place, start = place + 1, start + 1
        elif star >= 0:
            resumed += 1
            place, start = star + 1, resumed
        else:
            return False
    return all(character == "*" for character in pattern[place:])


def read_mask(text: str, isupport: Isupport) -> Mask:
    """Understands one entry of a list. Never raises."""
    return _read(text.strip(), isupport, 0)


def account_mask(account: str, isupport: Isupport) -> str | None:
    """The mask that names an account; None where the network has none, or the account is no word."""
    if not _word(account, " ,:!@"):
        return None
    prefix, letters = _extban(isupport)
    name = _account_name(isupport, prefix, letters)
    return f"{prefix or ''}{name}:{account}" if name is not None else None


def host_mask(host: str) -> str | None:
    """The mask that names whoever comes from a host; None when there is none or it would name others."""
    if not _word(host, " ,!@"):
        return None
    return f"*!*@{host}"


def _word(text: str, without: str) -> bool:
    """Whether a text is one word that stands for itself in a mask."""
    return (
        bool(text) and text.isprintable() and not any(character in _WILD or character in without for character in text)
    )


def _account_name(isupport: Isupport, prefix: str | None, letters: str) -> str | None:
    told = [name for name in isupport.tokens.get("ACCOUNTEXTBAN", "").split(",") if name]
    if told:
        return told[0]
    if prefix is None:
        return None
    kinds = _kinds(prefix)
    return next((letter for letter in letters if kinds.get(letter) is _Kind.ACCOUNT), None)


def _extban(isupport: Isupport) -> tuple[str | None, str]:
    """The prefix of extended bans (None: there are none) and their letters."""
    value = isupport.tokens.get("EXTBAN")
    if value is None:
        return None, ""
    prefix, _, letters = value.partition(",")
    return prefix, letters


def _kinds(prefix: str | None) -> Mapping[str, _Kind]:
    return {"$": _DOLLAR, "~": _TILDE, "": _BARE}.get(prefix if prefix is not None else "none", MappingProxyType({}))


def _read(text: str, isupport: Isupport, depth: int) -> Mask:
    if not text or len(text) > _LONGEST or depth > _STACKED_AT_MOST:
        return Mask(text, Effect.OTHER, _nobody)
    prefix, _ = _extban(isupport)
    if prefix == "$":
        text = _without_forward(text, isupport)
    found = _extended(text, prefix, isupport)
    if found is None:
        return _hostmask(text, isupport.fold)
    kind, negated, argument = found
    if kind is _Kind.MUTE or kind is _Kind.TIMED:
        if kind is _Kind.TIMED:
            argument = argument.partition(":")[2] if argument is not None else None
        inner = _read(argument or "", isupport, depth + 1)
        effect = Effect.MUTE if kind is _Kind.MUTE and inner.effect is Effect.BAN else inner.effect
        return Mask(text, effect, _not(inner.names) if negated else inner.names, inner.everybody and not negated)
    matcher = _matcher(kind, argument, prefix, isupport)
    if matcher is None:
        return Mask(text, Effect.OTHER, _nobody)
    return Mask(text, Effect.BAN, _not(matcher) if negated else matcher)


def _without_forward(text: str, isupport: Isupport) -> str:
    """solanum's `mask$#channel`: whom it names is sent elsewhere."""
    head, dollar, tail = text.rpartition("$")
    return head if dollar and head and isupport.is_channel(tail) else text


def _extended(text: str, prefix: str | None, isupport: Isupport) -> tuple[_Kind | None, bool, str | None] | None:
    """The kind of an extended ban (None: not understood), whether it is negated, its argument; None for no such ban."""
    if prefix is None:
        return None
    negated = False
    body = text
    if prefix:
        if not text.startswith(prefix):
            return None
        body = text[len(prefix) :]
        if prefix == "$" and body.startswith("~"):
            negated, body = True, body[1:]
    elif text.startswith("!"):
        negated, body = True, text[1:]
    name, colon, argument = body.partition(":")
    if not prefix and (not colon or not name.isalpha()):
        return None
    kinds = dict(_kinds(prefix))
    for told in isupport.tokens.get("ACCOUNTEXTBAN", "").split(","):
        if told:
            kinds[told] = _Kind.ACCOUNT
    return kinds.get(name), negated, argument if colon else None


def _matcher(kind: _Kind | None, argument: str | None, prefix: str | None, isupport: Isupport) -> Matcher | None:
    fold = isupport.fold
    pattern = fold(argument) if argument else ""
    match kind:
        case _Kind.ACCOUNT if argument is None or (argument == "*" and prefix != "$"):
            return lambda who: None if who.account is None else bool(who.account)
        case _Kind.ACCOUNT if argument == "0" and prefix == "~":
            return lambda who: None if who.account is None else not who.account
        case _Kind.ACCOUNT if pattern:
            return lambda who: None if who.account is None else bool(who.account) and glob(pattern, fold(who.account))
        case _Kind.REAL if pattern:
            # UnrealIRCd writes spaces as underscores.
            wanted = pattern.replace("_", "?") if prefix == "~" else pattern
            return lambda who: None if who.real is None else glob(wanted, fold(who.real))
        case _Kind.FULL if pattern:
            return lambda who: None if who.real is None else glob(pattern, fold(f"{_source(who)}#{who.real}"))
        case _Kind.UNAUTHED if argument:
            inner = _hostmask(argument, fold).names
            return lambda who: None if who.account is None else not who.account and inner(who)
        case _:
            return None


def _hostmask(text: str, fold: Fold) -> Mask:
    """`nick!user@host`, completed as servers do."""
    if " " in text:
        return Mask(text, Effect.OTHER, _nobody)
    left, at, host = text.rpartition("@")
    if not at:
        nick, bang, user = text.partition("!")
        if not bang and ("." in text or ":" in text):
            nick, user, host = "*", "*", text
        else:
            host = "*"
    else:
        nick, bang, user = left.partition("!")
        if not bang:
            nick, user = "*", left
    nick, user, host = (fold(part) if part else "*" for part in (nick, user, host))
    network = _network(host)

    def names(who: Who) -> bool | None:
        if not glob(nick, fold(who.nick)) or not glob(user, fold(who.user)):
            return False
        return _within(who.host, network) if network is not None else glob(host, fold(who.host))

    everybody = not any(character not in "*?" for part in (nick, user, host) for character in part) and "*" in host
    everybody = everybody or (network is not None and network.prefixlen == 0 and not (set(nick + user) - _WILD))
    return Mask(text, Effect.BAN, names, everybody)


def _network(host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The addresses of `10.0.0.0/8` or `2001:db8::/32`; None for another host."""
    if "/" not in host or not _WILD.isdisjoint(host):
        return None
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        return None  # cloaks have slashes too


def _within(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _source(who: Who) -> str:
    return f"{who.nick}!{who.user}@{who.host}"


def _not(matcher: Matcher) -> Matcher:
    def names(who: Who) -> bool | None:
        found = matcher(who)
        return None if found is None else not found

    return names


def _nobody(who: Who) -> bool | None:
    return None
