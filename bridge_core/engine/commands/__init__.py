"""What users tell the bridge to do: in their management room, after `!bridge` in any room, or through the HTTP API.

A feature adds its commands once, when the engine is built: `commands.add(Command(...), ...)`. Everything about asking
(who may, how words become arguments, how answers are told) is here and not in the commands.
"""

from bridge_core.engine.commands.command import (
    Answer,
    Call,
    Command,
    NotAllowedError,
    Surety,
    UnknownCommandError,
    UsageError,
)
from bridge_core.engine.commands.dialogues import Dialogues
from bridge_core.engine.commands.registry import Commands

__all__ = [
    "Answer",
    "Call",
    "Command",
    "Commands",
    "Dialogues",
    "NotAllowedError",
    "Surety",
    "UnknownCommandError",
    "UsageError",
]
