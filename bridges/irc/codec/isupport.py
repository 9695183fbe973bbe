"""What a server says it supports: numeric 005 (draft-hardy-irc-isupport, modern.ircdocs.horse RPL_ISUPPORT)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from bridges.irc.codec.casemap import Fold, casemap, fold_rfc1459
from bridges.irc.codec.lines import LINE_LIMIT

_TOKENS_AT_MOST: Final = 256
_LINELEN_AT_MOST: Final = 65536
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")
_PREFIX: Final = re.compile(r"\(([A-Za-z]*)\)([^\s]*)")
_OPERATORS: Final = "oahq"
"""Modes of operators, the most usual first."""


@dataclass(frozen=True, slots=True)
class Isupport:
    """A server's parameters, with the protocol's defaults for what it did not name. Share one per network.

    `prefix_modes` and `prefix_symbols` correspond by position, highest first. The four CHANMODES types are strings of
    mode letters. `targmax` and `maxlist` hold None for "no limit". Lengths are bytes; None means not told.
    """

    tokens: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    network: str = ""
    casemapping: str = "rfc1459"
    fold: Fold = fold_rfc1459
    chantypes: str = "#&"
    prefix_modes: str = "ov"
    prefix_symbols: str = "@+"
    list_modes: str = "b"
    setting_modes: str = "k"
    set_only_modes: str = "l"
    flag_modes: str = "imnpst"
    statusmsg: str = ""
    targmax: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    maxlist: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    modes_per_line: int | None = 3
    linelen: int = LINE_LIMIT
    nicklen: int = 9
    channellen: int = 200
    topiclen: int | None = None
    userlen: int | None = None
    hostlen: int | None = None
    utf8_only: bool = False

    def updated(self, params: Sequence[str]) -> "Isupport":
        """What holds after a 005 line with these parameters: own nick first, the human text last. Never raises."""
        tokens = dict(self.tokens)
        for token in params[1:-1]:
            key, _, value = token.partition("=")
            if key.startswith("-"):
                tokens.pop(key[1:].upper(), None)
            elif key and (len(tokens) < _TOKENS_AT_MOST or key.upper() in tokens):
                tokens[key.upper()] = _ESCAPE.sub(_unescape, value)
        return from_tokens(tokens)

    def may_tag(self, name: str) -> bool:
        """Whether a client tag (its name without the `+`) is passed on: CLIENTTAGDENY (IRCv3 message-tags)."""
        denied = self.tokens.get("CLIENTTAGDENY", "")
        if not denied:
            return True
        names = denied.split(",")
        return f"-{name}" in names if names[0] == "*" else name not in names

    @property
    def to_operators(self) -> str | None:
        """What stands in front of a channel's name for its operators only (STATUSMSG); None where there is no such."""
        for mode in _OPERATORS:
            place = self.prefix_modes.find(mode)
            if place >= 0 and self.prefix_symbols[place] in self.statusmsg:
                return self.prefix_symbols[place]
        return None

    def is_channel(self, name: str) -> bool:
        """Whether a name is one of a channel, by its first character."""
        return bool(name) and name[0] in self.chantypes

    def split_target(self, target: str) -> tuple[str, str]:
        """The status prefix of a message's target and the target without it: `@#chan` is `("@", "#chan")`.

        A character is a status prefix only where the server says so (STATUSMSG) and a channel's name follows.
        """
        if len(target) > 1 and target[0] in self.statusmsg and target[1] in self.chantypes:
            return target[0], target[1:]
        return "", target

    def split_prefixes(self, member: str) -> tuple[str, str]:
        """The modes a member of NAMES or WHO holds and the rest: `@+nick` is `("ov", "nick")` (multi-prefix)."""
        modes = ""
        for index, symbol in enumerate(member):
            place = self.prefix_symbols.find(symbol)
            if place < 0:
                return modes, member[index:]
            modes += self.prefix_modes[place]
        return modes, ""


def from_tokens(tokens: Mapping[str, str]) -> Isupport:
    """The parameters that these tokens, keys upper-case and values unescaped, stand for. Never raises."""
    modes, symbols = _prefix(tokens.get("PREFIX"))
    kinds = [*tokens.get("CHANMODES", "b,k,l,imnpst").split(","), "", "", "", ""]
    mapping = tokens.get("CASEMAPPING", "rfc1459")
    return Isupport(
        tokens=MappingProxyType(dict(tokens)),
        network=tokens.get("NETWORK", ""),
        casemapping=mapping,
        fold=casemap(mapping),
        chantypes=tokens.get("CHANTYPES", "#&"),
        prefix_modes=modes,
        prefix_symbols=symbols,
        list_modes=kinds[0],
        setting_modes=kinds[1],
        set_only_modes=kinds[2],
        flag_modes=kinds[3],
        statusmsg=tokens.get("STATUSMSG", ""),
        targmax=_limits(tokens.get("TARGMAX", "")),
        maxlist=_maxlist(tokens.get("MAXLIST", "")),
        modes_per_line=_number(tokens, "MODES", 3) if tokens.get("MODES") != "" else None,
        linelen=min(max(_number(tokens, "LINELEN", LINE_LIMIT), LINE_LIMIT), _LINELEN_AT_MOST),
        nicklen=_number(tokens, "NICKLEN", 9),
        channellen=_number(tokens, "CHANNELLEN", 200),
        topiclen=_number(tokens, "TOPICLEN", 0) or None,
        userlen=_number(tokens, "USERLEN", 0) or None,
        hostlen=_number(tokens, "HOSTLEN", 0) or None,
        utf8_only="UTF8ONLY" in tokens,
    )


def _unescape(match: re.Match[str]) -> str:
    """`\\xHH` as its character; line ends and NUL, which no token needs, as nothing."""
    character = chr(int(match[1], 16))
    return "" if character in "\r\n\0" else character


def _prefix(value: str | None) -> tuple[str, str]:
    """PREFIX as modes and symbols of the same length; absent is `(ov)@+`, empty or malformed is none."""
    if value is None:
        return "ov", "@+"
    match = _PREFIX.fullmatch(value)
    if match is None or len(match[1]) != len(match[2]):
        return "", ""
    return match[1], match[2]


def _number(tokens: Mapping[str, str], key: str, default: int) -> int:
    """A token's positive number, or the default."""
    value = tokens.get(key, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 and int(value) else default


def _limits(value: str) -> Mapping[str, int | None]:
    """`PRIVMSG:4,JOIN:` by command; no number means no limit."""
    limits: dict[str, int | None] = {}
    for item in value.split(","):
        key, _, number = item.partition(":")
        if key:
            limits[key.upper()] = int(number) if number.isascii() and number.isdigit() and len(number) < 7 else None
    return MappingProxyType(limits)


def _maxlist(value: str) -> Mapping[str, int | None]:
    """`bq:100,e:50` by mode letter."""
    limits: dict[str, int | None] = {}
    for item in value.split(","):
        letters, _, number = item.partition(":")
        limit = int(number) if number.isascii() and number.isdigit() and len(number) < 7 else None
        for letter in letters:
            limits[letter] = limit
    return MappingProxyType(limits)
