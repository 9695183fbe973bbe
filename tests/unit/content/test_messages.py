"""Events to send: text, files, replies, threads, edits, and texts too long for one event."""

import json

import pytest

from bridge_core.api.content import Attachment, Content, Kind, MediaKind, Mention, Paragraph, Plain, Quote, Span, Style
from bridge_core.api.ids import EventId, RemoteUserId, UserId
from bridge_core.content import fit_event, media_content, message_content, parse_message, relation, words
from bridge_core.content.parts import cost

HELLO = Content((Plain("hello"),))
RICH = Content((Span(Style.BOLD, (Plain("a"),)), Mention("N", remote=RemoteUserId("n"))))
A, T, R = EventId("$a"), EventId("$t"), EventId("$r")


def known(mention: Mention) -> UserId | None:
    return UserId("@n:x")


@pytest.mark.parametrize(
    ("kind", "msgtype"), [(Kind.TEXT, "m.text"), (Kind.NOTICE, "m.notice"), (Kind.EMOTE, "m.emote")]
)
def test_plain(kind: Kind, msgtype: str) -> None:
    """Plain text is a body and nothing more; mentions are always said, so that no client guesses."""
    said = message_content(Content(HELLO.text, kind))
    assert said == {"msgtype": msgtype, "body": "hello", "m.mentions": {}}


def test_rich() -> None:
    """Formatted text has both bodies and mentions whom it names."""
    assert message_content(RICH, resolver=known) == {
        "msgtype": "m.text",
        "body": "aN",
        "format": "org.matrix.custom.html",
        "formatted_body": '<strong>a</strong><a href="https://matrix.to/#/@n:x">N</a>',
        "m.mentions": {"user_ids": ["@n:x"]},
    }


def test_notify() -> None:
    """Users to notify are mentioned first, and nobody twice."""
    assert message_content(HELLO, notify=(UserId("@a:x"),))["m.mentions"] == {"user_ids": ["@a:x"]}
    both = message_content(RICH, resolver=known, notify=(UserId("@a:x"), UserId("@n:x")))
    assert both["m.mentions"] == {"user_ids": ["@a:x", "@n:x"]}


def test_reply_and_thread() -> None:
    """Replies name what they answer; in a thread old clients are shown a reply that others know to be none."""
    assert message_content(HELLO, reply_to=A)["m.relates_to"] == {"m.in_reply_to": {"event_id": "$a"}}
    assert message_content(HELLO, thread=T)["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$t",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$t"},
    }
    both = message_content(HELLO, reply_to=A, thread=T)["m.relates_to"]
    assert both == {
        "rel_type": "m.thread",
        "event_id": "$t",
        "is_falling_back": False,
        "m.in_reply_to": {"event_id": "$a"},
    }
    last = relation(None, T, last=A)
    assert last is not None
    assert last["m.in_reply_to"] == {"event_id": "$a"}
    assert relation(None, None) is None


def test_edit() -> None:
    """An edit has its new content and, for old clients, the same marked; it notifies nobody again."""
    assert message_content(RICH, replaces=R, resolver=known) == {
        "msgtype": "m.text",
        "body": "* aN",
        "format": "org.matrix.custom.html",
        "formatted_body": '* <strong>a</strong><a href="https://matrix.to/#/@n:x">N</a>',
        "m.mentions": {},
        "m.new_content": message_content(RICH, resolver=known),
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$r"},
    }


def test_file() -> None:
    """An uploaded file has its name, its info and its address; unknown info is left out."""
    attachment = Attachment(MediaKind.IMAGE, "a/b.png", "blob:1", "image/png", 5, 6, 7)
    assert media_content(attachment, "mxc://x/y", reply_to=A) == {
        "msgtype": "m.image",
        "body": "a_b.png",
        "filename": "a_b.png",
        "info": {"mimetype": "image/png", "size": 5, "w": 6, "h": 7},
        "url": "mxc://x/y",
        "m.mentions": {},
        "m.relates_to": {"m.in_reply_to": {"event_id": "$a"}},
    }


def test_encrypted_file_with_caption() -> None:
    """An encrypted file has its keys instead of a bare address, and its caption beside its name."""
    attachment = Attachment(MediaKind.VOICE, "v.ogg", "blob:1", duration=9)
    said = media_content(attachment, "mxc://x/y", file={"v": "v2"}, caption=(Plain("hi"),))
    assert "url" not in said
    assert said["file"] == {"v": "v2", "url": "mxc://x/y"}
    assert (said["msgtype"], said["body"], said["filename"]) == ("m.audio", "hi", "v.ogg")
    assert said["org.matrix.msc3245.voice"] == {}


@pytest.mark.parametrize("kind", [kind for kind in MediaKind if kind is not MediaKind.STICKER])
def test_files_are_read_back(kind: MediaKind) -> None:
    """What is written for a file is read as that file with its caption."""
    attachment = Attachment(kind, "n.bin", "mxc://x/y", "a/b", 1, 2, 3, 4)
    parsed = parse_message(media_content(attachment, "mxc://x/y", caption=(Plain("hi"),)))
    assert parsed.content == Content((Plain("hi"),), attachments=(attachment,))


def test_short_text_is_one_part() -> None:
    """A text that fits is handed back as it is."""
    assert fit_event(HELLO.text) == (HELLO.text,)
    assert fit_event(RICH.text) == (RICH.text,)
    assert fit_event(()) == ((),)


@pytest.mark.parametrize("letter", ["a", "\u20ac", "\U0001f600", "\x01", '"', "&", "<", "a b\n"])
@pytest.mark.parametrize("budget", [64, 1_000, 60_000])
def test_long_text_is_cut_to_fit(letter: str, budget: int) -> None:
    """Every part fits the budget, and together they say all the words."""
    long = letter * 10_000
    text = (Plain("first"), Span(Style.BOLD, (Plain(long),)), Quote((Plain("q"),)), Paragraph((Plain(long),)))
    parts = fit_event(text, budget)
    assert all(cost(part) <= budget for part in parts)
    said = "".join(words(part) for part in parts)
    assert "".join(said.split()).replace(">", "") == "".join(words(text).split())
    alone = fit_event((Plain(long),), budget)
    assert all(len(json.dumps(words(part), ensure_ascii=False).encode()) <= budget for part in alone)
    assert "".join("".join(words(part) for part in alone).split()) == "".join(long.split())


def test_cut_at_line_ends() -> None:
    """Parts end where lines do, and formatting outside a long node is kept."""
    line = "word " * 9 + "end"
    parts = fit_event((Plain("\n".join([line] * 100)),), 1_000)
    assert len(parts) > 1
    assert all(words(part).endswith("end") and words(part).startswith("word") for part in parts)
    rich = fit_event((Quote((Plain("x" * 600),)), Quote((Plain("y" * 600),))), 2_000)
    assert [type(part[0]) for part in rich] == [Quote, Quote]


def test_budget_too_small_is_refused() -> None:
    """A budget that no text fits is the caller's error."""
    with pytest.raises(ValueError, match="budget"):
        fit_event(HELLO.text, 10)
