"""What is written here is read here as it was meant: the composer and the parser agree."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.content import (
    CodeBlock,
    Content,
    Link,
    ListBlock,
    MediaKind,
    Node,
    Paragraph,
    Plain,
    Quote,
    Span,
    Style,
)
from bridge_core.content import to_plain
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.composer import MailComposer
from bridges.email.config.composing import Composing
from bridges.email.mail import Mail
from bridges.email.parsing.context import Context
from bridges.email.parsing.reader import ReadMail, read_mail
from bridges.email.ports import Draft
from tests.bridges.email.mailing import BOB, NOW, SECRET, SUPPORT, MailHost, draft

WORDS = st.text(st.sampled_from("abcdefghijklm XYZ 0123 äßéñ дом 漢字 שלום 👍  "), min_size=1, max_size=120).map(
    lambda text: " ".join(text.split()) or "x"
)
NAMES = st.text(st.sampled_from("abcXYZ äßéñ'(),\"\\"), min_size=1, max_size=120).map(
    lambda text: f"a {' '.join(text.split())}".strip()
)
MARKS = "'\" "
LOCAL = st.text(st.sampled_from("abcxyz09"), min_size=1, max_size=12)
ADDRESS = st.builds(Address, LOCAL, st.sampled_from(["there.test", "else.test"]), st.just(""))
IDS = st.lists(
    st.text(st.sampled_from("abc019.$+-"), min_size=1, max_size=90).map(lambda left: f"{left}@x.test"),
    max_size=25,
    unique=True,
)


async def read(written: Draft, host: MailHost | None = None, **values: Any) -> ReadMail:
    """The draft, written and read again."""
    host = host or MailHost()
    context: Any = host
    composer = MailComposer(context, Tokens(SECRET), Composing(**values), bridge="bridge.test", keys={})
    mail = await composer.compose(written)
    return read_mail(mail.head + host.blobs.files[mail.blob], Context(received_at=NOW))


def people(addresses: tuple[Address, ...]) -> list[str]:
    return [one.key for one in addresses]


@settings(max_examples=40)
@given(st.lists(ADDRESS, min_size=1, max_size=20), st.lists(ADDRESS, max_size=5), IDS, WORDS, NAMES)
async def test_the_head_is_read_as_it_was_written(
    to: list[Address], cc: list[Address], ids: list[str], subject: str, name: str
) -> None:
    """Who, about what, as an answer to what: the same on the other side, however long and in whatever language."""
    parent = ids[-1] if ids else ""
    subject, name = subject[:200].strip(), name[:100].strip()
    author = SUPPORT.named(name)
    written = draft(to=tuple(to), cc=tuple(cc), references=tuple(ids), in_reply_to=parent)
    found = (await read(replace(written, subject=subject, author=author))).mail
    assert found.subject == subject
    assert (people(found.authors), people(found.to), people(found.cc)) == (
        [SUPPORT.key],
        people(tuple(to)),
        people(tuple(cc)),
    )
    # Quote marks around a name are somebody's quoting; they are not shown.
    assert found.authors[0].name.strip(MARKS) == name.strip(MARKS)
    assert found.in_reply_to == ((parent,) if parent else ())
    if ids:
        assert (found.references[0], found.references[-1]) == (ids[0], parent)
    assert found.date == NOW
    assert found.bridges == ("bridge.test",)
    assert not found.automatic
    assert found.remarks == ()


def blocks() -> st.SearchStrategy[tuple[Node, ...]]:
    inline = st.one_of(
        WORDS.map(Plain),
        WORDS.map(lambda text: Span(Style.BOLD, (Plain(text),))),
        WORDS.map(lambda text: Span(Style.ITALIC, (Plain(text),))),
        WORDS.map(lambda text: Link("https://there.test/x", (Plain(text),))),
    )
    block = st.one_of(
        inline.map(lambda node: Paragraph((node,))),
        WORDS.map(lambda text: ListBlock(((Plain(text),), (Plain(text),)))),
        WORDS.map(CodeBlock),
    )
    return st.lists(block, min_size=1, max_size=5).map(tuple)


@settings(max_examples=40)
@given(blocks(), st.sampled_from(["always", "never"]))
async def test_the_words_are_read_as_they_were_written(text: tuple[Node, ...], html: str) -> None:
    """Every word of a text arrives, in order, whether it is read from the HTML or from the plain text."""
    found = (await read(draft(content=Content(text)), html=html)).mail
    assert words(to_plain(found.text)) == words(to_plain(text))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


async def test_files_are_read_as_they_were_sent() -> None:
    """Names, types and bytes of files are the same; pictures are known as those of the text."""
    host = MailHost()
    files = (
        host.file("Übersicht 漢字.pdf", b"%PDF-1.4 " + bytes(range(256)), "application/pdf"),
        host.file("photo.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image/png", MediaKind.IMAGE),
    )
    found = await read(draft(content=Content((Plain("see"),), attachments=files)), host)
    got = {one.name: (one.mime, one.size, one.inline) for one in found.mail.files}
    assert got == {
        "Übersicht 漢字.pdf": ("application/pdf", files[0].size, False),
        "photo.png": ("image/png", files[1].size, True),
    }


async def test_what_a_mail_is_for_is_known_again() -> None:
    """Reactions, corrections, withdrawals, lists and automatic mail are read as what they are."""
    reaction = (await read(draft(content=Content(), reacts="👍", in_reply_to="old@x.test"))).mail
    assert reaction.reaction is not None
    assert reaction.reaction.key == "👍"
    assert reaction.in_reply_to == ("old@x.test",)
    assert (await read(draft("new", edits="old@x.test"))).mail.edits == "old@x.test"
    assert (await read(draft("", redacts="old@x.test"))).mail.deletes == ("old@x.test",)
    listed = (await read(draft(automatic=True, list_id="team.example.org"))).mail
    assert listed.list_id == "team.example.org"
    assert listed.automatic


async def test_an_answer_is_told_from_what_it_quotes() -> None:
    """The excerpt of what is answered is taken for a quote."""
    found: Mail = (await read(draft("my answer", quoted="the question", in_reply_to="a@b.test"), html="never")).mail
    assert isinstance(found.text[0], Quote) or "the question" not in to_plain(found.text)
    assert "my answer" in to_plain(found.text)


@pytest.mark.parametrize("text", ["-- \nnot a signature", "From here", "> said", ". dot", "a\n\n\nb", "--"])
async def test_odd_lines_are_read_as_they_were_written(text: str) -> None:
    """Nothing that means something to mail servers or readers is lost from a text."""
    found = (await read(draft(text), html="never")).mail
    assert words(to_plain(found.text)) == words(text)
    assert BOB.key in people(found.to)
