"""mIRC control codes to the neutral text and back, one row for each rule."""

import pytest

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
from bridges.irc.formatting import Rendering, strip_codes, to_lines, to_tree
from bridges.irc.formatting.codes import PALETTE, nearest

A, B, C = Plain("a"), Plain("b"), Plain("c")


def span(style: Style, *children: Node) -> Span:
    return Span(style, children)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", ()),
        ("plain text", (Plain("plain text"),)),
        ("tab\there", (Plain("tab\there"),)),
        ("a\x02b\x02c", (A, span(Style.BOLD, B), C)),
        ("\x1da", (span(Style.ITALIC, A),)),
        ("\x1fa", (span(Style.UNDERLINE, A),)),
        ("\x1ea", (span(Style.STRIKE, A),)),
        ("\x11a", (span(Style.CODE, A),)),
        ("\x02a\x1db\x02c", (span(Style.BOLD, A, span(Style.ITALIC, B)), span(Style.ITALIC, C))),
        ("\x02\x1d\x0304a\x0fb", (Colored("ff0000", None, (span(Style.BOLD, span(Style.ITALIC, A)),)), B)),
        ("\x034a", (Colored("ff0000", None, (A,)),)),
        ("\x034,2a", (Colored("ff0000", "00007f", (A,)),)),
        ("\x03041", (Colored("ff0000", None, (Plain("1"),)),)),
        ("\x03123", (Colored("0000fc", None, (Plain("3"),)),)),
        ("\x034,b", (Colored("ff0000", None, (Plain(",b"),)),)),
        ("\x03,4", (Plain(",4"),)),
        ("\x034,2a\x033b", (Colored("ff0000", "00007f", (A,)), Colored("009300", "00007f", (B,)))),
        ("\x034,2a\x03b", (Colored("ff0000", "00007f", (A,)), B)),
        ("\x034a\x0399b", (Colored("ff0000", None, (A,)), B)),
        ("\x0399,04a", (Colored(None, "ff0000", (A,)),)),
        ("\x0352a\x0398b", (Colored("ff0000", None, (A,)), Colored("ffffff", None, (B,)))),
        ("\x04A1b2C3a", (Colored("a1b2c3", None, (A,)),)),
        ("\x04a1b2c3,000000a\x04b", (Colored("a1b2c3", "000000", (A,)), B)),
        ("\x04a", (A,)),
        ("\x16a", (Colored("ffffff", "000000", (A,)),)),
        ("\x034,2\x16a", (Colored("00007f", "ff0000", (A,)),)),
        ("\x0300\x16a", (Colored("000000", "ffffff", (A,)),)),
        ("\x0301,01a\x03b", (Spoiler(None, (A,)), B)),
        ("\x0301,01\x02a", (Spoiler(None, (span(Style.BOLD, A),)),)),
        ("\x01a\x07\x00b\x7f", (Plain("ab"),)),
        ("\x02\x02a", (A,)),
        ("\x02\x0f", ()),
        ("\x02a\nb", (span(Style.BOLD, A), Plain("\nb"))),
    ],
)
def test_codes_to_tree(text: str, tree: RichText) -> None:
    """Control codes become nested nodes, whatever is no formatting is dropped."""
    assert to_tree(text) == tree


def test_reverse_of_equal_colours_stays_readable() -> None:
    """Reversing never makes text vanish in its own background."""
    (node,) = to_tree("\x0300\x16a")
    assert isinstance(node, Colored)
    assert node.foreground != node.background


def test_strip_codes() -> None:
    """Stripping leaves the text only."""
    assert strip_codes("\x02a\x0304,02b\x04ff0000c\x0f\x01\x1fd") == "abcd"
    assert strip_codes("plain") == "plain"


@pytest.mark.parametrize(
    ("tree", "lines"),
    [
        ((), []),
        ((Plain(""),), []),
        ((Plain("plain"),), ["plain"]),
        ((Plain("a\r\nb\n\nc\n"),), ["a", "b", "c"]),
        ((Plain("a\x01\x02\x03\x0f\0b"),), ["ab"]),
        ((A, span(Style.BOLD, B), C), ["a\x02b\x0fc"]),
        ((span(Style.BOLD, A, span(Style.ITALIC, B)),), ["\x02a\x1db\x0f"]),
        ((span(Style.BOLD, span(Style.ITALIC, A), B),), ["\x02\x1da\x1db\x0f"]),
        ((span(Style.BOLD, Plain("a\nb")),), ["\x02a\x0f", "\x02b\x0f"]),
        ((span(Style.UNDERLINE, A), span(Style.STRIKE, B), span(Style.CODE, C)), ["\x1fa\x1f\x1eb\x1e\x11c\x0f"]),
        ((span(Style.SUPERSCRIPT, Plain("2")), span(Style.SUBSCRIPT, Plain("ij"))), ["^2_(ij)"]),
        ((Colored("ff0000", None, (A,)),), ["\x0304a\x0f"]),
        ((Colored("fe0102", "00007e", (A,)),), ["\x0304,02a\x0f"]),
        ((Colored(None, "ff0000", (A,)),), ["\x0399,04a\x0f"]),
        ((Colored("ff0000", None, (Plain("5"),)),), ["\x0304\x02\x025\x0f"]),
        ((Colored("ff0000", None, (Plain(",5"),)),), ["\x0304\x02\x02,5\x0f"]),
        ((Colored("ff0000", "000000", (A,)), Colored("009300", None, (B,))), ["\x0304,01a\x03\x0303b\x0f"]),
        (
            (Colored("ff0000", None, (span(Style.BOLD, A),)), span(Style.BOLD, Plain("1"))),
            ["\x02\x0304a\x03\x02\x021\x0f"],
        ),
        ((Spoiler(None, (A,)), B), ["\x0301,01a\x0fb"]),
        ((Spoiler("plot", (Colored("ff0000", None, (A,)),)),), ["(plot) \x0301,01a\x0f"]),
        ((Link("https://x.test/", (A,)),), ["a <https://x.test/>"]),
        ((Link("https://x.test/", (Plain("x.test"),)),), ["https://x.test/"]),
        ((Link("https://x.test/a b", ()),), ["https://x.test/a%20b"]),
        ((Link("mailto:a@x.test", (Plain("a@x.test"),)),), ["a@x.test"]),
        ((Link("https://x.test", (span(Style.BOLD, A),)),), ["\x02a\x0f <https://x.test>"]),
        ((Mention("Alice"), Plain(" hi")), ["Alice: hi"]),
        ((Paragraph((Mention("Alice"), Plain(" hi"))),), ["Alice: hi"]),
        ((Mention("Alice"), Plain(": hi")), ["Alice: hi"]),
        ((Plain("hi "), Mention("Alice"), Plain(" there")), ["hi Alice there"]),
        ((RoomMention("#room:x.test", "#room:x.test"),), ["#room:x.test"]),
        ((Picture(":cat:"), Picture("")), [":cat:(image)"]),
        ((Math("x^2"), Math("y\nz", block=True)), ["$x^2$", "$$y", "z$$"]),
        ((Paragraph((A,)), Paragraph((B,))), ["a", "b"]),
        ((A, Paragraph((B,)), C), ["a", "b", "c"]),
        ((Heading(2, (A,)), B), ["\x02a\x0f", "b"]),
        ((Quote((Paragraph((A,)), Quote((B,)))), C), ["> a", "> > b", "c"]),
        ((CodeBlock("if x:\n  y\n\nz\n", "py"),), ["\x11if x:\x0f", "\x11  y\x0f", "\x11z\x0f"]),
        ((ListBlock(((A,), (B, ListBlock(((C,),), 9)))),), ["- a", "- b", "  9. c"]),
        ((ListBlock(((Paragraph((A,)), Paragraph((B,))), (C,)), 9),), ["9. a", "   b", "10. c"]),
        ((Rule(),), ["---"]),
        ((Table((((A,), (B,)), ((Plain("1\n2"),), (C,))), head=True),), ["\x02a\x0f | \x02b\x0f", "1 2 | c"]),
        ((Details((A,), (Paragraph((B,)),)),), ["\x02a\x0f", "b"]),
        ((span(Style.BOLD, Paragraph((A,)), Quote((B,))),), ["\x02a\x0f", "> \x02b\x0f"]),
    ],
)
def test_tree_to_lines(tree: RichText, lines: list[str]) -> None:
    """Every kind of node has its lines."""
    assert to_lines(tree) == lines


def test_names_are_resolved() -> None:
    """Mentions and rooms get the name they have on the network; controls in it are dropped."""
    rendering = Rendering(nick=lambda mention: "al\nice\x02", channel=lambda mention: "#chan")
    assert to_lines((Mention("Alice"), Plain(" in "), RoomMention("Room", "!r")), rendering) == ["al ice: in #chan"]


def test_without_styles() -> None:
    """Channels without colours get words only, and spoilers say what they are."""
    tree: RichText = (span(Style.BOLD, A), Colored("ff0000", None, (B,)), Spoiler("plot", (C,)))
    assert to_lines(tree, Rendering(styles=False)) == ["ab(spoiler: plot) c"]
    assert to_lines(tree, Rendering(colors=0)) == ["\x02a\x0fb(spoiler: plot) c"]


def test_more_colours() -> None:
    """Clients that know 99 colours, or hex, get the nearer ones."""
    tree: RichText = (Colored("ff8c01", None, (A,)),)
    assert to_lines(tree, Rendering(colors=99)) == ["\x0353a\x0f"]
    assert to_lines(tree, Rendering(hex_colors=True)) == ["\x04ff8c01a\x0f"]
    assert to_lines((Colored("ff0000", None, (A,)),), Rendering(hex_colors=True)) == ["\x0304a\x0f"]


def test_blank_lines_for_multiline() -> None:
    """Multi-line messages keep blank lines inside the text."""
    tree: RichText = (CodeBlock("a\n\nb"),)
    assert to_lines(tree, Rendering(keep_blank=True, styles=False)) == ["a", "", "b"]


def test_different_colours_never_become_a_spoiler() -> None:
    """Two near colours that share a palette entry stay readable."""
    (line,) = to_lines((Colored("000001", "000000", (A,)),))
    assert to_tree(line) == (Colored("000000", None, (A,)),)


def test_palette() -> None:
    """The table has 99 colours, and each is the nearest to itself or to an equal one before it."""
    assert len(PALETTE) == 99
    assert all(PALETTE[nearest(color, 99)] == color for color in PALETTE)
    assert all(nearest(color) == number for number, color in enumerate(PALETTE[:16]))
