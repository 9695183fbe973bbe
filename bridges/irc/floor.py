"""What operators say to the bot, in their channels and in private: yes and no to being bridged, at any time.

Who is an operator is read off the observer's own list of the channel's members, which the server keeps right, and never
believed because somebody says so.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from bridge_core.api.events import RemoteChatGone, RemoteConsent, RemoteEvent, RemoteInfo, RemoteMembers, RemoteSender
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Consent
from bridges.irc.asking import question
from bridges.irc.codec.casemap import fold_ascii
from bridges.irc.codec.message import Line
from bridges.irc.codec.wildcard import wild_match
from bridges.irc.contexts import context
from bridges.irc.joins import Places, Stage
from bridges.irc.nicks import BadName
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import person_id

log = structlog.get_logger(__name__)

WORD: Final = "!bridge"
UNANSWERED: Final = "no operator of the channel answered in time"
_CLAIM_HOLDS: Final = 10.0
"""Seconds in which a nick is not likely to change hands."""
_CLAIMS_AT_MOST: Final = 20
_ANSWERS: Final = (5.0, 0.5)
"""Answers at once, and further ones per second: nobody makes the bot flood."""
_LOOKS: Final = (3, 600.0)
"""Times within so many seconds that the bot enters one channel to see who is its operator."""
_YES: Final = frozenset(("allow", "yes", "accept"))
_NO: Final = frozenset(("leave", "deny", "no", "part", "stop"))
_HELP: Final = "Operators of a channel say: allow, or leave. In private with its name: allow #channel, leave #channel."


class Exit(Protocol):
    """Who can enter and leave channels, and hand events to the core."""

    def offer(self, event: RemoteEvent) -> None:
        """An event for the core."""

    def want(self, chat: ChatId) -> None:
        """Join a channel."""

    def clear_out(self, chat: ChatId, reason: str) -> None:
        """All of our connections leave a channel."""

    def retry(self, chat: ChatId) -> None:
        """Enter a channel now that did not let us in."""


class Floor:
    """The words of operators during one session of the observer."""

    def __init__(self, state: NetworkState, session: Session, places: Places, exit_: Exit) -> None:
        self._state = state
        self._session = session
        self._places = places
        self._exit = exit_
        self._book = state.consents
        self._claims: OrderedDict[ChatId, tuple[Line, str, float]] = OrderedDict()
        """Channels that the bot has entered only to see whether somebody is their operator, and what they said."""
        self._looked: OrderedDict[ChatId, list[float]] = OrderedDict()
        self._tokens, self._at = _ANSWERS[0], 0.0
        self._chore: asyncio.Task[None] | None = None
        self.takes_over: Callable[[ChatId], bool] = lambda chat: False
        """Told of a channel that agreed; whether there are rooms of another one that it gets now."""

    # What is heard

    def said(self, chat: ChatId, line: Line, text: str) -> None:
        """Something that begins like a command was said in a channel."""
        words = text.split()
        if words and words[0].lower() == WORD:
            self._command(chat, line, words[1].lower() if len(words) > 1 else "", chat)

    def private(self, line: Line, text: str) -> bool:
        """Somebody wrote to the bot; whether it was about a channel."""
        words = text.removeprefix(WORD).split()
        if len(words) != 2 or words[0].lower() not in _YES | _NO:
            return False
        try:
            chat = self._state.chat(words[1])
        except BadName:
            return False
        if not self._state.is_channel(chat):
            return False
        place = self._places.get(chat)
        if place is not None and place.stage is Stage.JOINED:
            self._command(chat, line, words[0].lower(), None)
        elif self._book.get(chat) is None:
            self._answer(line, f"Nobody wants {words[1]} to be bridged.")
        elif not self._may_look(chat):
            self._answer(line, f"I was in {words[1]} for this a moment ago. Try again in some minutes.")
        else:
            self._claims[chat] = (line, words[0].lower(), self._state.running.clock.monotonic())
            if len(self._claims) > _CLAIMS_AT_MOST:
                self._claims.popitem(last=False)
            self._exit.want(chat)
        return True

    def invited(self, line: Line) -> None:
        """Somebody invites the bot to a channel: it comes where it was to ask, and nowhere else."""
        try:
            chat = self._state.chat(line.param(1))
        except BadName:
            return
        record = self._book.get(chat)
        if record is not None and record.word is Consent.ASKED:
            self._exit.want(chat)
        elif self._places.get(chat) is not None and self._book.may_enter(chat):
            self._exit.retry(chat)  # it is bridged, and did not let the bot in

    def listed(self, chat: ChatId) -> None:
        """The bot is in a channel and knows who is there: asks what was to be asked."""
        claim = self._claims.pop(chat, None)
        if claim is not None:
            line, verb, at = claim
            if not self._same(line, self._state.running.clock.monotonic() - at):
                self._answer(line, f"I could not enter {chat} soon enough: say it again.")
            elif self._command(chat, line, verb, None):
                return
        record, other = self._book.get(chat), self._other_bridge(chat)
        if other:
            log.warning("irc_other_bridge", network=self._state.network, chat=chat, bridge=other)
        if record is None or record.word is Consent.GRANTED:
            return
        if other:
            self._exit.clear_out(chat, "Another bridge is here")
            self._exit.offer(RemoteChatGone(chat, f"{other}, another bridge to Matrix, is in the channel already"))
            self._spawn(self._book.forget(chat))
            return
        if record.word is Consent.REFUSED:
            self._exit.clear_out(chat, "Only operators of this channel may have it bridged")
        elif not record.told:
            for text in question(record, WORD, self._state.config.contact):
                self._session.tell("NOTICE", chat, text)
            self._spawn(self._book.told(chat))

    def refused(self, chat: ChatId, reason: str) -> None:
        """The bot could not enter a channel to ask there: it does not come back by itself."""
        claim = self._claims.pop(chat, None)
        if claim is not None:
            self._answer(claim[0], f"I cannot enter {chat}: {reason}")
        record = self._book.get(chat)
        if record is not None and record.word is not Consent.GRANTED:
            self._exit.clear_out(chat, reason)
            self._exit.offer(RemoteChatGone(chat, f"the bridge could not enter the channel to ask: {reason}"))

    def kicked(self, chat: ChatId, line: Line) -> bool:
        """The bot was kicked; whether that ends the bridging."""
        if not self._state.config.consent.kick_ends or line.source is None or not line.source.user:
            return False
        self._ended_by(chat, line, f"kicked the bridge: {line.param(2)}")
        return True

    def marked(self, chat: ChatId, line: Line | None, how: str) -> None:
        """The channel itself says that it is not to be bridged (`Signposts`): as an operator's no, by `line` if any."""
        record = self._book.get(chat)
        if self._places.get(chat) is None or (record is not None and record.word is Consent.REFUSED):
            return
        if line is not None and line.source is not None and line.source.user:
            self._ended_by(chat, line, how)
        else:
            self.end(chat, chat, f"{chat} {how}")

    def lapse(self, chat: ChatId) -> None:
        """Nobody answered in time."""
        self._session.tell("NOTICE", chat, f"Nobody answered, so I leave. An operator may write to me: allow {chat}")
        self._exit.clear_out(chat, "nobody answered")
        self._exit.offer(RemoteChatGone(chat, UNANSWERED))

    # What comes of it

    def _command(self, chat: ChatId, line: Line, verb: str, here: ChatId | None) -> bool:
        """Whether it was an operator's word, and counts."""
        if verb not in _YES | _NO:
            if verb in ("", "help", "status"):
                self._reply(chat, line, here, f"{self._word(chat)} {_HELP}")
            return False
        if not self.is_operator(chat, line):
            self._reply(chat, line, here, f"Only operators of {chat} decide that.")
            return False
        if verb in _YES:
            self._spawn(self._begin(chat, line, here))
        else:
            self._ended_by(chat, line, f"said {verb}")
        return True

    def _other_bridge(self, chat: ChatId) -> str:
        """The nick of another bridge's bot in a channel; empty for none that is known."""
        masks = [fold_ascii(mask) for mask in self._state.config.consent.other_bridges]
        if not masks:
            return ""
        for person in self._state.roster.people(chat):
            mask = fold_ascii(f"{person.nick}!{person.user}@{person.host}")
            if any(wild_match(one, mask) for one in masks):
                return person.nick
        return ""

    def _same(self, line: Line, age: float) -> bool:
        """Whether who has the nick now is who said something: by user and host, or, where no host is told, by time."""
        source = line.source
        person = self._state.roster.get(source.nick) if source is not None else None
        if source is None or person is None:
            return False
        if not person.host:
            return age < _CLAIM_HOLDS
        return (person.user, person.host) == (source.user, source.host)

    def is_operator(self, chat: ChatId, line: Line) -> bool:
        """Whether whoever sent a line has the mode `o` of the channel, or a higher one, as the server tells."""
        source = line.source
        person = self._state.roster.get(source.nick) if source is not None else None
        if person is None or source is None or person.nick != source.nick:
            return False
        ranks = self._state.isupport.prefix_modes
        operators = ranks[: ranks.find("o") + 1]
        return any(mode in operators for mode in person.channels.get(chat, ""))

    async def _begin(self, chat: ChatId, line: Line, here: ChatId | None) -> None:
        before, mark = self._book.get(chat), self._state.config.consent.topic_mark
        place = self._places.get(chat)
        if mark and place is not None and mark.casefold() in (place.topic or "").casefold():
            self._reply(chat, line, here, f"The topic says {mark}. Take that out of it first.")
            return
        if before is None or before.word is Consent.GRANTED:
            self._reply(chat, line, here, self._word(chat))
            return
        evidence = self._evidence(chat, line, "allowed it")
        await self._book.answered(chat, Consent.GRANTED, self._sender(line).name or "", evidence)
        now = self._book.get(chat)
        if now is None or now.word is not Consent.GRANTED:
            return  # somebody said no meanwhile, which holds
        self._exit.offer(RemoteConsent(chat, self._sender(line), True, evidence))
        if place is not None and place.topic is not None:
            self._exit.offer(RemoteInfo(chat, topic=place.topic))
        self._session.tell("NAMES", chat)
        if self.takes_over(chat):
            self._reply(chat, line, here, f"Thank you. An operator ends it at any time: {WORD} leave")
            return
        if chat not in self._state.running.chats():
            self._reply(chat, line, here, f"Thank you. {chat} may be bridged now, when somebody wants it.")
            self._exit.clear_out(chat, "Until somebody wants it bridged")
            return
        self._reply(chat, line, here, f"Thank you. {self._word(chat)} An operator ends it at any time: {WORD} leave")

    def _ended_by(self, chat: ChatId, line: Line, how: str) -> None:
        sender = self._sender(line)
        self._left(chat, sender, self._evidence(chat, line, how))

    def end(self, chat: ChatId, by: str, evidence: str) -> None:
        """Staff of the network have said no for a channel."""
        self._left(chat, RemoteSender(person_id(self._state, by), by), evidence)

    def _left(self, chat: ChatId, sender: RemoteSender, evidence: str) -> None:
        self._book.end(chat)
        self._spawn(self._book.answered(chat, Consent.REFUSED, sender.name or "", evidence))
        self._exit.clear_out(chat, "An operator asked me to leave")
        self._exit.offer(RemoteConsent(chat, sender, False, evidence))
        self._exit.offer(RemoteMembers(chat, ()))  # nobody of the channel stays in the rooms

    # Words

    def _word(self, chat: ChatId) -> str:
        record = self._book.get(chat)
        if record is None or record.word is Consent.GRANTED:
            return f"{chat} is bridged to Matrix."
        return f"{chat} is not bridged to Matrix."

    def _evidence(self, chat: ChatId, line: Line, how: str) -> str:
        source, at = line.source, datetime.fromtimestamp(self._now() / 1000, UTC)
        if source is None:
            return how
        person = self._state.roster.get(source.nick)
        account = line.tags.get("account") or (person.account if person is not None else None)
        modes = person.channels.get(chat, "") if person is not None else ""
        who = f"{source.nick}!{source.user}@{source.host}"
        return f"{who} (account {account or 'unknown'}, modes {modes or 'none'}) {how} at {at:%Y-%m-%d %H:%M:%S} UTC"

    def _sender(self, line: Line) -> RemoteSender:
        nick = line.source.nick if line.source is not None else ""
        return RemoteSender(person_id(self._state, nick), nick)

    def _reply(self, chat: ChatId, line: Line, here: ChatId | None, text: str) -> None:
        if here is not None and self._allowed():
            self._session.tell("NOTICE", here, text)
        elif here is None:
            self._answer(line, text, chat)

    def _answer(self, line: Line, text: str, chat: ChatId | str = "") -> None:
        if line.source is not None and self._allowed():
            tags = context(self._session, self._state, chat)
            self._session.tell("NOTICE", line.source.nick, text, tags=tags)

    def _may_look(self, chat: ChatId) -> bool:
        """Whether the bot may enter a channel to look for somebody: anybody can ask for it, so not without end."""
        now, (most, seconds) = self._state.running.clock.monotonic(), _LOOKS
        looked = [at for at in self._looked.pop(chat, ()) if at > now - seconds]
        allowed = len(looked) < most
        self._looked[chat] = [*looked, now] if allowed else looked
        if len(self._looked) > _CLAIMS_AT_MOST:
            self._looked.popitem(last=False)
        return allowed

    def _allowed(self) -> bool:
        now = self._state.running.clock.monotonic()
        burst, rate = _ANSWERS
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _now(self) -> int:
        return self._state.running.clock.now_ms()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._chore = self._state.running.tasks.spawn(work, f"irc {self._state.network} consent")
