"""What a chat cannot carry is said in another way, or refused in words: the rules, one by one."""

from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.content import (
    Attachment,
    Content,
    Kind,
    Location,
    MediaKind,
    Mention,
    Picture,
    Plain,
    Poll,
    PollAnswer,
    Span,
    Spoiler,
    Style,
)
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import ChatId, EventId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMessage,
    MatrixOutgoing,
    MatrixReaction,
    MatrixRedaction,
    MatrixSender,
    MatrixVote,
    MessageRef,
)
from bridge_core.api.network import Capabilities, Level
from bridge_core.engine.enforcement import Fit, too_many

NOW = 1_000_000_000
ANNA = MatrixSender(UserId("@anna:hs.test"), "Anna")
BASE: dict[str, Any] = {"room": RoomId("!r"), "event_id": EventId("$e"), "chat": ChatId("c"), "sender": ANNA}
EARLIER = MessageRef(MessageId("m1"), EventId("$1"), timestamp=NOW - 90_000)
PNG = Attachment(MediaKind.IMAGE, "a.png", "mxc://hs.test/a", mime="image/png", size=1000)


def said(content: Content, **more: Any) -> MatrixMessage:
    return MatrixMessage(**BASE, content=content, timestamp=NOW, **more)


def fit(message: MatrixOutgoing, **can: Any) -> tuple[Any, list[str]]:
    """The message as a chat carries it that can do all but what is named; and what is missing of it."""
    default = can.pop("default", Level.FULL)
    settings = {name: can.pop(name) for name in list(can) if not isinstance(can[name], Level)}
    one = Fit(Capabilities(can, default=default, **settings), NOW)
    return one.fitted(message), one.missing


def text(message: MatrixMessage | MatrixEdit) -> str:
    return "".join(getattr(node, "text", "") for node in message.content.text)


def test_what_a_chat_carries_is_left_alone() -> None:
    """A message that the chat can carry is the same object afterwards: the hot path copies nothing."""
    rich = Content((Span(Style.BOLD, (Plain("b"),)), Spoiler(None, (Plain("s"),))), Kind.EMOTE, (PNG,))
    for content in (Content((Plain("hello"),)), rich):
        message = said(content, thread=EARLIER, reply_to=EARLIER, expiry=5)
        assert fit(message) == (message, []) and fit(message)[0] is message


@pytest.mark.parametrize(
    ("feature", "message", "words"),
    [
        ("text", said(Content((Plain("a"),))), "messages cannot be sent there"),
        ("image", said(Content(attachments=(PNG,))), "images cannot be sent there"),
        ("poll", said(Content((Plain("q"),), poll=Poll("q", (PollAnswer("1", "a"),)))), "there are no polls there"),
        ("location", said(Content((Plain("geo"),), location=Location(1.0, 2.0))), "places cannot be sent there"),
        ("emote", said(Content((Plain("waves"),), Kind.EMOTE)), "emotes cannot be sent there"),
        ("edit", MatrixEdit(**BASE, target=EARLIER, content=Content((Plain("b"),)), timestamp=NOW), "edited there"),
        ("redact", MatrixRedaction(**BASE, target=EARLIER, timestamp=NOW), "taken back there"),
        ("react", MatrixReaction(**BASE, target=EARLIER, key="x", timestamp=NOW), "there are no reactions there"),
        ("vote", MatrixVote(**BASE, target=EARLIER, answers=("1",), timestamp=NOW), "vote"),
        ("topic", MatrixInfo(**BASE, timestamp=NOW, topic="t"), "topic"),
    ],
)
def test_what_a_chat_does_not_have_is_refused_in_words(feature: str, message: MatrixOutgoing, words: str) -> None:
    """Rejected is told each time, dropped once; both by name."""
    with pytest.raises(RejectedError, match=words) as told:
        fit(message, **{feature: Level.REJECTED})
    assert not isinstance(told.value, UnsupportedError)
    with pytest.raises(UnsupportedError, match=words):
        fit(message, **{feature: Level.DROPPED})


def test_polls_and_places_become_text() -> None:
    """Where there are no polls or places, their text alone goes."""
    poll = Poll("q", (PollAnswer("1", "a"),))
    message = said(Content((Plain("q: a?"),), poll=poll, location=Location(1.0, 2.0)))
    fitted, missing = fit(message, poll=Level.FALLBACK, location=Level.FALLBACK)
    assert fitted == replace(message, content=Content((Plain("q: a?"),))) and missing == []
    kept, _ = fit(message, poll=Level.PARTIAL)
    assert kept.content.poll == poll


def test_emotes_and_notices_become_text() -> None:
    """An emote says whose it is where there are none; a notice is a message."""
    fitted, _ = fit(said(Content((Plain("waves"),), Kind.EMOTE)), emote=Level.FALLBACK)
    assert (fitted.content.kind, text(fitted)) == (Kind.TEXT, "* Anna waves")
    fitted, _ = fit(said(Content((Plain("beep"),), Kind.NOTICE)), notice=Level.FALLBACK)
    assert (fitted.content.kind, text(fitted)) == (Kind.TEXT, "beep")


def test_a_thread_becomes_an_answer() -> None:
    """Without threads a message in one answers its first message, or the one that it answers."""
    other = replace(EARLIER, event_id=EventId("$2"))
    fitted, missing = fit(said(Content((Plain("a"),)), thread=EARLIER), thread=Level.FALLBACK)
    assert (fitted.reply_to, fitted.thread, missing) == (EARLIER, None, [])
    fitted, missing = fit(said(Content((Plain("a"),)), thread=EARLIER, reply_to=other), thread=Level.DROPPED)
    assert (fitted.reply_to, fitted.thread, missing) == (other, None, ["thread"])


def test_what_is_dropped_of_a_message_is_named() -> None:
    """A caption, an answer or a timer that the chat does not have is left out, and told."""
    message = said(Content((Plain("look"),), attachments=(PNG,)), reply_to=EARLIER, expiry=5)
    fitted, missing = fit(message, caption=Level.DROPPED, reply=Level.DROPPED, expiry=Level.DROPPED)
    assert (fitted.content.text, fitted.reply_to, fitted.expiry) == ((), None, None)
    assert missing == ["caption", "reply", "expiry"]


def test_formatting_custom_emoji_and_spoilers_become_text() -> None:
    """Plain text keeps marks for what was hidden, names of pictures, and the people it mentions."""
    person = Mention("Bob", RemoteUserId("bob"))
    inside = (Plain("psst "), person, Picture(":cat:", "mxc://hs.test/c"))
    message = said(Content((Span(Style.BOLD, (Plain("b "), Spoiler("plot", inside))), Plain(" end"))))
    plain, missing = fit(message, default=Level.FALLBACK, mention=Level.FULL)
    assert plain.content.text == (Plain("b (plot) ||psst "), person, Plain(":cat:|| end"))
    assert missing == []
    assert text(fit(message, default=Level.FALLBACK)[0]) == "b (plot) ||psst Bob:cat:|| end"
    _, missing = fit(message, emoji=Level.DROPPED)
    assert missing == ["emoji"]


def test_slots_typed_by_a_sender_are_text() -> None:
    """Private characters in a message stand for nothing, and cannot bring a mention twice or break the message."""
    person = Mention("Bob", RemoteUserId("bob"))
    typed = "\ue0007\ue001 \ue000x\ue001"
    message = said(Content((Span(Style.BOLD, (Plain(typed), person)),)))
    fitted, _ = fit(message, default=Level.FALLBACK, mention=Level.FULL)
    assert [node for node in fitted.content.text if isinstance(node, Mention)] == [person]


def test_files_go_as_what_is_nearest() -> None:
    """A sticker is an image, voice is audio, and a type that images cannot be is a file; else it is refused by type."""
    sticker = replace(PNG, kind=MediaKind.STICKER)
    voice = replace(PNG, kind=MediaKind.VOICE, mime="audio/ogg")
    fitted, _ = fit(said(Content(attachments=(sticker, voice))), sticker=Level.FALLBACK, voice=Level.FALLBACK)
    assert [one.kind for one in fitted.content.attachments] == [MediaKind.IMAGE, MediaKind.AUDIO]
    message = said(Content(attachments=(PNG,)))
    fitted, _ = fit(message, mimes={"image": ("image/jpeg",)})
    assert fitted.content.attachments[0].kind is MediaKind.FILE
    with pytest.raises(RejectedError, match="type image/png cannot be sent there, only image/jpeg, video/"):
        fit(message, mimes={"image": ("image/jpeg", "video/*"), "file": ("text/*",)})
    assert fit(message, mimes={"image": ("image/*",)})[0] is message


def test_sizes_are_refused_with_numbers() -> None:
    """Text and files over the limit are refused with both numbers; bytes count, not characters."""
    with pytest.raises(RejectedError, match="the text has 8 bytes, and at most 7 are carried there"):
        fit(said(Content((Plain("éééé"),))), max_text=7)
    assert fit(said(Content((Plain("eeee"),))), max_text=7)[1] == []
    with pytest.raises(RejectedError, match="the text has 12 bytes"):
        fit(said(Content((Span(Style.BOLD, (Plain("bold"),)), Plain("éééé")))), max_text=11)
    with pytest.raises(RejectedError, match="the file has 1000 bytes, and at most 999 are carried there"):
        fit(said(Content(attachments=(PNG,))), max_file=999)


def test_ages_are_refused_in_words() -> None:
    """What is too old to be edited or taken back is refused with the time in words."""
    edit = MatrixEdit(**BASE, target=EARLIER, content=Content((Plain("b"),)), timestamp=NOW)
    with pytest.raises(RejectedError, match="messages can be edited there for 1 minute only"):
        fit(edit, edit_age=60)
    assert fit(edit, edit_age=90)[0] is edit
    with pytest.raises(RejectedError, match="messages can be taken back there for 89 seconds only"):
        fit(MatrixRedaction(**BASE, target=EARLIER, timestamp=NOW), redact_age=89)


def test_reactions_are_those_allowed() -> None:
    """Others are refused by name; whether an emoji is written with its variation selector does not matter."""
    heart = MatrixReaction(**BASE, target=EARLIER, key="\u2764", timestamp=NOW)
    assert fit(heart, reactions=("\u2764\ufe0f",))[0] is heart
    with pytest.raises(RejectedError, match="only these reactions are possible there: a b"):
        fit(heart, reactions=("a", "b"))
    custom = replace(heart, key="mxc://hs.test/c", picture=Picture(":cat:", "mxc://hs.test/c"))
    fitted, _ = fit(custom, emoji=Level.FALLBACK)
    assert (fitted.key, fitted.picture) == (":cat:", None)
    with pytest.raises(RejectedError, match="that reaction is a picture"):
        fit(replace(custom, picture=Picture("", "mxc://hs.test/c")), emoji=Level.FALLBACK)
    assert too_many(Capabilities(max_reactions=2), 2) and not too_many(Capabilities(max_reactions=2), 1)


def test_hidden_files_say_so_in_their_name() -> None:
    """Where files cannot be hidden, the name warns."""
    fitted, _ = fit(said(Content(attachments=(replace(PNG, spoiler="plot"),))), spoiler=Level.FALLBACK)
    assert (fitted.content.attachments[0].name, fitted.content.attachments[0].spoiler) == ("SPOILER_a.png", None)
