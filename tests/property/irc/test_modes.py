"""MODE lines of any network: what was changed is read back exactly, or nothing of it is believed (CVE-2022-39202)."""

import re
import string
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bridges.irc.codec.isupport import Isupport, from_tokens
from bridges.irc.codec.masks import Who, glob, read_mask
from bridges.irc.codec.modes import ModeChange, ModeKind, parse_modes

_SYMBOLS = "~&@%+!.^"
_NICKS = st.text(string.ascii_letters + "[]\\`_^{|}", min_size=1, max_size=8)
_MASKS = st.builds("{}!{}@{}".format, _NICKS, _NICKS, st.text(string.ascii_lowercase + ".*?:/", min_size=1, max_size=9))


@st.composite
def networks(draw: st.DrawFn) -> Isupport:
    """PREFIX and CHANMODES that share the letters among them, as servers say it, with MODES and MAXLIST."""
    letters = draw(st.permutations(string.ascii_letters))
    counts = draw(st.lists(st.integers(0, 6), min_size=5, max_size=5))
    groups, place = [], 0
    for count in counts:
        groups.append("".join(letters[place : place + count]))
        place += count
    prefix, *kinds = groups
    tokens = {"PREFIX": f"({prefix}){_SYMBOLS[: len(prefix)]}", "CHANMODES": ",".join(kinds)}
    if kinds[0] and draw(st.booleans()):
        tokens["MAXLIST"] = f"{kinds[0]}:{draw(st.integers(1, 500))}"
    if draw(st.booleans()):
        tokens["MODES"] = draw(st.sampled_from(["", "4", "20"]))
    return from_tokens(tokens)


@dataclass(frozen=True)
class Written:
    """A line, and what it says."""

    network: Isupport
    changes: tuple[ModeChange, ...]
    params: tuple[str, ...]


@st.composite
def written(draw: st.DrawFn) -> Written:
    """A line as a server writes it, signs no more often than needed or more often."""
    network = draw(networks())
    kinds = (
        (network.prefix_modes, ModeKind.PREFIX),
        (network.list_modes, ModeKind.LIST),
        (network.setting_modes, ModeKind.SETTING),
        (network.set_only_modes, ModeKind.SET_ONLY),
        (network.flag_modes, ModeKind.FLAG),
    )
    choices = [(letter, kind) for letters, kind in kinds for letter in letters]
    if not choices:
        return Written(network, (), ("+",))
    changes: list[ModeChange] = []
    text, sign, args = "", "", []
    for letter, kind in draw(st.lists(st.sampled_from(choices), min_size=1, max_size=12)):
        adding = draw(st.booleans())
        wants = kind in (ModeKind.PREFIX, ModeKind.LIST, ModeKind.SETTING) or (kind is ModeKind.SET_ONLY and adding)
        arg = draw(_MASKS if kind is ModeKind.LIST else _NICKS) if wants else None
        now = "+" if adding else "-"
        if now != sign or draw(st.booleans()):
            text, sign = text + now, now
        text += letter
        args += [arg] if arg is not None else []
        changes.append(ModeChange(adding, letter, kind, arg))
    return Written(network, tuple(changes), (text, *args))


@settings(max_examples=300)
@given(written())
def test_what_a_server_writes_is_read_back(line: Written) -> None:
    """Each change in order, with the parameter that belongs to it, whatever the network calls its modes."""
    found = parse_modes(line.network, line.params)
    assert found.changes == line.changes
    assert not found.doubtful


@settings(max_examples=300)
@given(written(), st.data())
def test_a_line_that_does_not_add_up_gives_nothing_to_anybody(line: Written, data: st.DataObject) -> None:
    """CVE-2022-39202: with one parameter too few or too many, no nick and no mask is believed at all."""
    args = list(line.params[1:])
    if args and data.draw(st.booleans()):
        args.pop(data.draw(st.integers(0, len(args) - 1)))
    else:
        args.insert(data.draw(st.integers(0, len(args))), "mallory")
    found = parse_modes(line.network, (line.params[0], *args))
    lists = [change for change in line.changes if change.kind is ModeKind.LIST]
    if found.doubtful:
        assert all(change.arg is None for change in found.changes)
    else:
        # Only a list mode may stand without its parameter: then it asks for the list.
        assert lists and len(args) < len(line.params) - 1
        assert [change.arg for change in found.changes if change.arg is not None] == args


@settings(max_examples=300)
@given(st.text("ab*?", max_size=8), st.text("ab*?", max_size=8))
def test_globs_are_what_they_look_like(pattern: str, text: str) -> None:
    """A star is any text, a question mark one character, all else itself."""
    parts = (".*" if character == "*" else "." if character == "?" else re.escape(character) for character in pattern)
    assert glob(pattern, text) == (re.fullmatch("".join(parts), text) is not None)


_EXTBANS = st.sampled_from(["$,ajrxz", "~,acnqrtT", ",ACORUjmrz", "", "$", "~", ",", "x,y", None])


@settings(max_examples=300)
@given(_EXTBANS, st.text(max_size=30), st.text("$~:!@*?,amqrtRUjx#/0.1 ", max_size=20))
def test_any_mask_is_read(extban: str | None, text: str, odd: str) -> None:
    """Issue 1551: no mask fails, and one of plain words never names two strangers who share nothing."""
    network = from_tokens({} if extban is None else {"EXTBAN": extban, "ACCOUNTEXTBAN": "account,a"})
    for mask in (text, odd):
        found = read_mask(mask, network)
        one = Who("aaaa", "bbbb", "cccc.example", "dddd", "eeee")
        two = Who("1111", "2222", "3333.invalid", "", "5555")
        if found.names(one) and found.names(two):
            assert found.everybody or set(mask) & set("*?~!")
