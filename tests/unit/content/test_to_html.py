"""Rich text to Matrix HTML and to plain text: one row for each node, and what must never get through."""

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
    RoomMention,
    Rule,
    Span,
    Spoiler,
    Style,
    Table,
)
from bridge_core.api.ids import RemoteUserId, UserId
from bridge_core.content.colors import COLOR_NAMES, parse_color
from bridge_core.content.plain import from_plain, to_plain, words
from bridge_core.content.to_html import to_html

A, B = Plain("a"), Plain("b")

TABLE: dict[str, tuple[tuple[Node, ...], str | None, str]] = {
    "nothing": ((), None, ""),
    "plain": ((Plain("a < b\n&amp;"),), None, "a < b\n&amp;"),
    "several plain": ((A, B), None, "ab"),
    "paragraphs": ((Paragraph((A,)), Paragraph((B,))), None, "a\n\nb"),
    "bold": ((Span(Style.BOLD, (Plain("<a>"),)),), "<strong>&lt;a&gt;</strong>", "<a>"),
    "italic": ((Span(Style.ITALIC, (A,)),), "<em>a</em>", "a"),
    "underline": ((Span(Style.UNDERLINE, (A,)),), "<u>a</u>", "a"),
    "strike": ((Span(Style.STRIKE, (A,)),), "<del>a</del>", "~~a~~"),
    "code": ((Span(Style.CODE, (A,)),), "<code>a</code>", "`a`"),
    "superscript": ((A, Span(Style.SUPERSCRIPT, (B,))), "a<sup>b</sup>", "a^b"),
    "subscript": ((A, Span(Style.SUBSCRIPT, (B,))), "a<sub>b</sub>", "a_b"),
    "line ends": (
        (Span(Style.BOLD, (A,)), Plain("\n  b  c")),
        "<strong>a</strong><br>\u00a0\u00a0b \u00a0c",
        "a\n  b  c",
    ),
    "colours": (
        (Colored("ff0000", "00FF00", (A,)),),
        '<span data-mx-color="#ff0000" data-mx-bg-color="#00ff00">a</span>',
        "a",
    ),
    "no colour": ((Colored('"><script>', None, (A,)),), None, "a"),
    "spoiler": ((Spoiler(None, (A,)),), "<span data-mx-spoiler>a</span>", "||a||"),
    "spoiler reason": ((Spoiler('"x', (A,)),), '<span data-mx-spoiler="&quot;x">a</span>', '("x) ||a||'),
    "link": ((Link('https://x/?"&', (A,)),), '<a href="https://x/?&quot;&amp;">a</a>', 'a (https://x/?"&)'),
    "link of itself": ((Link("https://x.org/", (Plain("x.org"),)),), '<a href="https://x.org/">x.org</a>', "x.org"),
    "rich bad link": (
        (Link("javascript:x", (Span(Style.BOLD, (A,)),)),),
        "<strong>a</strong> (javascript:x)",
        "a (javascript:x)",
    ),
    "bad link": ((Link("javascript:x", (A,)), B), None, "a (javascript:x)b"),
    "mention": (
        (Mention("A", matrix=UserId("@a/b:x")),),
        '<a href="https://matrix.to/#/@a%2Fb:x">A</a>',
        "A",
    ),
    "unknown mention": ((Mention("A", remote=RemoteUserId("a")),), None, "A"),
    "bad mention": ((Mention("A", matrix=UserId('"><script>')),), None, "A"),
    "room": ((RoomMention("R", "#r:x"),), '<a href="https://matrix.to/#/%23r:x">R</a>', "R"),
    "foreign room": ((RoomMention("#r", "#r"),), None, "#r"),
    "emoji": (
        (Picture(":a:", "mxc://x/y"),),
        '<img data-mx-emoticon src="mxc://x/y" alt=":a:" title=":a:" height="32">',
        ":a:",
    ),
    "foreign picture": ((Picture("a", "https://x/y"),), None, "a"),
    "formula": ((Math("x<2"),), '<span data-mx-maths="x&lt;2"><code>x&lt;2</code></span>', "x<2"),
    "formula block": ((Math("x", True),), '<div data-mx-maths="x"><code>x</code></div>', "x"),
    "heading": ((Heading(2, (A,)), B), "<h2>a</h2>b", "## a\nb"),
    "heading too deep": ((Heading(9, (A,)),), "<h6>a</h6>", "######### a"),
    "quote": ((Quote((Plain("a\nb"),)), B), "<blockquote>a<br>b</blockquote>b", "> a\n> b\nb"),
    "code block": (
        (CodeBlock("a <\n  b", "py"),),
        '<pre><code class="language-py">a &lt;\n  b\n</code></pre>',
        "```py\na <\n  b\n```",
    ),
    "bad language": ((CodeBlock("a", "x y"),), "<pre><code>a\n</code></pre>", "```x y\na\n```"),
    "bullets": (
        (ListBlock(((A,), (B, ListBlock(((A,),), 3)))),),
        '<ul><li>a</li><li>b<ol start="3"><li>a</li></ol></li></ul>',
        "- a\n- b\n  3. a",
    ),
    "numbers": ((ListBlock(((A,), (B,)), 9),), '<ol start="9"><li>a</li><li>b</li></ol>', "9. a\n10. b"),
    "rule": ((A, Rule(), B), "a<hr>b", "a\n---\nb"),
    "table": (
        (Table((((A,), (B,)), ((B,), ())), head=True),),
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>b</td><td></td></tr></tbody></table>",
        "a | b\nb | ",
    ),
    "details": ((Details((A,), (B,)),), "<details><summary>a</summary>b</details>", "a\nb"),
    "control characters": (
        (Span(Style.BOLD, (Plain("a\x00\r\nb\ud800"),)),),
        "<strong>a<br>b\ufffd</strong>",
        "a\nb\ufffd",
    ),
}


@pytest.mark.parametrize(("text", "html", "body"), TABLE.values(), ids=TABLE.keys())
def test_node(text: tuple[Node, ...], html: str | None, body: str) -> None:
    """Each node becomes its element and its plain form; what needs no element has no formatted body."""
    rendered = to_html(text)
    assert (rendered.html, rendered.body) == (html, body)


def test_resolver_makes_pills() -> None:
    """A mention of somebody on the network becomes a pill and is counted once when the resolver knows them."""
    one = Mention("N", remote=RemoteUserId("n"))
    other = Mention("M", remote=RemoteUserId("m"))
    rendered = to_html((one, one, other), lambda mention: UserId("@n:x") if mention.remote == "n" else None)
    assert rendered.html == '<a href="https://matrix.to/#/@n:x">N</a>' * 2 + "M"
    assert (rendered.body, rendered.mentions) == ("NNM", ("@n:x",))


def test_trees_of_any_depth_are_written() -> None:
    """A tree far deeper than the recursion limit is written; below the depth limit only its words."""
    node: Node = Plain("deep")
    for _ in range(100_000):
        node = Quote((node,))
    rendered = to_html((node,))
    assert rendered.html is not None
    assert rendered.html.count("<blockquote>") == rendered.html.count("</blockquote>") == 100
    assert "deep" in rendered.html
    assert rendered.body.endswith("deep")
    # Freed from the top, or the interpreter itself would recurse.
    while isinstance(node, Quote):
        node = node.children[0]


def test_words_are_in_order() -> None:
    """The words of every kind of node come in reading order."""
    text = (
        Details((A,), (B,)),
        Rule(),
        Table((((Plain("c"),), (Plain("d"),)),)),
        ListBlock(((Plain("e"),), (Plain("f"),))),
        Link("https://x", (Mention("g"), RoomMention("h", "#h:x"), Picture("i"), Math("j"), CodeBlock("k"))),
    )
    assert words(text) == "abcdefghijk"


def test_plain_text_becomes_one_node() -> None:
    """Plain text is one node with its line ends made `\\n`; no text is no node."""
    assert from_plain("a\r\nb\rc") == (Plain("a\nb\nc"),)
    assert from_plain("") == ()
    assert to_plain(from_plain("a\nb")) == "a\nb"


def test_colors() -> None:
    """All CSS names are known, hex is read in both lengths, anything else is no colour."""
    assert len(COLOR_NAMES) == 148
    assert [parse_color(text) for text in ("RebeccaPurple", "#FfF", "a0b1c2", "#12", "url(x)", None, "")] == [
        "663399",
        "ffffff",
        "a0b1c2",
        None,
        None,
        None,
        None,
    ]
