"""Matrix message content <-> the neutral message model of `bridge_core.api.content`. Pure: no input, no output."""

from bridge_core.content.attachments import attachment_content, parse_attachment, safe_name
from bridge_core.content.from_html import from_html
from bridge_core.content.limits import LIMITS, ContentError, ContentLimitError, Limits
from bridge_core.content.matrix import ParsedMessage, message_text, parse_message
from bridge_core.content.messages import media_content, message_content, relation
from bridge_core.content.parts import fit_event
from bridge_core.content.plain import clean, from_plain, to_plain, words
from bridge_core.content.to_html import MentionResolver, Rendered, to_html

__all__ = [
    "LIMITS",
    "ContentError",
    "ContentLimitError",
    "Limits",
    "MentionResolver",
    "ParsedMessage",
    "Rendered",
    "attachment_content",
    "clean",
    "fit_event",
    "from_html",
    "from_plain",
    "media_content",
    "message_content",
    "message_text",
    "parse_attachment",
    "parse_message",
    "relation",
    "safe_name",
    "to_html",
    "to_plain",
    "words",
]
