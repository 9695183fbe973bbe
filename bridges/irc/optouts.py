"""People of the network who do not want to be bridged say so to the bot in private: `!optout`, and `!optin` again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import Membership, RemoteConsent, RemoteEvent, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc import people
from bridges.irc.allowance import Allowance
from bridges.irc.codec.message import Line, Source
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_WORDS: Final = {"!optout": False, "!opt-out": False, "!optin": True, "!opt-in": True}
_BURST: Final = 20.0
_PER_SECOND: Final = 1.0
_LEFT: Final = "opted out of being bridged"


class PersonalWishes:
    """What people say of themselves during one session of the observer.

    `commit` returns when the core has stored events: who is answered can rely on it.
    """

    def __init__(
        self, state: NetworkState, session: Session, commit: Callable[[Sequence[RemoteEvent]], Awaitable[None]]
    ) -> None:
        self._state = state
        self._session = session
        self._commit = commit
        self._allowance = Allowance(state.running.clock.monotonic, _BURST, _PER_SECOND)
        self._running: asyncio.Task[None] | None = None

    def said(self, line: Line, text: str) -> bool:
        """Somebody wrote to the bot; whether it was about being bridged themselves. Done in the background."""
        word = _WORDS.get(text.strip().lower())
        source = line.source
        if word is None or source is None:
            return False
        if not self._allowance.take():
            log.info("irc_optout_too_fast", network=self._state.network)
            return True
        if self._state.own(source.nick.encode("utf-8", "surrogateescape")) is not None:
            self._tell(source.nick, "You are a user of Matrix: say !bridge opt-out, or opt-in, to the bridge there.")
            return True
        work = self._wants(line, source, word)
        self._running = self._state.running.tasks.spawn(work, f"irc {self._state.network} opt-out")
        return True

    async def _wants(self, line: Line, source: Source, granted: bool) -> None:
        sender, ids = self._who(line, source)
        evidence = f"{source.nick}!{source.user}@{source.host} said so"
        events: list[RemoteEvent] = [
            RemoteConsent(ChatId(one), RemoteSender(one, source.nick), granted, evidence) for one in ids
        ]
        person = self._state.roster.get(source.nick)
        if not granted and person is not None and person.nick == source.nick:
            # Nobody looks at the rooms and sees them there.
            gone = [RemoteSender(one, source.nick) for one in ids]
            events += [
                RemoteMember(chat, one, Membership.LEAVE, reason=_LEFT) for chat in person.channels for one in gone
            ]
        try:
            await self._commit(events)
        except BridgeError as error:
            log.warning("irc_optout_not_stored", network=self._state.network, error=str(error))
            self._tell(source.nick, "That could not be stored now. Please say it again in a while.")
            return
        log.info("irc_opted", network=self._state.network, person=sender.id, granted=granted)
        for text in self._answer(source.nick, sender.id, granted):
            self._tell(source.nick, text)

    def _who(self, line: Line, source: Source) -> tuple[RemoteSender, list[RemoteUserId]]:
        """Who says it, and all ids that it is about: the account, which nobody else can have, and the nick, under
        which they may speak before they log in."""
        folded = self._state.isupport.fold(source.nick)
        person = self._state.roster.get(source.nick)
        known = person is not None and person.nick == source.nick
        account: str | None = None
        if self._state.config.people.accounts:
            if "account-tag" in self._session.caps.enabled:
                account = line.tags.get("account")
            elif person is not None and known:
                account = person.account
        own = people.of(folded, account)
        nick = people.of_nick(folded)
        return RemoteSender(own, source.nick), [own] if own == nick else [own, nick]

    def _answer(self, nick: str, person: RemoteUserId, granted: bool) -> tuple[str, ...]:
        account = people.account_of(person)
        who = f"the account {account}, and the nick {nick}" if account is not None else f"the nick {nick}"
        if granted:
            return (f"What is said under {who} is shown on Matrix again, from now on.",)
        sure = (
            "Log in before you speak: under another nick you are only known by your account."
            if account is not None
            else "You are not logged in: whoever has this nick can say !optin, and under another nick you are shown. "
            "With an account it holds for the account."
        )
        return (
            f"From now on nothing that is said under {who} is shown on Matrix, and nobody there can write to you "
            "through this bridge. What was shown before stays there; ask its admin to remove it"
            f"{f' ({self._state.config.contact})' if self._state.config.contact else ''}.",
            f"{sure} You see what Matrix users say in channels as before. !optin takes it back.",
        )

    def _tell(self, nick: str, text: str) -> None:
        self._session.tell("NOTICE", nick, text)
