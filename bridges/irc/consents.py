"""What the operators of channels said to being bridged: stored with who said it, and in force at once."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteChatGone, RemoteConsent, RemoteEvent, RemoteMembers
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import Consent
from bridges.irc.config.consent import ConsentSettings

log = structlog.get_logger(__name__)
_PREFIX: Final = "consent/"
_OPEN_AT_MOST: Final = 20
"""Questions of one network that wait for an answer."""
_OPEN_PER_USER: Final = 3
_KEPT_AT_MOST: Final = 10_000
"""Records beyond which nobody is asked any more. What operators and staff say of themselves is kept all the same."""
WAITING: Final = "the channel's operators have been asked and have not agreed yet"
ENDED: Final = "the channel's operators do not want it to be bridged"


@dataclass(frozen=True, slots=True)
class Record:
    """The last word on one channel. Times are milliseconds since 1970.

    `by` is the Matrix user who asked, or whoever on IRC answered; `evidence` is how that is known. Until `until` an
    answer is waited for, or nobody is asked again. `told`: the question was put.
    """

    word: Consent
    at: int
    until: int
    by: str
    evidence: str = ""
    told: bool = False
    about: str = ""
    """What is told of the room."""


class ConsentBook:
    """All records of a network. `closed` says, by channel, why nothing may be said there now, and nothing heard."""

    def __init__(self, settings: ConsentSettings) -> None:
        self.settings = settings
        self._records: dict[ChatId, Record] = {}
        self._host: Host | None = None
        self.closed: dict[ChatId, str] = {}
        self.changed = asyncio.Event()
        """Set when there may be another time to wait for."""

    async def load(self, host: Host) -> None:
        """Reads what was said before. Raises TransientError."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            row = json.loads(value)
            self._put(ChatId(key.removeprefix(_PREFIX)), Record(**{**row, "word": Consent(row["word"])}))

    def get(self, chat: ChatId) -> Record | None:
        """The last word on a channel."""
        return self._records.get(chat)

    def all(self) -> list[tuple[ChatId, Record]]:
        """Every record, the latest first."""
        return sorted(self._records.items(), key=lambda item: -item[1].at)

    def may_enter(self, chat: ChatId) -> bool:
        """Whether the bot may be in a channel of its own accord."""
        record = self._records.get(chat)
        if record is None or record.word is Consent.GRANTED:
            return True
        return record.word is Consent.ASKED and self.settings.ask == "channel"

    def asked(self) -> list[ChatId]:
        """Channels whose operators have not answered yet."""
        return [chat for chat, record in self._records.items() if record.word is Consent.ASKED]

    def due(self) -> Iterable[ChatId]:
        """Channels whose operators did not answer in time."""
        now = self._now()
        return [chat for chat in self.asked() if self._records[chat].until <= now]

    def next_due(self) -> float | None:
        """Seconds until there is one; None for never."""
        times = [self._records[chat].until for chat in self.asked()]
        return max(0.0, (min(times) - self._now()) / 1000) if times else None

    async def ask(self, chat: ChatId, user: UserId, about: str = "") -> Consent:
        """What holds for a channel that a Matrix user wants bridged. Returns when it is stored.

        Raises RejectedError in words when too many questions are open already.
        """
        record, now = self._records.get(chat), self._now()
        if record is not None and (record.word is Consent.GRANTED or record.until > now):
            return record.word
        if not self.settings.required:
            return Consent.NOT_NEEDED
        if record is None:
            await self._make_room(now)
        asked = self.asked()
        if len(asked) >= _OPEN_AT_MOST:
            raise RejectedError("too many channels are being asked: try again when some have answered")
        if sum(self._records[one].by == user for one in asked) >= _OPEN_PER_USER:
            raise RejectedError(f"{_OPEN_PER_USER} channels that you asked have not answered yet")
        await self.put(chat, Record(Consent.ASKED, now, now + int(self.settings.timeout * 1000), user, about=about))
        return Consent.ASKED

    def hides(self, event: RemoteEvent) -> bool:
        """Whether an event is nothing for Matrix: from a closed channel only its end is, and that nobody is in it."""
        if not self.closed or getattr(event, "chat", None) not in self.closed:
            return False
        if isinstance(event, RemoteMembers):
            return bool(event.members)
        return not isinstance(event, RemoteConsent | RemoteChatGone)

    def end(self, chat: ChatId) -> None:
        """Nothing crosses any more, from this moment; `answered` stores why. Does not block."""
        self.closed[chat] = ENDED

    async def forget(self, chat: ChatId) -> None:
        """The channel is bridged no more from Matrix's side: who wants it again asks again. A no stays."""
        assert self._host is not None, "the connector is not started"
        record = self._records.get(chat)
        if record is not None and record.word is not Consent.REFUSED:
            await self._host.kv.put(f"{_PREFIX}{chat}", None)
            self._records.pop(chat, None)
            self.closed.pop(chat, None)

    async def told(self, chat: ChatId) -> None:
        """The question was put in the channel: it is not put again."""
        record = self._records.get(chat)
        if record is not None:
            await self.put(chat, replace(record, told=True))

    async def answered(self, chat: ChatId, word: Consent, by: str, evidence: str) -> None:
        """Somebody there said yes or no. A no is in force at once; returns when it is stored."""
        now = self._now()
        await self.put(chat, Record(word, now, now + int(self.settings.pause * 1000), by, evidence[:1500]))
        log.warning("irc_consent", chat=chat, word=word.value, by=by, evidence=evidence[:300])

    async def put(self, chat: ChatId, record: Record) -> None:
        """Keeps a record; a yes holds once it is stored."""
        assert self._host is not None, "the connector is not started"
        before = self._records.get(chat)
        if record.word is not Consent.GRANTED:
            self._put(chat, record)
        await self._host.kv.put(f"{_PREFIX}{chat}", json.dumps(asdict(record)).encode())
        if record.word is Consent.GRANTED and self._records.get(chat) is before and not self._ended(chat, before):
            self._put(chat, record)  # unless somebody said no meanwhile

    async def _make_room(self, now: int) -> None:
        """For one more channel. What somebody said is never forgotten for it, only that nobody answered, long ago.

        Raises RejectedError when there is nothing of the kind.
        """
        if len(self._records) < _KEPT_AT_MOST:
            return
        assert self._host is not None, "the connector is not started"
        silent = [
            chat
            for chat, one in self._records.items()
            if one.word is Consent.REFUSED and not one.by and one.until <= now
        ]
        if not silent:
            raise RejectedError(f"the answers of {_KEPT_AT_MOST} channels are kept already: no further one is asked")
        oldest = min(silent, key=lambda one: self._records[one].at)
        await self._host.kv.put(f"{_PREFIX}{oldest}", None)
        self._records.pop(oldest, None)
        self.closed.pop(oldest, None)

    def _ended(self, chat: ChatId, before: Record | None) -> bool:
        """Whether a channel was closed since this record, whose own end it may be."""
        refused = before is not None and before.word is Consent.REFUSED
        return self.closed.get(chat) == ENDED and not refused

    def _put(self, chat: ChatId, record: Record) -> None:
        self._records[chat] = record
        self.changed.set()
        if record.word is Consent.GRANTED:
            self.closed.pop(chat, None)
        else:
            self.closed[chat] = WAITING if record.word is Consent.ASKED else ENDED

    def _now(self) -> int:
        assert self._host is not None, "the connector is not started"
        return self._host.clock.now_ms()
