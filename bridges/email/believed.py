"""What of a mail is believed to be its author's word. Pure."""

from dataclasses import replace
from typing import Any, Final

from bridges.email.mail import Mail, Verdict

_NOTHING: Final[dict[str, dict[str, Any]]] = {
    "to": {"to": ()},
    "cc": {"cc": ()},
    "reply-to": {"reply_to": ()},
    "in-reply-to": {"in_reply_to": ()},
    "references": {"references": ()},
    "chat-edit": {"edits": ""},
    "chat-delete": {"deletes": ()},
    "list-id": {"list_post": ""},
    "list-post": {"list_post": ""},
    "list-unsubscribe": {"unsubscribe": (), "one_click": False},
    "list-unsubscribe-post": {"unsubscribe": (), "one_click": False},
}
"""What a mail says without a field. A list keeps its room, which is nobody's harm, but not its address."""


def answered_for(mail: Mail, verdict: Verdict) -> Mail:
    """The mail without what header fields say that anybody may have put on it (`Verdict.loose`).

    Else whoever has a signed mail of somebody could have answers sent elsewhere, or change and remove others of theirs.
    """
    changed: dict[str, Any] = {}
    for name in verdict.loose:
        changed |= _NOTHING.get(name, {})
    return replace(mail, **changed) if changed else mail
