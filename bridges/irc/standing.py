"""What the kept lists of channels say of one of our users."""

from collections.abc import Iterator
from typing import Final

from bridge_core.api.ids import ChatId
from bridge_core.api.network import Login
from bridges.irc.codec.masks import Who
from bridges.irc.modelists import Judgement
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

_KEPT: Final = 64


class Standing:
    """The judgements of one user, worked out once per change of a list."""

    __slots__ = ("_judged", "_login", "_state", "_user")

    def __init__(self, state: NetworkState, login: Login) -> None:
        self._state = state
        self._login = login
        self._user = login.user
        self._judged: dict[ChatId, tuple[int, Who, Judgement | None]] = {}

    def shown(self, session: Session) -> None:
        """The network sees the user's connection so."""
        seen, state = session.identity.envelope, self._state
        person = state.roster.get(seen.nick)
        account = person.account if person is not None and state.user_of(person.nick) == self._user else None
        who = Who(seen.nick, seen.user or "", seen.host or "", account, state.access.realname(self._login))
        if state.faces.of(self._user) != who:
            state.faces.show(self._user, who)

    def expect(self, nicks: Iterator[str]) -> None:
        """Before the user was ever connected: the network will see them so, under the first of these nicks."""
        if self._state.faces.of(self._user) is None:
            who = Who(next(nicks, ""), real=self._state.access.realname(self._login))
            self._state.faces.show(self._user, who)

    def against(self, chat: ChatId) -> Judgement | None:
        """What a channel's lists have against the user; None for nothing, and for who has a mode of their own there."""
        lists = self._state.lists
        version, who = lists.version(chat), self._state.faces.of(self._user)
        if not version or who is None:
            return None
        known = self._judged.get(chat)
        if known is None or known[0] != version or known[1] is not who:
            if len(self._judged) >= _KEPT:
                self._judged.clear()
            known = self._judged[chat] = (version, who, lists.against(chat, who, self._state.isupport))
        judgement = known[2]
        return None if judgement is None or self._has_mode(chat, who.nick) else judgement

    def _has_mode(self, chat: ChatId, nick: str) -> bool:
        person = self._state.roster.get(nick)
        return self._state.user_of(nick) == self._user and person is not None and bool(person.channels.get(chat))
