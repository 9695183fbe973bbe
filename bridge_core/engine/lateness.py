"""What is delivered after what was said later says so itself: its readers see it in the wrong place."""

from dataclasses import replace
from typing import Final

from bridge_core.api.content import Plain
from bridge_core.api.matrix import MatrixMessage, MatrixOutgoing
from bridge_core.engine.ages import span

LATE: Final = b"late"
"""The body of a delivery of such an event. Stored with it, so that a restart changes nothing."""


def said_late(message: MatrixOutgoing, now: int, received_at: int) -> MatrixOutgoing:
    """The message with words before it on how long ago it was said. What is no message has no words, and stays."""
    if not isinstance(message, MatrixMessage):
        return message
    said = min(message.timestamp, received_at) if message.timestamp > 0 else received_at
    words = Plain(f"(said {span(max(0, now - said) / 1000)} ago) ")
    return replace(message, content=replace(message.content, text=(words, *message.content.text)))
