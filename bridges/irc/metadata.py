"""What people show of themselves beside their nick: pictures and names (IRCv3 metadata: `avatar`, `display-name`)."""

import asyncio
import re
import unicodedata
from collections.abc import Callable
from typing import Final, Protocol

from bridge_core.api.ids import ChatId
from bridges.irc.codec.message import Line
from bridges.irc.roster import Person
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

CAPABILITY: Final = "draft/metadata-2"
AVATAR: Final = "avatar"
NAME: Final = "display-name"
_SIZE: Final = "256"
"""Pixels of a picture whose address says that it can be had in several sizes."""
_ADDRESS: Final = re.compile(r"https://[^\s\x00-\x20\"<>\\^`{|}]{1,2000}")
_NAME_AT_MOST: Final = 80
_SYNC_AT_MOST: Final = 600.0
_SYNC_SOON: Final = 10.0


class Shown(Protocol):
    """Who is told of a person that looks otherwise now: `attendance.Attendance`."""

    def looks(self, person: Person, *, shown: str | None = None, avatar: str | None = None) -> None:
        """Somebody wants to be shown so (empty: not any more)."""


class Metadata:
    """The keys of people in the observer's channels. What strangers write there is a name, an address, or nothing."""

    def __init__(
        self,
        state: NetworkState,
        session: Session,
        shown: Shown,
        of_channel: Callable[[ChatId, str, str, Line], None] = lambda chat, key, value, line: None,
    ) -> None:
        self._of_channel = of_channel
        self._state = state
        self._session = session
        self._shown = shown

    def opened(self) -> None:
        """The connection is there: asks to be told."""
        if CAPABILITY in self._session.caps.enabled:
            key = self._state.config.consent.metadata_key
            self._session.tell("METADATA", "*", "SUB", AVATAR, NAME, *([key] if key else []))

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The commands and numerics that are read here."""
        return {"METADATA": self._told, "761": self._answered, "766": self._answered, "774": self._later}

    def _told(self, line: Line) -> None:
        """`METADATA target key visibility :value`; without a value it is gone."""
        self._is(line, line.param(0), line.param(1), line.param(3))

    def _answered(self, line: Line) -> None:
        """`761 me target key visibility :value`, `766 me target key :not set`."""
        self._is(line, line.param(1), line.param(2), line.param(4) if line.command == "761" else "")

    def _is(self, line: Line, target: str, key: str, value: str) -> None:
        chat = self._state.chat_of(target)
        if chat is not None and CAPABILITY in self._session.caps.enabled:
            self._of_channel(chat, key, value, line)
            return
        person = self._state.roster.get(target)
        if person is None or CAPABILITY not in self._session.caps.enabled:
            return
        match key.lower():
            case "avatar":
                self._shown.looks(person, avatar=address(value))
            case "display-name":
                self._shown.looks(person, shown=name(value))

    def _later(self, line: Line) -> None:
        """The server has no time for all of a channel now: `774 me target [seconds]`."""
        target, seconds = line.param(1), line.param(2)
        delay = float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 6 else _SYNC_SOON
        asyncio.get_running_loop().call_later(min(max(delay, 1.0), _SYNC_AT_MOST), self._sync, target)

    def _sync(self, target: str) -> None:
        if self._session.up and self._state.chat_of(target) is not None:
            self._session.tell("METADATA", target, "SYNC")


def address(value: str) -> str:
    """Where a picture is, as an address that the core may fetch; empty for none and for what is none."""
    found = value.strip().replace("{size}", _SIZE)
    return found if _ADDRESS.fullmatch(found) else ""


def name(value: str) -> str:
    """A name that can be shown: one line of visible characters, at most 80."""
    visible = "".join(char for char in value if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
    return " ".join(visible.split())[:_NAME_AT_MOST].strip()
