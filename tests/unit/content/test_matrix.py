"""Events from Matrix: every kind of message, every relation, and every way of getting them wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from bridge_core.api.content import (
    Attachment,
    Content,
    Kind,
    ListBlock,
    MediaKind,
    Paragraph,
    Plain,
    RichText,
    Span,
    Style,
)
from bridge_core.api.errors import RejectedError
from bridge_core.content import LIMITS, ContentError, ContentLimitError, ParsedMessage, parse_message, safe_name

HTML = {"format": "org.matrix.custom.html"}
FILE = {"msgtype": "m.file", "body": "a.txt", "url": "mxc://x/y"}


def text(said: str) -> RichText:
    return (Plain(said),)


@pytest.mark.parametrize(
    ("msgtype", "kind"), [("m.text", Kind.TEXT), ("m.notice", Kind.NOTICE), ("m.emote", Kind.EMOTE)]
)
def test_plain_kinds(msgtype: str, kind: Kind) -> None:
    """Texts, notices and emotes keep their kind."""
    assert parse_message({"msgtype": msgtype, "body": "a"}) == ParsedMessage(Content(text("a"), kind))


def test_formatted_body_is_preferred() -> None:
    """The formatted body counts where its format is the known one and it says something."""
    body = {"msgtype": "m.text", "body": "*a*"}
    rich = (Span(Style.BOLD, text("a")),)
    assert parse_message({**body, **HTML, "formatted_body": "<b>a</b>"}).content.text == rich
    assert parse_message({**body, "format": "x", "formatted_body": "<b>a</b>"}).content.text == text("*a*")
    assert parse_message({**body, **HTML, "formatted_body": "<b></b>"}).content.text == text("*a*")
    assert parse_message({**body, **HTML, "formatted_body": 3}).content.text == text("*a*")


@pytest.mark.parametrize(
    ("relates", "expected"),
    [
        ({"m.in_reply_to": {"event_id": "$a"}}, ("$a", None, None)),
        ({"rel_type": "m.thread", "event_id": "$t"}, (None, "$t", None)),
        (
            {"rel_type": "m.thread", "event_id": "$t", "is_falling_back": True, "m.in_reply_to": {"event_id": "$a"}},
            (None, "$t", None),
        ),
        (
            {"rel_type": "m.thread", "event_id": "$t", "is_falling_back": False, "m.in_reply_to": {"event_id": "$a"}},
            ("$a", "$t", None),
        ),
        ({"rel_type": "m.replace", "event_id": "$r", "m.in_reply_to": {"event_id": "$a"}}, (None, None, "$r")),
        ({"rel_type": "m.replace"}, (None, None, None)),
        ({"rel_type": "m.replace", "event_id": 3}, (None, None, None)),
        ({"rel_type": [], "event_id": {}}, (None, None, None)),
        ({"m.in_reply_to": "$a"}, (None, None, None)),
        ({"m.in_reply_to": {"event_id": "a b"}}, (None, None, None)),
        ({"m.in_reply_to": {"event_id": "$" + "a" * 255}}, (None, None, None)),
        ("$a", (None, None, None)),
        ([], (None, None, None)),
    ],
)
def test_relations(relates: object, expected: tuple[str | None, str | None, str | None]) -> None:
    """Replies, threads and edits are told apart; a malformed relation is none, and the message is read."""
    parsed = parse_message({"msgtype": "m.text", "body": "a", "m.relates_to": relates})
    assert (parsed.reply_to, parsed.thread, parsed.replaces) == expected
    assert parsed.content.text == text("a")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"body": "* b", "m.new_content": {"msgtype": "m.notice", "body": "b"}}, Content(text("b"), Kind.NOTICE)),
        ({"body": "* b"}, Content(text("b"))),
        ({"body": "b"}, Content(text("b"))),
        ({"body": "* b", "m.new_content": "x"}, Content(text("b"))),
        ({"body": "* b", "m.new_content": {}}, Content(text("b"))),
        ({"body": "x", **HTML, "formatted_body": "* <b>a</b>"}, Content((Span(Style.BOLD, text("a")),))),
        ({"body": "x", **HTML, "formatted_body": "<p>* a</p>"}, Content((Paragraph(text("a")),))),
        ({"body": "x", **HTML, "formatted_body": "a * b"}, Content(text("a * b"))),
    ],
)
def test_edits(content: dict[str, object], expected: Content) -> None:
    """An edit says its new content, or what it says to old clients less the mark."""
    parsed = parse_message(
        {"msgtype": "m.text", "m.relates_to": {"rel_type": "m.replace", "event_id": "$r"}, **content}
    )
    assert (parsed.content, parsed.replaces) == (expected, "$r")


def test_mentions() -> None:
    """Mentions are user ids, each once; those of an edit are its new content's."""
    named: dict[str, Any] = {"user_ids": ["@a:x", "@a:x", 3, "a", "@b:x", ["@c:x"]], "room": True}
    parsed = parse_message({"msgtype": "m.text", "body": "a", "m.mentions": named})
    assert (parsed.mentions, parsed.mentions_room) == (("@a:x", "@b:x"), True)
    edit = parse_message(
        {
            "msgtype": "m.text",
            "body": "* a",
            "m.mentions": {},
            "m.new_content": {"msgtype": "m.text", "body": "a", "m.mentions": {"user_ids": ["@a:x"], "room": 1}},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$r"},
        }
    )
    assert (edit.mentions, edit.mentions_room) == (("@a:x",), False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("> <@u:x> a\n> b\n\nc\n> d", "c\n> d"),
        ("> * <@u:x> a\n\nc", "c"),
        ("> a quote typed by hand\n\nc", "> a quote typed by hand\n\nc"),
        ("> <@u:x> a\nc", "c"),
        ("c", "c"),
    ],
)
def test_reply_fallback(body: str, expected: str) -> None:
    """The quote old clients put before a reply is taken off, a quote typed by the sender stays."""
    relates = {"m.in_reply_to": {"event_id": "$a"}}
    assert parse_message({"msgtype": "m.text", "body": body, "m.relates_to": relates}).content.text == text(expected)
    assert parse_message({"msgtype": "m.text", "body": body}).content.text == text(body)
    # Known by the formatted body too, though that is empty but for the quote.
    quoted = {**HTML, "formatted_body": "<mx-reply>x</mx-reply>"}
    assert parse_message({"msgtype": "m.text", "body": body, **quoted}).content.text == text(expected)


@pytest.mark.parametrize(
    ("msgtype", "extra", "kind"),
    [
        ("m.image", {}, MediaKind.IMAGE),
        ("m.video", {}, MediaKind.VIDEO),
        ("m.audio", {}, MediaKind.AUDIO),
        ("m.audio", {"org.matrix.msc3245.voice": {}}, MediaKind.VOICE),
        ("m.audio", {"org.matrix.msc3245.voice": True}, MediaKind.AUDIO),
        ("m.file", {}, MediaKind.FILE),
    ],
)
def test_files(msgtype: str, extra: dict[str, object], kind: MediaKind) -> None:
    """Every kind of file gives its attachment with what is known of it."""
    info = {"mimetype": "Image/PNG", "size": 5, "w": 6, "h": 7.0, "duration": 8}
    parsed = parse_message({"msgtype": msgtype, "body": "a.png", "url": "mxc://x/y", "info": info, **extra})
    assert parsed.content == Content(attachments=(Attachment(kind, "a.png", "mxc://x/y", "image/png", 5, 6, 7, 8),))


def test_sticker() -> None:
    """A sticker is its picture; its body is its name, no caption."""
    parsed = parse_message({"body": "cat", "url": "mxc://x/y", "info": {}}, event_type="m.sticker")
    assert parsed.content == Content(attachments=(Attachment(MediaKind.STICKER, "cat", "mxc://x/y"),))


@pytest.mark.parametrize(
    ("extra", "name", "caption"),
    [
        ({}, "a.txt", ()),
        ({"filename": "a.txt"}, "a.txt", ()),
        ({"filename": "b.txt"}, "b.txt", text("a.txt")),
        ({"filename": "b.txt", "body": ""}, "b.txt", ()),
        ({"filename": 3}, "a.txt", ()),
        ({"filename": "b.txt", **HTML, "formatted_body": "<b>c</b>"}, "b.txt", (Span(Style.BOLD, text("c")),)),
        ({"body": None}, "file", ()),
    ],
)
def test_captions(extra: dict[str, object], name: str, caption: RichText) -> None:
    """With a file name of its own the body is the caption (MSC2530), else it is the name."""
    content = parse_message({**FILE, **extra}).content
    assert (content.attachments[0].name, content.text) == (name, caption)


def test_encrypted_file() -> None:
    """An encrypted file brings its keys, and only those, as JSON."""
    file = {
        "url": "mxc://x/y",
        "v": "v2",
        "key": {"k": "secret", "alg": "other"},
        "iv": "iv",
        "hashes": {"sha256": "hash"},
        "more": "x" * 1000,
    }
    (attachment,) = parse_message({"msgtype": "m.file", "body": "a", "file": file}).content.attachments
    assert attachment.source == "mxc://x/y"
    assert attachment.keys == (
        '{"v":"v2","key":{"kty":"oct","alg":"A256CTR","ext":true,"key_ops":["encrypt","decrypt"],"k":"secret"},'
        '"iv":"iv","hashes":{"sha256":"hash"}}'
    )


@pytest.mark.parametrize(
    "info",
    [
        None,
        [],
        {"size": -1, "w": "5", "h": True, "duration": float("nan"), "mimetype": "text/html\r\nX: y"},
        {"size": 2**60, "w": {}, "h": [], "duration": float("inf"), "mimetype": 3},
    ],
)
def test_absurd_file_info_is_unknown(info: object) -> None:
    """Sizes and types that cannot be are unknown; the file is read all the same."""
    (attachment,) = parse_message({**FILE, "info": info}).content.attachments
    assert attachment == Attachment(MediaKind.FILE, "a.txt", "mxc://x/y")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\r\nb\x00.txt", "a_b_.txt"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("..", ""),
        ("/", ""),
        (None, ""),
        ("ä" * 300 + ".jpeg", "ä" * 125 + ".jpeg"),
        ("a" * 300, "a" * 255),
    ],
)
def test_file_names_hold_no_path(name: object, expected: str) -> None:
    """A file name from outside can leave no folder, break no header and hide no ending."""
    assert safe_name(name) == expected
    assert len(safe_name(name).encode()) <= 255


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"body": "Here", "geo_uri": "geo:1,2"}, text("Here\ngeo:1,2")),
        ({"body": "Here geo:1,2", "geo_uri": "geo:1,2"}, text("Here geo:1,2")),
        ({"geo_uri": "geo:1,2"}, text("geo:1,2")),
        ({"body": "Here", "geo_uri": "javascript:"}, text("Here")),
    ],
)
def test_location(content: dict[str, object], expected: RichText) -> None:
    """A location is its description and address."""
    assert parse_message({"msgtype": "m.location", **content}).content.text == expected


POLL = (Paragraph(text("Q?")), ListBlock((text("A"), text("B")), 1))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {
                "org.matrix.msc3381.poll.start": {
                    "question": {"org.matrix.msc1767.text": "Q?"},
                    "answers": [{"id": "1", "org.matrix.msc1767.text": "A"}, {"id": "2", "body": "B"}, 3, {}],
                }
            },
            POLL,
        ),
        (
            {
                "m.poll": {
                    "question": {"m.text": [{"mimetype": "text/html", "body": "<b>"}, {"body": "Q?"}]},
                    "answers": [{"m.id": "1", "m.text": [{"body": "A"}]}, {"m.id": "2", "m.text": [{"body": "B"}]}],
                }
            },
            POLL,
        ),
        ({"m.poll": {"question": 3, "answers": 4}, "m.text": [{"body": "fallback"}]}, text("fallback")),
        ({"m.poll.start": [], "body": "fallback"}, text("fallback")),
    ],
)
def test_poll(content: dict[str, object], expected: RichText) -> None:
    """A poll is its question and numbered answers, else its text fallback."""
    assert parse_message(content, event_type="m.poll.start").content.text == expected


def test_unknown_kind_gives_its_body() -> None:
    """A kind of message made up later is still read as text."""
    assert parse_message({"msgtype": "org.x.new", "body": "a"}).content == Content(text("a"))
    assert parse_message({"msgtype": {}, "body": "a"}).content == Content(text("a"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "nothing"),
        ({"msgtype": "m.text"}, "no text"),
        ({"msgtype": "m.text", "body": 3}, "no text"),
        ({"msgtype": "m.text", "body": ""}, "no text"),
        ({"msgtype": "m.image", "body": "a"}, "image has no address"),
        ({"msgtype": "m.file", "body": "a", "url": "https://x/y"}, "file has no address"),
        ({"msgtype": "m.file", "body": "a", "url": "mxc://x/../y"}, "file has no address"),
        ({"msgtype": "m.file", "body": "a", "file": {"url": "mxc://x/y"}}, "keys"),
        ({"msgtype": "m.file", "body": "a", "file": {"url": "mxc://x/y", "v": "v2", "key": [], "iv": 1}}, "keys"),
        ({"msgtype": "m.location"}, "no place"),
        ({"msgtype": "m.key.verification.request", "body": "a"}, "verify"),
    ],
)
def test_unreadable_says_why(content: Mapping[str, object], reason: str) -> None:
    """What cannot be read is refused with a reason for its sender."""
    with pytest.raises(ContentError, match=reason) as caught:
        parse_message(content)
    assert isinstance(caught.value, RejectedError)


def test_long_body_is_refused() -> None:
    """A body over the limit is refused, not cut in silence."""
    with pytest.raises(ContentLimitError, match="longer than"):
        parse_message({"msgtype": "m.text", "body": "a" * (LIMITS.chars + 1)})


def test_control_characters_of_a_body() -> None:
    """Line ends are made one, NUL and lone surrogates do not get through."""
    assert parse_message({"msgtype": "m.text", "body": "a\r\nb\x00\ud800"}).content.text == text("a\nb\ufffd")
