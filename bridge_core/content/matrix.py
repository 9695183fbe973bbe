"""What an `m.room.message` (or sticker, or poll) from Matrix says. Nothing in it is trusted.

Sources: client-server API, "Instant messaging" (v1.11 and later), MSC2530 (captions), MSC3245 (voice), MSC3381 (polls).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bridge_core.api.content import Content, Kind, MediaKind, Plain, RichText
from bridge_core.api.ids import EventId, UserId
from bridge_core.content.addresses import is_event, user_ids
from bridge_core.content.attachments import MEDIA_KINDS, parse_attachment
from bridge_core.content.from_html import from_html
from bridge_core.content.limits import LIMITS, ContentError, ContentLimitError, Limits
from bridge_core.content.places import read_location
from bridge_core.content.plain import from_plain
from bridge_core.content.polls import POLL_STARTS, parse_poll, read_poll


class ParsedMessage(NamedTuple):
    """A message and what it refers to. `mentions` are the users it is to notify, `mentions_room` is `@room`.

    `replaces` is set for edits; `content` and the mentions are then the new ones.
    """

    content: Content
    reply_to: EventId | None = None
    thread: EventId | None = None
    replaces: EventId | None = None
    mentions: tuple[UserId, ...] = ()
    mentions_room: bool = False


_KINDS = {"m.text": Kind.TEXT, "m.notice": Kind.NOTICE, "m.emote": Kind.EMOTE}
_HTML = "org.matrix.custom.html"
_FALLBACK_START = re.compile(r"> (?:\* )?<@")
_EDIT_HTML = re.compile(r"(\s*(?:<p>\s*)?)\* ")


def parse_message(
    content: Mapping[str, object], limits: Limits = LIMITS, *, event_type: str = "m.room.message"
) -> ParsedMessage:
    """Read the content of an event. What can be read is; wrong types count as missing. Blocks nothing.

    Unknown kinds of message give their body, polls and locations a text. Raises ContentError, whose text is for the
    sender, when nothing is readable or a file has no address, and ContentLimitError when the body is too long.
    """
    relates = content.get("m.relates_to")
    if relates is None:
        return _read(content, limits, event_type, None, None, None)
    reply_to, thread, replaces = _relations(relates)
    if replaces is not None:
        new = content.get("m.new_content")
        # An edit's own relations do not count: what was a reply stays one.
        shown = new if isinstance(new, Mapping) and new else _without_edit_mark(content)
        return _read(shown, limits, event_type, None, thread, replaces)
    return _read(content, limits, event_type, reply_to, thread, None)


def message_text(content: Mapping[str, object], limits: Limits = LIMITS, *, reply: bool = False) -> RichText:
    """The text: the formatted body, or the plain one where that is missing, empty or over the limits.

    With `reply`, or where the formatted body quotes what is answered, that quote is taken off the plain body too.
    Raises ContentLimitError when the plain body is too long itself.
    """
    body = content.get("body")
    html = content.get("formatted_body")
    if not isinstance(html, str) or content.get("format") != _HTML:
        html = None
    if html is not None:
        try:
            text = from_html(html, limits)
        except ContentLimitError:
            text = ()
        if text:
            return text
    if not isinstance(body, str):
        return ()
    if len(body) > limits.chars:
        raise ContentLimitError(f"the text is longer than {limits.chars} characters")
    if reply or (html is not None and "<mx-reply>" in html):
        body = without_reply_fallback(body)
    return from_plain(body)


def without_reply_fallback(body: str) -> str:
    """The body less the lines of `> ` that older clients put before a reply; unchanged when it has none.

    Only lines that begin as that fallback does (`> <@user`) are taken off: a quote typed by the sender stays.
    """
    if _FALLBACK_START.match(body) is None:
        return body
    lines = body.split("\n")
    end = next((number for number, line in enumerate(lines) if not line.startswith(">")), len(lines))
    if end < len(lines) and not lines[end].strip():
        end += 1
    return "\n".join(lines[end:])


def _read(
    content: Mapping[str, object],
    limits: Limits,
    event_type: str,
    reply_to: EventId | None,
    thread: EventId | None,
    replaces: EventId | None,
) -> ParsedMessage:
    mentions: tuple[UserId, ...] = ()
    room = False
    named = content.get("m.mentions")
    if isinstance(named, Mapping) and named:
        mentions = user_ids(named.get("user_ids"))
        room = named.get("room") is True
    said = _content(content, limits, event_type, reply=reply_to is not None)
    return ParsedMessage(said, reply_to, thread, replaces, mentions, room)


def _content(content: Mapping[str, object], limits: Limits, event_type: str, *, reply: bool) -> Content:
    msgtype = content.get("msgtype")
    if not isinstance(msgtype, str):
        msgtype = ""
    kind = _KINDS.get(msgtype)
    if kind is not None:
        text = message_text(content, limits, reply=reply)
        if not text:
            raise ContentError("the message has no text")
        return Content(text, kind)
    if event_type == "m.sticker":
        return Content(attachments=(parse_attachment(content, MediaKind.STICKER),))
    if (media := MEDIA_KINDS.get(msgtype)) is not None:
        attachment = parse_attachment(content, media)
        # Without a file name the body is the name (MSC2530); the two being equal says the same.
        name, body = content.get("filename"), content.get("body")
        captioned = isinstance(name, str) and name and name != body
        return Content(message_text(content, limits, reply=reply) if captioned else (), attachments=(attachment,))
    if msgtype == "m.location":
        return Content(_location(content, limits), location=read_location(content))
    if msgtype == "m.key.verification.request":
        raise ContentError("requests to verify a device are not passed on")
    text = parse_poll(content, limits) or message_text(content, limits, reply=reply)
    if not text:
        raise ContentError("the message has nothing that can be passed on")
    return Content(text, poll=read_poll(content, limits) if event_type in POLL_STARTS else None)


def _location(content: Mapping[str, object], limits: Limits) -> RichText:
    """The description and the `geo:` address, as far as they are there and do not repeat one another."""
    text = message_text({"body": content.get("body")}, limits)
    address = content.get("geo_uri")
    if not isinstance(address, str) or not address.startswith("geo:") or len(address) > 255:
        if not text:
            raise ContentError("the location names no place")
        return text
    said = text[0].text if text and isinstance(text[0], Plain) else ""
    if address in said:
        return text
    return from_plain(f"{said}\n{address}" if said else address)


def _relations(relates: object) -> tuple[EventId | None, EventId | None, EventId | None]:
    """The event answered, the root of the thread and the event replaced. A thread's reply fallback is no reply."""
    if not isinstance(relates, Mapping):
        return None, None, None
    kind = relates.get("rel_type")
    target = _event(relates.get("event_id"))
    if kind == "m.replace" and target is not None:
        return None, None, target
    thread = target if kind in ("m.thread", "io.element.thread") else None
    answered = relates.get("m.in_reply_to")
    reply_to = _event(answered.get("event_id")) if isinstance(answered, Mapping) else None
    if thread is not None and relates.get("is_falling_back") is True:
        reply_to = None
    return reply_to, thread, None


def _event(value: object) -> EventId | None:
    return EventId(value) if isinstance(value, str) and is_event(value) else None


def _without_edit_mark(content: Mapping[str, object]) -> Mapping[str, object]:
    """The content of an edit without new content, less the `* ` that marks it for old clients."""
    changed = dict(content)
    body, html = content.get("body"), content.get("formatted_body")
    if isinstance(body, str):
        changed["body"] = body.removeprefix("* ")
    if isinstance(html, str):
        changed["formatted_body"] = _EDIT_HTML.sub(r"\1", html, count=1) if _EDIT_HTML.match(html) else html
    return changed
