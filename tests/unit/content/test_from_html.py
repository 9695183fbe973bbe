"""Matrix HTML to rich text: one row for each element, attribute and rule."""

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
from bridge_core.api.ids import UserId
from bridge_core.content.from_html import from_html

A, B, C = Plain("a"), Plain("b"), Plain("c")


def bold(*children: Node) -> Span:
    return Span(Style.BOLD, children)


STYLES = {
    Style.BOLD: ("b", "strong"),
    Style.ITALIC: ("i", "em", "cite"),
    Style.UNDERLINE: ("u", "ins"),
    Style.STRIKE: ("s", "del", "strike"),
    Style.CODE: ("code", "tt", "kbd"),
    Style.SUPERSCRIPT: ("sup",),
    Style.SUBSCRIPT: ("sub",),
}

TABLE: dict[str, tuple[str, tuple[Node, ...]]] = {
    "text": ("a", (A,)),
    "nothing": ("", ()),
    "references": ("&lt;&amp;&#97;&#x62;&nbsp;&foo;", (Plain("<&ab\u00a0&foo;"),)),
    "bare signs": ("1 < 2 & 3 > 2", (Plain("1 < 2 & 3 > 2"),)),
    "comment": ("a<!-- b > <b>-->b<!>c<?x?><!doctype html>", (Plain("abc"),)),
    "upper case": ("<B CLASS=x>a</B>", (bold(A),)),
    "unknown element": ("<blink>a<b>b</b></blink>", (A, bold(B))),
    "script": ("a<script>if (a<b) '</b>'</script>b", (Plain("ab"),)),
    "style": ("<style>p {}</style>a", (A,)),
    "head": ("<html><head><title>t</title><meta></head><body>a</body></html>", (A,)),
    "template": ("a<template>x<template>y</template>z</template>b", (Plain("ab"),)),
    "reply": ('<mx-reply><blockquote><a href="x">In reply to</a> x</blockquote></mx-reply>a', (A,)),
    "br": ("a <br> b<br/>c", (Plain("a\nb\nc"),)),
    "p": ("<p>a</p>\n<p> b </p>", (Paragraph((A,)), Paragraph((B,)))),
    "open p": ("<p>a<p>b", (Paragraph((A,)), Paragraph((B,)))),
    "p before list": ("<p>a<ul><li>b</ul>", (Paragraph((A,)), ListBlock(((B,),)))),
    "div": ("<div>a</div>b", (Paragraph((A,)), B)),
    "div of blocks": ("<div>a<p>b</p> </div>", (Paragraph((A,)), Paragraph((B,)))),
    "headings": ("<h1>a</h1><h6>b</h6>", (Heading(1, (A,)), Heading(6, (B,)))),
    "quote": ("<blockquote>a<blockquote>b</blockquote></blockquote>c", (Quote((A, Quote((B,)))), C)),
    "pre": ("<pre>\n a\n  b\n</pre>c", (CodeBlock(" a\n  b"), C)),
    "code block": ('<pre><code class="x language-py">a &lt;\n</code></pre>', (CodeBlock("a <", "py"),)),
    "styles in pre": ("<pre>a<b>b</b><br>c</pre>", (CodeBlock("ab\nc"),)),
    "br in pre": ("<pre>a<br>\nb</pre>", (CodeBlock("a\n\nb"),)),
    "code that begins empty": ("<pre><code>\na\n</code></pre>", (CodeBlock("\na"),)),
    "bullets": ("<ul> <li>a</li> <li>b</li> </ul>", (ListBlock(((A,), (B,))),)),
    "numbers": ("<ol><li>a</ol>", (ListBlock(((A,),), 1),)),
    "numbers from": ('<ol start="7"><li>a</ol>', (ListBlock(((A,),), 7),)),
    "numbers from nonsense": ('<ol start="x99999999999"><li>a</ol>', (ListBlock(((A,),), 1),)),
    "nested list": ("<ul><li>a<ol><li>b</ol><li>c</ul>", (ListBlock(((A, ListBlock(((B,),), 1)), (C,))),)),
    "list within list": ("<ul><li>a</li><ul><li>b</li></ul></ul>", (ListBlock(((A, ListBlock(((B,),))),)),)),
    "item alone": ("<li>a", (Paragraph((A,)),)),
    "hr": ("a<hr>b", (A, Rule(), B)),
    "table": (
        "<table><caption>c</caption><thead><tr><th>a<th>b</thead><tbody><tr><td>b</td><td></td></tr></table>",
        (Paragraph((C,)), Table((((A,), (B,)), ((B,), ())), head=True)),
    ),
    "table without head": ("<table><tr><td>a<td>b<tr><td>c</table>", (Table((((A,), (B,)), ((C,),))),)),
    "cells without row": ("<table><td>a<td>b</table>", (Table((((A,), (B,)),)),)),
    "cell alone": ("<td>a", (Paragraph((A,)),)),
    "details": ("<details><summary>a</summary>b<p>c</details>", (Details((A,), (B, Paragraph((C,)))),)),
    "link": ('<a href="https://x.org/?a=1&amp;b=2">a</a>', (Link("https://x.org/?a=1&b=2", (A,)),)),
    "link without quotes": ("<a href=http://x.org>a</a>", (Link("http://x.org", (A,)),)),
    "link without address": ("<a name=x>a</a>", (A,)),
    "links in one another": ("<a href=ftp://x>a<a href=ftp://y>b", (Link("ftp://x", (A,)), Link("ftp://y", (B,)))),
    "script link": ('<a href="javascript:alert(1)">a</a>', (A,)),
    "masked script link": ('<a href=" java\nscript&colon;alert(1)">a</a>', (A,)),
    "data link": ('<a href="data:text/html,x">a</a>', (A,)),
    "relative link": ('<a href="//x.org">a</a>', (A,)),
    "pill": ('<a href="https://matrix.to/#/@u:x.org">U</a>', (Mention("U", matrix=UserId("@u:x.org")),)),
    "encoded pill": (
        '<a href="https://matrix.to/#/%40u%3Ax.org?via=x.org">U</a>',
        (Mention("U", matrix=UserId("@u:x.org")),),
    ),
    "matrix: pill": ('<a href="matrix:u/u:x.org?action=chat">U</a>', (Mention("U", matrix=UserId("@u:x.org")),)),
    "styled pill": ('<a href="matrix:u/u:x.org"><b>U</b></a>', (Mention("U", matrix=UserId("@u:x.org")),)),
    "room pill": ('<a href="https://matrix.to/#/#r:x.org">R</a>', (RoomMention("R", "#r:x.org"),)),
    "matrix: room": ('<a href="matrix:r/r:x.org">R</a>', (RoomMention("R", "#r:x.org"),)),
    "room id": ('<a href="https://matrix.to/#/!abc">R</a>', (RoomMention("R", "!abc"),)),
    "event": ('<a href="https://matrix.to/#/!r:x/$e">a</a>', (Link("https://matrix.to/#/!r:x/$e", (A,)),)),
    "no user": ('<a href="https://matrix.to/#/@">a</a>', (Link("https://matrix.to/#/@", (A,)),)),
    "emoji": ('<img data-mx-emoticon src="mxc://x.org/ab" alt=":a:">', (Picture(":a:", "mxc://x.org/ab"),)),
    "foreign picture": ('<img src="https://x.org/t.gif" title="t">', (Picture("t"),)),
    "silent foreign picture": ('<img src="https://x.org/t.gif">', ()),
    "picture path": ('<img src="mxc://x.org/../a" alt=a>', (Picture("a"),)),
    "spoiler": ("<span data-mx-spoiler>a</span>", (Spoiler(None, (A,)),)),
    "spoiler with reason": ('<span data-mx-spoiler="r">a</span>', (Spoiler("r", (A,)),)),
    "font": ("<font color=red>a</font>", (Colored("ff0000", None, (A,)),)),
    "colours": (
        '<span data-mx-color="#ABCDEF" data-mx-bg-color="#123">a</span>',
        (Colored("abcdef", "112233", (A,)),),
    ),
    "no colour": ('<font color="nice">a</font><span>b</span>', (Plain("ab"),)),
    "coloured spoiler": (
        '<span data-mx-spoiler data-mx-color="#abcdef">a</span>',
        (Spoiler(None, (Colored("abcdef", None, (A,)),)),),
    ),
    "formula": ('<span data-mx-maths="x^2">x<sup>2</sup></span>', (Math("x^2"),)),
    "formula block": ('<div data-mx-maths="x">x<div>y</div></div>a', (Math("x", True), A)),
    "spaces folded": (" a \n\t b ", (Plain("a b"),)),
    "space at border": ("<b>a </b> b", (bold(Plain("a ")), B)),
    "space before block": ("a <b>b </b> <p>c", (Plain("a "), bold(B), Paragraph((C,)))),
    "hard space kept": ("a&nbsp; b", (Plain("a\u00a0 b"),)),
    "empty elements": ("<b></b><p> </p><i> </i><ul></ul><table></table>a", (A,)),
    "crossed ends": ("<b>a<i>b</b>c</i>", (bold(A, Span(Style.ITALIC, (B,))), C)),
    "end across block": ("<b>a<blockquote>b</b></blockquote>", (bold(A, Quote((B,))),)),
    "stray ends": ("</b></p></table>a</div>", (A,)),
    "block in inline": ("<b><p>a</p></b>", (bold(Paragraph((A,))),)),
    "first attribute counts": ("<font color=red color=blue>a</font>", (Colored("ff0000", None, (A,)),)),
    "open tag": ("a<b c=", (A,)),
    "carriage returns": ("<pre>a\r\nb\rc</pre>", (CodeBlock("a\nb\nc"),)),
    "null": ("a\x00&#0;", (Plain("a\ufffd"),)),
    "lone surrogate": ("a\ud800", (Plain("a\ufffd"),)),
}


@pytest.mark.parametrize(("html", "expected"), TABLE.values(), ids=TABLE.keys())
def test_element(html: str, expected: tuple[Node, ...]) -> None:
    """Each element becomes its node, and what is not on the list leaves its text only."""
    assert from_html(html) == expected


@pytest.mark.parametrize(("style", "tag"), [(style, tag) for style, tags in STYLES.items() for tag in tags])
def test_style(style: Style, tag: str) -> None:
    """Every element of a style gives that style."""
    assert from_html(f"<{tag}>a</{tag}>") == (Span(style, (A,)),)
