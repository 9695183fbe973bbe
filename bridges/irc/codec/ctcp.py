"""Requests within messages: CTCP (draft-oakley-irc-ctcp)."""

from typing import Final

ACTION_BYTES: Final = 9
"""What CTCP ACTION adds to a text: `\\x01ACTION ` and `\\x01`."""


def parse_ctcp(text: str) -> tuple[str, str] | None:
    """Command (upper-case) and argument of a CTCP message, None for ordinary text. A missing end mark is allowed."""
    if text[:1] != "\x01" or len(text) < 2:
        return None
    body = text[1:-1] if text[-1] == "\x01" else text[1:]
    command, _, argument = body.partition(" ")
    return (command.upper(), argument) if command else None


def ctcp(command: str, argument: str = "") -> str:
    """The text of a CTCP message. Delimiters within the argument are dropped, lest it end there."""
    argument = argument.replace("\x01", "")
    return f"\x01{command} {argument}\x01" if argument else f"\x01{command}\x01"


def action(text: str) -> str:
    """The text of an emote (`/me`)."""
    return f"\x01ACTION {text.replace(chr(1), '')}\x01"
