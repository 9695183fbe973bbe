"""Formatted text both ways, and its splitting."""

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.content import (
    CodeBlock,
    Colored,
    Details,
    Heading,
    Link,
    ListBlock,
    Math,
    Mention,
    Node,
    Paragraph,
    Picture,
    Plain,
    Quote,
    RichText,
    RoomMention,
    Rule,
    Span,
    Spoiler,
    Style,
    Table,
)
from bridge_core.api.ids import UserId
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.formatting import Rendering, strip_codes, to_lines, to_tree
from bridges.irc.formatting.codes import PALETTE, PLAIN, Look
from bridges.irc.formatting.parsing import parse_runs
from bridges.irc.nicks import BadName, alternatives, check_channel, check_key, check_nick, make_nick
from bridges.irc.splitting import extends, split

CODES = [
    "\x02",
    "\x03",
    "\x0304",
    "\x034,2",
    "\x04ff0000",
    "\x04ff0000,00ff00",
    "\x0f",
    "\x11",
    "\x16",
    "\x1d",
    "\x1e",
    "\x1f",
]
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
coded = st.lists(
    st.one_of(words, st.sampled_from([*CODES, "1", ",5", " ", "e\u0301", "\U0001f469\u200d\U0001f467", "\U0001f1e9"])),
    max_size=60,
).map("".join)
STYLES = st.sampled_from([Style.BOLD, Style.ITALIC, Style.UNDERLINE, Style.STRIKE, Style.CODE])
COLORS = st.one_of(st.none(), st.sampled_from(PALETTE[:16]))


def wrapped(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Nodes that control codes can express."""
    several = st.lists(children, min_size=1, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Span, STYLES, several),
        st.builds(Colored, COLORS, COLORS, several),
        st.builds(Spoiler, st.none(), several),
    )


visible = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
expressible = st.lists(st.recursive(st.builds(Plain, visible), wrapped, max_leaves=12), max_size=6).map(tuple)


def looks(tree: RichText, look: Look = PLAIN) -> list[tuple[str, Look]]:
    """Each character with its look, as a reader sees it."""
    found: list[tuple[str, Look]] = []
    for node in tree:
        match node:
            case Plain(text=text):
                hidden = look.spoiler or (look.foreground is not None and look.foreground == look.background)
                seen = look._replace(foreground=None, background=None, spoiler=True) if hidden else look
                found += [(character, seen) for character in text]
            case Span(style=style, children=children):
                name = "mono" if style is Style.CODE else style.value
                found += looks(children, Look(**{**look._asdict(), name: True}))
            case Colored(foreground=foreground, background=background, children=children):
                changed = look._replace(
                    foreground=foreground or look.foreground, background=background or look.background
                )
                found += looks(children, changed)
            case Spoiler(children=children):
                found += looks(children, look._replace(spoiler=True))
            case _:
                raise AssertionError(node)
    return found


@settings(max_examples=200)
@given(expressible)
def test_trees_come_back(tree: RichText) -> None:
    """What control codes can express looks the same after a round trip, character by character."""
    lines = to_lines(tree)
    expected = looks(tree)
    if not any(not character.isspace() for character, _ in expected):
        assert lines == []
        return
    (line,) = lines
    assert looks(to_tree(line)) == expected


@settings(max_examples=200)
@given(coded)
def test_codes_come_back(text: str) -> None:
    """Text from the network keeps its characters and looks when it is sent out again."""
    tree = to_tree(text)
    assert "".join(character for character, _ in looks(tree)) == strip_codes(text)
    again = to_lines(tree, Rendering(hex_colors=True, keep_blank=True))
    assert [strip_codes(line) for line in again] == ([strip_codes(text)] if strip_codes(text) else [])


def blocks(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Nodes of every kind."""
    several = st.lists(children, max_size=3).map(tuple)
    return st.one_of(
        wrapped(children),
        st.builds(Span, st.sampled_from(list(Style)), several),
        st.builds(Spoiler, st.one_of(st.none(), visible), several),
        st.builds(Link, visible, several),
        st.builds(Paragraph, several),
        st.builds(Heading, st.integers(1, 6), several),
        st.builds(Quote, several),
        st.builds(ListBlock, st.lists(several, max_size=3).map(tuple), st.one_of(st.none(), st.integers(0, 99))),
        st.builds(Table, st.lists(st.lists(several, max_size=3).map(tuple), max_size=3).map(tuple), st.booleans()),
        st.builds(Details, several, several),
    )


anything = st.text(max_size=10)
leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Plain, anything),
    st.builds(CodeBlock, anything),
    st.builds(Math, anything, st.booleans()),
    st.builds(Picture, anything),
    st.builds(Mention, anything, st.none(), st.just(UserId("@a:b"))),
    st.builds(RoomMention, anything, anything),
    st.just(Rule()),
)
forests = st.lists(st.recursive(leaves, blocks, max_leaves=12), max_size=4).map(tuple)


def letters(node: Node) -> str:
    """The letters and digits of a tree that must reach the other side."""
    match node:
        case Plain(text=text) | CodeBlock(text=text):
            return text
        case Math(latex=latex):
            return latex
        case Picture(alt=alt):
            return alt
        case Mention(name=name) | RoomMention(name=name):
            return name
        case ListBlock(items=items):
            return "".join(letters(child) for item in items for child in item)
        case Table(rows=rows):
            return "".join(letters(child) for row in rows for cell in row for child in cell)
        case Details(summary=summary, children=children):
            return "".join(map(letters, (*summary, *children)))
        case Rule():
            return ""
        case _:
            return "".join(map(letters, node.children))


def is_subsequence(needle: str, hay: str) -> bool:
    """Whether all characters of one text are in the other in order."""
    rest = iter(hay)
    return all(character in rest for character in needle)


@settings(max_examples=200)
@given(forests, st.booleans(), st.sampled_from([0, 16, 99]), st.booleans())
def test_no_text_is_lost(tree: RichText, styles: bool, colors: int, blank: bool) -> None:
    """Whatever the tree, every letter of it is in its lines, in order, and no line can end early."""
    lines = to_lines(tree, Rendering(styles=styles, colors=colors, keep_blank=blank))
    text = "".join(strip_codes(line) for line in lines)
    wanted = "".join(character for node in tree for character in letters(node) if character.isalnum())
    assert is_subsequence(wanted, text)
    assert not any(set(line) & set("\r\n\0\x01") for line in lines)
    for line in lines:
        assert not styles or not line or not parse_runs(line + "x") or parse_runs(line + "x")[-1].look == PLAIN


@settings(max_examples=200)
@given(coded, st.integers(64, 120))
def test_splitting_keeps_every_character(text: str, room: int) -> None:
    """The pieces fit, are joined the text with its looks, and none starts within a character."""
    pieces = split(text, room)
    assert all(0 < len(piece.encode()) <= room for piece in pieces)
    assert "".join(map(strip_codes, pieces)) == strip_codes(text)
    assert [item for piece in pieces for item in looks(to_tree(piece))] == looks(to_tree(text))
    plain = unicodedata.normalize("NFC", strip_codes(text)) == "" or max(map(len, strip_codes(text).split(" "))) < 20
    for piece in pieces[1:]:
        assert not (plain and strip_codes(text) == text and extends(piece[0]))


@settings(max_examples=100)
@given(st.text(max_size=20), st.text(max_size=20), st.integers(1, 40))
def test_every_user_gets_a_nick(localpart: str, display: str, nicklen: int) -> None:
    """Whatever the user is called, the nick and its alternatives are valid."""
    nick = make_nick("$DISPLAY[m]", UserId(f"@{localpart}:x"), display, nicklen)
    assert check_nick(nick, nicklen) == nick
    assert all(len(candidate) <= nicklen for candidate in alternatives(nick, nicklen))


@settings(max_examples=100)
@given(st.text(), st.text("#&, \r\n\0\x07:ab", max_size=8))
def test_names_from_outside_are_one_word(name: str, nasty: str) -> None:
    """CVE-2023-38690, CVE-2024-52505: a name that passes is one parameter of one line."""
    network = from_tokens({})
    for candidate in (name, nasty, f"#{nasty}"):
        for check in (lambda text: check_channel(text, network), check_key, lambda text: check_nick(text, 30)):
            try:
                passed = check(candidate)
            except BadName:
                continue
            assert passed == candidate
            assert not set(passed) & set(" ,\r\n\0\x07")
