"""Changes of modes, read by what the server said of its modes.

A change must never reach the wrong person: CVE-2022-39202 gave operator status to a bystander because a mode without
a parameter was taken for one with. So where parameters and letters do not fit, no parameter is believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridges.irc.codec.isupport import Isupport


class ModeKind(StrEnum):
    """What a channel mode is, by ISUPPORT PREFIX and CHANMODES."""

    PREFIX = "prefix"
    LIST = "list"
    SETTING = "setting"
    SET_ONLY = "set_only"
    FLAG = "flag"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ModeChange:
    """One letter set or unset; `arg` is the nick of a PREFIX, the mask of a LIST, the value of a setting."""

    adding: bool
    mode: str
    kind: ModeKind
    arg: str | None = None


@dataclass(frozen=True, slots=True)
class ModeLine:
    """The changes of one MODE line. When `doubtful`, changes with parameters were left out: ask the server again."""

    changes: tuple[ModeChange, ...]
    doubtful: bool = False


def mode_kind(isupport: Isupport, mode: str) -> ModeKind:
    """What a mode letter is on this network."""
    if mode in isupport.prefix_modes:
        return ModeKind.PREFIX
    if mode in isupport.list_modes:
        return ModeKind.LIST
    if mode in isupport.setting_modes:
        return ModeKind.SETTING
    if mode in isupport.set_only_modes:
        return ModeKind.SET_ONLY
    if mode in isupport.flag_modes:
        return ModeKind.FLAG
    return ModeKind.UNKNOWN


def parse_modes(isupport: Isupport, params: Sequence[str]) -> ModeLine:
    """The changes of a channel MODE or of numeric 324; `params` start with the letters, `+ov-k`. Never raises.

    A list mode without a parameter asks for the list and changes nothing. Unknown letters count as flags.
    """
    if not params:
        return ModeLine(())
    args = list(params[1:])
    while args and not args[-1].strip():
        args.pop()  # some servers end the line with an empty parameter
    left = iter(args)
    changes: list[ModeChange] = []
    adding, short = True, False
    for letter in params[0]:
        if letter in "+-":
            adding = letter == "+"
            continue
        kind = mode_kind(isupport, letter)
        if kind in (ModeKind.FLAG, ModeKind.UNKNOWN) or (kind is ModeKind.SET_ONLY and not adding):
            changes.append(ModeChange(adding, letter, kind))
            continue
        arg = next(left, None)
        if arg is not None:
            changes.append(ModeChange(adding, letter, kind, arg))
        elif kind is not ModeKind.LIST:
            short = True
    if short or next(left, None) is not None:
        return ModeLine(tuple(change for change in changes if change.arg is None), doubtful=True)
    return ModeLine(tuple(changes))


def apply_user_modes(current: frozenset[str], change: str) -> frozenset[str]:
    """Own user modes after a MODE line of ours, or from numeric 221: `+iw-x`."""
    modes = set(current)
    adding = True
    for letter in change:
        if letter in "+-":
            adding = letter == "+"
        elif adding:
            modes.add(letter)
        else:
            modes.discard(letter)
    return frozenset(modes)
