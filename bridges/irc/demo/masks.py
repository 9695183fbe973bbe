"""Masks of a channel's lists: nick!user@host globs, account and name extbans, and a channel to forward to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridges.irc.demo.wire import glob

if TYPE_CHECKING:
    from bridges.irc.demo.client import Client
    from bridges.irc.demo.options import ServerOptions
    from bridges.irc.demo.world import World

#: Kinds of extban and what they look at: an account, a real name. Their letters are ISUPPORT EXTBAN's.
_KINDS = {"a": "account", "account": "account", "r": "real", "realname": "real", "R": "account"}


@dataclass(frozen=True, slots=True)
class Mask:
    """One entry of a list: as it is shown, who set it and when, and what it matches.

    ``field`` is what it looks at: the full source, an account, or a real name. ``forward`` is where a ban sends to.
    """

    text: str
    by: str
    at: int
    field: str
    pattern: re.Pattern[str] | None
    negated: bool
    forward: str

    def matches(self, world: World, client: Client) -> bool:
        """Say whether the mask is about this client; one that is not understood is about nobody."""
        if self.field == "source":
            found = self.pattern is not None and bool(self.pattern.match(world.fold(client.source)))
        elif self.field == "account":
            account = world.fold(client.account)
            found = bool(account) and (self.pattern is None or bool(self.pattern.match(account)))
        elif self.field == "real":
            found = self.pattern is not None and bool(self.pattern.match(world.fold(client.real)))
        else:
            return False
        return found != self.negated


def extban_token(options: ServerOptions) -> list[str]:
    """List the ISUPPORT tokens for the configured style of extbans (IRCv3 account-extban)."""
    return {
        None: [],
        "": ["EXTBAN=,Rr", "ACCOUNTEXTBAN=R"],
        "~": ["EXTBAN=~,ar", "ACCOUNTEXTBAN=a,account"],
    }.get(options.extbans, [f"EXTBAN={options.extbans},ar", "ACCOUNTEXTBAN=a"])


def complete(world: World, text: str) -> str:
    """Bring a mask into the form it is kept in: nick!user@host unless it is an extban."""
    if _extban(world.options, text) is not None:
        return text
    plain, cut, forward = text.partition("$#")
    if "!" in plain:
        plain = plain if "@" in plain else plain + "@*"
    else:
        plain = f"*!{plain}" if "@" in plain else f"{plain}!*@*"
    return plain + cut + forward


def make(world: World, text: str, by: str) -> Mask:
    """Make a list entry of a completed mask."""
    extban = _extban(world.options, text)
    now = int(world.now())
    body, cut, forward = (extban[1] if extban is not None else text).partition("$#")
    forward = "#" + forward if cut else ""
    if extban is None:
        return Mask(text, by, now, "source", glob(world.fold(body)), False, forward)
    kind, _, negated = extban
    word, colon, value = kind, body, glob(world.fold(body)) if body else None
    return Mask(text, by, now, _KINDS.get(word, "") if colon or word in ("a", "R") else "", value, negated, forward)


def _extban(options: ServerOptions, text: str) -> tuple[str, str, bool] | None:
    """Take an extban apart: kind, value and whether it is turned round; None when the text is none."""
    style = options.extbans
    if style is None or (style and not text.startswith(style)):
        return None
    kind, colon, value = text[len(style) :].partition(":")
    negated = kind[:1] in ("~", "!")
    kind = kind[1:] if negated else kind
    if style == "" and (kind not in ("R", "r") or not colon):
        return None
    if not kind.isalpha():
        return None
    return kind, value, negated
