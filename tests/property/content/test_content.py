"""What holds for every text: round trips, no stray errors, nothing outside the specification's list gets out."""

import re
from html.parser import HTMLParser

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
from bridge_core.content import ContentError, ContentLimitError, from_html, message_content, parse_message, to_html
from bridge_core.content.addresses import LINK_SCHEMES
from bridge_core.content.tokens import tokens

_BARE = """
del h1 h2 h3 h4 h5 h6 blockquote p ul sup sub li b i u strong em s hr br table thead tbody tr th td caption pre details
summary
"""
# The list of the specification, client-server API, "org.matrix.custom.html".
ALLOWED: dict[str, set[str]] = {
    **{tag: set() for tag in _BARE.split()},
    "a": {"href", "target"},
    "span": {"data-mx-bg-color", "data-mx-color", "data-mx-spoiler", "data-mx-maths"},
    "div": {"data-mx-maths"},
    "ol": {"start"},
    "code": {"class"},
    "img": {"width", "height", "alt", "title", "src", "data-mx-emoticon"},
}
VOID = {"br", "hr", "img"}

_words = st.text("abcäß<>&\"'`/=", min_size=1, max_size=4)
names = st.lists(_words, min_size=1, max_size=3).map(" ".join)
lines = st.text("ab<>&\"' \n\t\u20ac", max_size=20)
colors = st.one_of(st.none(), st.from_regex(r"[0-9a-f]{6}", fullmatch=True))

# What HTML can say exactly: no folded white space, and no two neighbours that it cannot tell apart.
leaves = st.one_of(
    names.map(Plain),
    st.builds(Mention, names, matrix=st.sampled_from([UserId("@a:x.org"), UserId("@b/c=_:x.org:80")])),
    st.builds(RoomMention, names, st.sampled_from(["#r:x.org", "!id:x.org", "!abcDEF-_"])),
    st.builds(Picture, names, st.just("mxc://x.org/abc")),
    st.builds(Math, names, st.just(False)),
)


def joined(nodes: list[Node]) -> RichText:
    """The nodes, with neighbouring texts made one as HTML would."""
    out: list[Node] = []
    for node in nodes:
        if isinstance(node, Plain) and out and isinstance(last := out[-1], Plain):
            out[-1] = Plain(last.text + node.text)
        else:
            out.append(node)
    return tuple(out)


def inline(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    texts = st.lists(children, min_size=1, max_size=3).map(joined)
    return st.one_of(
        st.builds(Span, st.sampled_from(Style), texts),
        st.builds(Colored, colors, colors, texts).filter(lambda node: node.foreground or node.background),
        st.builds(Spoiler, st.one_of(st.none(), names), texts),
    )


inlines = st.recursive(leaves, inline, max_leaves=6)
# A link within a link cannot be said, and a link to a user is a mention.
links = st.builds(Link, st.sampled_from(["https://x.org/?a=1&b", "mailto:a@b"]), names.map(lambda name: (Plain(name),)))
phrases = st.lists(st.one_of(inlines, links), min_size=1, max_size=4).map(joined)
leaf_blocks = st.one_of(
    phrases.map(Paragraph),
    st.builds(Heading, st.integers(1, 6), phrases),
    st.builds(CodeBlock, lines, st.one_of(st.none(), st.sampled_from(["py", "c++"]))),
    st.just(Rule()),
)


def nested(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    flows = st.one_of(phrases, st.lists(children, min_size=1, max_size=3).map(tuple))
    rows = st.lists(st.lists(phrases, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
    return st.one_of(
        flows.map(Quote),
        st.builds(
            ListBlock, st.lists(flows, min_size=1, max_size=3).map(tuple), st.one_of(st.none(), st.integers(0, 99))
        ),
        st.builds(Table, rows, st.booleans()),
        st.builds(Details, phrases, flows),
    )


blocks = st.recursive(leaf_blocks, nested, max_leaves=6)
texts = st.one_of(phrases, st.lists(blocks, min_size=1, max_size=4).map(tuple))


def few(children: st.SearchStrategy[Node]) -> st.SearchStrategy[RichText]:
    return st.lists(children, max_size=3).map(tuple)


wild = st.recursive(
    st.one_of(
        st.builds(Plain, st.text(max_size=10)),
        st.builds(Mention, st.text(max_size=5), matrix=st.text(max_size=9).map(UserId)),
        st.builds(RoomMention, st.text(max_size=5), st.text(max_size=9)),
        st.builds(Picture, st.text(max_size=5), st.one_of(st.none(), st.text(max_size=9))),
        st.builds(Math, st.text(max_size=9), st.booleans()),
        st.builds(CodeBlock, st.text(max_size=9), st.one_of(st.none(), st.text(max_size=9))),
        st.builds(Rule),
    ),
    lambda children: st.one_of(
        st.builds(Link, st.one_of(st.text(max_size=9), st.text("javscriptdaml:\n\t", max_size=12)), few(children)),
        st.builds(Span, st.sampled_from(Style), few(children)),
        st.builds(Colored, st.text(max_size=7), st.one_of(st.none(), st.text(max_size=7)), few(children)),
        st.builds(Spoiler, st.text(max_size=9), few(children)),
        st.builds(Heading, st.integers(-3, 9), few(children)),
        st.builds(ListBlock, st.lists(few(children), max_size=3).map(tuple), st.one_of(st.none(), st.integers())),
        st.builds(
            Table, st.lists(st.lists(few(children), max_size=2).map(tuple), max_size=2).map(tuple), st.booleans()
        ),
        st.builds(Details, few(children), few(children)),
    ),
    max_leaves=8,
)


_PIECES = """
<b>|</b>|<i>|</i>|<p>|</p>|<ul>|<li>|</ul>|<ol start=2>|</li>|<table>|<tr>|<td>|<th>|</td>|</tr>|</table>|<caption>|
<thead>|</thead>|<pre>|</pre>|<code>|</code>|<a href='https://x'>|<a href="https://matrix.to/#/@a:x">|</a>|<h1>|</h1>|
<span data-mx-spoiler>|</span>|<br>|<hr>|<blockquote>|</blockquote>|<details>|<summary>|</summary>|</details>|
<mx-reply>|</mx-reply>|<script>|</script>|<!--|-->|<!|<img alt=a>|<img src=mxc://a/b>|<font color=red>|</font>|<head>|
<body>|<div data-mx-maths=x>|<div>|</div>|&#0;|&#13;|&lt;|&#xd800;|<|>|"|'|a|b| |
"""
markup = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(_PIECES.split("|"))), max_size=30).map("".join)


class Checker(HTMLParser):
    """An independent reader that collects whatever is outside the specification's list or not well nested."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self._stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.wrong += [f"{tag} {name}" for name, _ in attrs if name not in ALLOWED.get(tag, set())]
        for name, value in attrs:
            if name == "href" and (value or "").partition(":")[0].lower() not in LINK_SCHEMES:
                self.wrong.append(f"link {value}")
            if name == "src" and not (value or "").startswith("mxc://"):
                self.wrong.append(f"source {value}")
        if tag not in ALLOWED:
            self.wrong.append(tag)
        if tag not in VOID:
            self._stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._stack or self._stack.pop() != tag:
            self.wrong.append(f"end of {tag}")

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.wrong.append(f"declaration {decl}")

    def close(self) -> None:
        super().close()
        self.wrong += [f"open {tag}" for tag in self._stack]


def wrongs(html: str) -> list[str]:
    checker = Checker()
    checker.feed(html)
    checker.close()
    return checker.wrong


@given(texts)
def test_round_trip(text: RichText) -> None:
    """A text that HTML can say is read back as it was written."""
    html = to_html((*text, Rule())).html  # the rule makes even plain texts need HTML
    assert html is not None
    assert from_html(html) == (*text, Rule())


@given(markup)
@settings(max_examples=300)
def test_any_markup_is_read(html: str) -> None:
    """Any text at all is read or refused with the narrow error, and what was read can be written within the list."""
    try:
        text = from_html(html)
    except ContentLimitError:
        return
    rendered = to_html(text)
    assert not wrongs(rendered.html or "")
    rendered.body.encode()


@given(markup)
def test_second_reading_is_the_first(html: str) -> None:
    """Writing what was read, and reading that, comes to rest: the second HTML is the first."""
    once = to_html(from_html(html)).html
    if once is not None:
        twice = to_html(from_html(once)).html
        assert (twice and to_html(from_html(twice)).html) == twice


@given(few(wild))
@settings(max_examples=300)
def test_nothing_outside_the_list_is_written(text: RichText) -> None:
    """Whatever an adapter puts into a tree, only listed elements, attributes and schemes come out, well nested."""
    rendered = to_html(text)
    assert not wrongs(rendered.html or "")
    (rendered.html or rendered.body).encode()


@given(st.text())
def test_plain_text_survives_html(text: str) -> None:
    """A tag-free rendering of any text reads back as that text, but for white space that HTML folds."""
    html = to_html((Plain(text), Rule())).html
    assert html is not None
    said = "".join(node.text for node in from_html(html) if isinstance(node, Plain))
    expected = re.sub(r"\r\n?", "\n", text).replace("\x00", "")
    assert said.replace("\u00a0", " ").split() == expected.replace("\u00a0", " ").split()


@given(markup)
def test_tokens_never_raise(html: str) -> None:
    """The tokenizer takes any text and gives no more of it than there was."""
    assert sum(len(text) for _, text, _ in tokens(html)) <= len(html)


_KEYS = """
msgtype body format formatted_body url file info filename m.relates_to m.new_content m.mentions user_ids event_id
rel_type m.in_reply_to geo_uri key iv hashes v size mimetype m.poll question answers m.text is_falling_back
"""
keys = st.sampled_from(_KEYS.split())
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(keys, children, max_size=4)),
    max_leaves=12,
)
kinds = st.sampled_from(["m.text", "m.notice", "m.emote", "m.image", "m.file", "m.audio", "m.video", "m.location", "x"])


@given(
    st.dictionaries(keys, json_values, max_size=6),
    st.one_of(kinds, json_values),
    st.sampled_from(["m.room.message", "m.sticker", "m.poll.start"]),
)
@settings(max_examples=300)
def test_any_event_is_read_or_refused(content: dict[str, object], msgtype: object, event_type: str) -> None:
    """Whatever an event holds, it is read or refused with a reason; what is read can be sent again."""
    try:
        parsed = parse_message({**content, "msgtype": msgtype}, event_type=event_type)
    except ContentError as error:
        assert str(error)
        return
    assert parsed.content.text or parsed.content.attachments
    message_content(parsed.content)
