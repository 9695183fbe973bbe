"""Questions about channels, asked at a bounded rate: their modes and lists at joining, all of it again now and then.

What a MODE, JOIN or PART line would have told is lost when it is lost; asked again, the server tells what is so.
"""

import asyncio
from typing import Final

from bridge_core.api.host import Bucket
from bridge_core.api.ids import ChatId
from bridges.irc.answers import QUESTION
from bridges.irc.modelists import KINDS
from bridges.irc.opmoderation import in_doubt
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.transport import WriteBufferFull

_BURST: Final = 4.0
_LINE: Final = 600
_LABEL: Final = {"label": QUESTION}
_RANKS: Final = "qaoh"
"""Modes whose holders may read every list."""


class Survey:
    """The questions of one session of the observer. `run` asks them; `entered` and `left` say what there is to ask."""

    def __init__(self, state: NetworkState, session: Session) -> None:
        self._state = state
        self._session = session
        self._due: dict[ChatId, bool] = {}
        """Channels to ask about, in order, and whether their members are asked for too."""
        self._first: dict[ChatId, None] = {}
        """Of them those that are asked about before the others: what is said there is hidden meanwhile."""
        self._next: dict[ChatId, float] = {}
        self._wake = asyncio.Event()

    def entered(self, chat: ChatId, *, members: bool = False) -> None:
        """Ask for the modes and lists of a channel; with `members` for its people too."""
        self._due[chat] = members or self._due.get(chat, False)
        if not members and in_doubt(self._state, chat):
            self._first[chat] = None
        self._later(chat)
        self._wake.set()

    def left(self, chat: ChatId) -> None:
        """We are not in it any more."""
        self._due.pop(chat, None)
        self._first.pop(chat, None)
        self._next.pop(chat, None)

    async def run(self) -> None:
        """Asks until cancelled, or the session is over."""
        clock, config = self._state.running.clock, self._state.config
        limited = config.rate > 0
        slow = self._state.running.budget("lookups/relay", config.channels.lookups, _BURST) if limited else None
        while self._session.up:
            self._wake.clear()
            now = clock.monotonic()
            for chat in [chat for chat, at in self._next.items() if at <= now]:
                self.entered(chat, members=True)
            while self._due and self._session.up:
                chat = next(iter(self._first or self._due))
                self._first.pop(chat, None)
                await self._ask(chat, slow, members=self._due.pop(chat))
            at = min(self._next.values(), default=None)
            try:
                async with asyncio.timeout(None if at is None else max(0.05, at - clock.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _ask(self, chat: ChatId, slow: Bucket | None, *, members: bool) -> None:
        questions = [("MODE", chat), ("MODE", chat, self._lists(chat))]
        if members:
            questions.append(("NAMES", chat))
        for question in questions:
            if not question[-1]:
                continue
            if slow is not None:
                await slow.take()
            while self._session.up:
                try:
                    self._session.reserve(_LINE)
                    break
                except WriteBufferFull:
                    await self._session.drain()
            if not self._session.up or self._state.chat_of(chat) is None:
                return
            self._session.tell(*question, tags=_LABEL if self._session.labels else None)

    def _lists(self, chat: ChatId) -> str:
        """The lists that may be read: exceptions are shown to operators only, on some networks with an error to others
        (numeric 482), which would look like one for a message."""
        known = self._state.isupport.list_modes
        person = self._state.roster.get(self._session.nick)
        ranked = person is not None and bool(set(person.channels.get(chat, "")) & set(_RANKS))
        ranked = ranked or self._session.labels  # then an error says what it answers
        return "".join(letter for letter in KINDS if letter in known and (ranked or letter in "bq"))

    def _later(self, chat: ChatId) -> None:
        recheck = self._state.config.channels.recheck
        if recheck > 0:
            self._next[chat] = self._state.running.clock.monotonic() + recheck
