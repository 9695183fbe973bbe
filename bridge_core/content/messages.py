"""The content of `m.room.message` events to send: text, files, replies, threads, edits.

Source: client-server API, "m.room.message", "Event replacements", "Rich replies", "Threading", "User mentions".
"""

from collections.abc import Mapping

from bridge_core.api.content import Attachment, Content, Kind, Plain, RichText
from bridge_core.api.ids import EventId, UserId
from bridge_core.content.attachments import attachment_content
from bridge_core.content.plain import clean
from bridge_core.content.to_html import MentionResolver, to_html


def message_content(
    content: Content,
    *,
    reply_to: EventId | None = None,
    thread: EventId | None = None,
    replaces: EventId | None = None,
    last: EventId | None = None,
    resolver: MentionResolver | None = None,
    notify: tuple[UserId, ...] = (),
) -> dict[str, object]:
    """The event content that says the text of `content`; its attachments are `media_content`'s, one event each.

    `notify` are users to mention besides those named in the text (who is answered, say). An edit carries the new
    content and, for old clients, the same marked `* `; it mentions nobody anew. Blocks nothing, raises nothing.
    """
    text = content.text
    kind = content.kind
    msgtype = "m.text" if kind is Kind.TEXT else "m.notice" if kind is Kind.NOTICE else "m.emote"
    if len(text) == 1 and type(only := text[0]) is Plain:
        said: dict[str, object] = {"msgtype": msgtype, "body": clean(only.text), "m.mentions": {}}
        if notify:
            said["m.mentions"] = {"user_ids": list(notify)}
    else:
        said = {"msgtype": msgtype}
        _add_text(said, text, resolver, notify)
    if reply_to is not None or thread is not None or replaces is not None:
        return related(said, reply_to, thread, replaces, last)
    return said


def media_content(
    attachment: Attachment,
    uri: str,
    *,
    file: Mapping[str, object] | None = None,
    caption: RichText = (),
    reply_to: EventId | None = None,
    thread: EventId | None = None,
    replaces: EventId | None = None,
    last: EventId | None = None,
    resolver: MentionResolver | None = None,
    notify: tuple[UserId, ...] = (),
) -> dict[str, object]:
    """The event content of an uploaded file, with its caption (MSC2530) when there is one.

    `uri` is its `mxc:` address, `file` the keys when it was encrypted; the rest is as for `message_content`. Stickers
    with a caption and those that replace something are sent as images: `m.sticker` can have neither.
    """
    said = attachment_content(attachment, uri, file)
    if caption:
        _add_text(said, caption, resolver, notify)
    else:
        said["m.mentions"] = {"user_ids": list(notify)} if notify else {}
    return related(said, reply_to, thread, replaces, last)


def sticker_content(
    attachment: Attachment,
    uri: str,
    *,
    file: Mapping[str, object] | None = None,
    reply_to: EventId | None = None,
    thread: EventId | None = None,
    last: EventId | None = None,
) -> dict[str, object]:
    """The content of an `m.sticker`: an uploaded picture and its name."""
    said = attachment_content(attachment, uri, file)
    del said["msgtype"], said["filename"]
    return related({**said, "m.mentions": {}}, reply_to, thread, None, last)


def relation(
    reply_to: EventId | None, thread: EventId | None, *, last: EventId | None = None
) -> dict[str, object] | None:
    """`m.relates_to` of a reply and/or a message in a thread, or None for neither.

    In a thread without a reply the fallback for old clients points at `last`, the latest event there, else the root.
    """
    if thread is None:
        return None if reply_to is None else {"m.in_reply_to": {"event_id": reply_to}}
    return {
        "rel_type": "m.thread",
        "event_id": thread,
        "is_falling_back": reply_to is None,
        "m.in_reply_to": {"event_id": reply_to or last or thread},
    }


def _add_text(
    said: dict[str, object], text: RichText, resolver: MentionResolver | None, notify: tuple[UserId, ...]
) -> None:
    body, html, mentions = to_html(text, resolver)
    said["body"] = body
    if html is not None:
        said["format"] = "org.matrix.custom.html"
        said["formatted_body"] = html
    users = (*notify, *(user for user in mentions if user not in notify)) if notify else mentions
    said["m.mentions"] = {"user_ids": list(users)} if users else {}


def related(
    said: dict[str, object],
    reply_to: EventId | None,
    thread: EventId | None,
    replaces: EventId | None,
    last: EventId | None = None,
) -> dict[str, object]:
    """The content with what it refers to; as an edit it is its own new content, and for old clients the same again."""
    if replaces is not None:
        edit = {**said, "m.mentions": {}, "m.new_content": said}
        if "body" in said:
            edit["body"] = f"* {said['body']}"
        if "formatted_body" in said:
            edit["formatted_body"] = f"* {said['formatted_body']}"
        edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": replaces}
        return edit
    relates = relation(reply_to, thread, last=last)
    if relates is not None:
        said["m.relates_to"] = relates
    return said
