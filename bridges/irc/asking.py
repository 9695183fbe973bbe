"""What a channel's operators are told before they answer whether it may be bridged."""

from collections.abc import Iterator, Mapping
from typing import Final

from bridge_core.api.info import RoomFacts
from bridges.irc.consents import Record

_NEW: Final = "A room will be made for it, whose members read what is said from when they joined on."
_HISTORY: Final[Mapping[str, str]] = {
    "joined": "its members read what is said from when they joined on",
    "invited": "its members read what is said from when they were invited on",
    "shared": "whoever joins it reads all that was said there before, too",
    "world_readable": "anybody can read all that is said there, without being in it",
}


def about(room: RoomFacts | None) -> str:
    """What is said of a room, None for one that is still to be made."""
    if room is None:
        return _NEW
    if room.members is None:
        return "How many are in that room, and who can read it, is not known."
    count = "1 Matrix user is" if room.members == 1 else f"{room.members} Matrix users are"
    history = _HISTORY.get(room.history or "", "who can read its history is not known")
    return f"{count} in that room; {history}."


def question(record: Record, word: str, contact: str | None) -> Iterator[str]:
    """The question in notices that fit in a line each; `word` is what operators' answers begin with."""
    yield (
        f"{record.by} asks to bridge this channel with a Matrix room: what is said here would be read, and kept, "
        f"there. An operator answers: {word} allow, or {word} leave. Without an answer I leave."
    )
    if record.about or contact:
        yield " ".join(text for text in (record.about, f"Questions: {contact}" if contact else "") if text)
