"""People of the network who do not want to be bridged say so to the bot in private: `!optout`, and `!optin` again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import Membership, RemoteConsent, RemoteEvent, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc import people
from bridges.irc.allowance import Allowance, Allowances
from bridges.irc.codec.message import Line, Source
from bridges.irc.optoutbook import OptOutBook, Sayer
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_WORDS: Final = {"!optout": False, "!opt-out": False, "!optin": True, "!opt-in": True}
_OF_A_HOST: Final = (5.0, 0.1)
"""Wishes of one host at once, and further ones per second: who floods keeps nobody else from saying it."""
_OF_ALL: Final = (50.0, 5.0)
_WORDS_BACK: Final = (10.0, 1.0)
"""Answers to wishes that came too fast."""
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
        now = state.running.clock.monotonic
        self._book = OptOutBook(state.running)
        self._of_hosts = Allowances(now, *_OF_A_HOST)
        self._of_all = Allowance(now, *_OF_ALL)
        self._words_back = Allowance(now, *_WORDS_BACK)
        self._running: asyncio.Task[None] | None = None

    def said(self, line: Line, text: str) -> bool:
        """Somebody wrote to the bot; whether it was about being bridged themselves. Done in the background."""
        word = _WORDS.get(text.strip().lower())
        source = line.source
        if word is None or source is None:
            return False
        if not (self._of_hosts.take(source.host) and self._of_all.take()):
            log.info("irc_optout_too_fast", network=self._state.network)
            if self._words_back.take():
                self._tell(source.nick, "That is too often: nothing was changed. Please say it again in a minute.")
            return True
        if self._state.own(source.nick.encode("utf-8", "surrogateescape")) is not None:
            self._tell(source.nick, "You are a user of Matrix: say !bridge opt-out, or opt-in, to the bridge there.")
            return True
        work = self._wants(line, source, word)
        self._running = self._state.running.tasks.spawn(work, f"irc {self._state.network} opt-out")
        return True

    async def _wants(self, line: Line, source: Source, granted: bool) -> None:
        async with self._book.turn:
            await self._decided(line, source, granted)

    async def _decided(self, line: Line, source: Source, granted: bool) -> None:
        sender, ids = self._who(line, source)
        account = sender.id if people.account_of(sender.id) is not None else ""
        by, book = Sayer(account, f"{source.user}@{source.host}"), self._book
        try:
            await book.load()
            no = self._refused(sender.id, by, granted)
            if no:
                log.info("irc_optout_refused", network=self._state.network, person=sender.id, granted=granted)
                self._tell(source.nick, no)
                return
            ids = [one for one in ids if (book.may_lift(one, by) if granted else not book.refusal(one, by))]
            if not granted:
                for one in ids:
                    await book.keep(one, by)
            await self._commit(self._events(source, ids, granted))
            if granted:
                for one in ids:
                    await book.lift(one)
        except BridgeError as error:
            log.warning("irc_optout_not_stored", network=self._state.network, error=str(error))
            self._tell(source.nick, "That could not be stored now. Please say it again in a while.")
            return
        log.info("irc_opted", network=self._state.network, person=sender.id, granted=granted)
        for text in self._answer(source.nick, sender.id, granted, nick_too=len(ids) > 1):
            self._tell(source.nick, text)

    def _refused(self, person: RemoteUserId, by: Sayer, granted: bool) -> str:
        """Why nothing is done, in words; empty when it is."""
        if not granted:
            why = self._book.refusal(person, by)
            return f"Nothing was changed: {why}." if why else ""
        if self._book.may_lift(person, by):
            return ""
        return (
            "Nothing was changed: somebody else opted out this nick, and only they lift that, with the same account or "
            "from the same host. Logged in to an account you are known by it, and are shown."
        )

    def _events(self, source: Source, ids: Sequence[RemoteUserId], granted: bool) -> list[RemoteEvent]:
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
        return events

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

    def _answer(self, nick: str, person: RemoteUserId, granted: bool, *, nick_too: bool) -> tuple[str, ...]:
        account = people.account_of(person)
        who = f"the account {account}" if account is not None else f"the nick {nick}"
        if account is not None and nick_too:
            who += f", and the nick {nick}"
        if granted:
            return (f"What is said under {who} is shown on Matrix again, from now on.",)
        sure = (
            "Log in before you speak: under another nick you are only known by your account."
            if account is not None
            else "You are not logged in: you are shown under another nick, and cannot take it back from another host. "
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
