"""One Matrix user and the channels that do not let everybody in: who invites them there, and how they ask for it."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from bridge_core.api.events import Membership, RemoteEvent, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridge_core.api.network import Login
from bridges.irc.allowance import Allowance
from bridges.irc.codec.message import Line
from bridges.irc.membership import Membership as Channels
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import person_id

log = structlog.get_logger(__name__)
_ASKED_AT_MOST: Final = 20
_PATIENCE: Final = 86_400.0
"""Seconds for which an invitation counts as the answer to a knock."""
_SEVERAL: Final = 3600.0
"""Seconds after an invitation in which another one to the same channel is not passed on, unless it was asked for."""
_REMEMBERED: Final = 200
_UNASKED: Final = (5.0, 1 / 600)
"""Invitations that the user did not ask for: at once, and further ones per second."""
_SHUT: Final = frozenset(("471", "473", "475"))
"""Errors of JOIN that somebody in the channel can do something about: full, invited people only, a key."""
_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class _Knock:
    """What is asked for. `until` is of the monotonic clock."""

    reason: str
    until: float
    told: bool = False
    knocked: bool = False
    """KNOCK was sent, and the server has not said that it knows no such command."""


class Invitations:
    """Of one login; it outlives connections. `offer` takes what is told to the core; `to_operators` says something to
    a channel's operators, and whether that could be done."""

    __slots__ = ("_allowance", "_asked", "_channels", "_invited", "_login", "_offer", "_state", "_to_operators")

    def __init__(
        self,
        state: NetworkState,
        login: Login,
        channels: Channels,
        offer: Callable[[RemoteEvent], None],
        to_operators: Callable[[ChatId, str], bool],
    ) -> None:
        self._state = state
        self._login = login
        self._channels = channels
        self._offer = offer
        self._to_operators = to_operators
        self._asked: OrderedDict[ChatId, _Knock] = OrderedDict()
        self._invited: OrderedDict[ChatId, float] = OrderedDict()
        self._allowance: Allowance | None = None

    def ask(self, chat: ChatId, reason: str | None) -> None:
        """The user wants to be let in: by joining, or, where the channel refuses that, by a knock."""
        said = " ".join((reason or "").split())[:_REASON]
        self._asked[chat] = _Knock(said or f"{self._login.user} asks from Matrix", self._now() + _PATIENCE)
        self._asked.move_to_end(chat)
        if len(self._asked) > _ASKED_AT_MOST:
            self._asked.popitem(last=False)
        self._channels.want(chat)

    def joined(self, chat: ChatId) -> None:
        """The connection is in a channel: nothing has to be asked for any more."""
        self._asked.pop(chat, None)

    def refused(self, session: Session, line: Line) -> None:
        """A channel does not let the connection in: knocks, once. Servers need not say that they know KNOCK (InspIRCd
        does not), so that is found out by trying; without it the channel's operators are told in words."""
        if line.command == "421" and line.param(1).upper() == "KNOCK":
            for tried in [chat for chat, knock in self._asked.items() if knock.knocked]:
                self._in_words(session, tried)
            return
        chat = self._state.chat_of(line.param(1))
        knock = self._asked.get(chat) if chat is not None else None
        if chat is not None and knock is not None and not knock.told and line.command in _SHUT:
            self._asked[chat] = replace(knock, told=True, knocked=True)
            session.tell("KNOCK", chat, knock.reason)

    def _in_words(self, session: Session, chat: ChatId) -> None:
        self._asked[chat] = knock = replace(self._asked[chat], knocked=False)
        text = f"{session.nick} ({self._login.user}) asks to be let in: {knock.reason} -- /invite {session.nick} {chat}"
        if not self._to_operators(chat, text):
            log.info("irc_knock_not_told", network=self._state.network, chat=chat, user=self._login.user)

    def invited(self, session: Session, line: Line) -> None:
        """INVITE: of this user to a bridged channel that has agreed; their room is to invite them too."""
        source, chat = line.source, self._state.chat_of(line.param(1))
        fold = self._state.isupport.fold
        if source is None or not source.user or fold(line.param(0)) != fold(session.nick):
            return
        if chat is None or chat in self._state.consents.closed or not self._state.config.channels.invitations:
            log.debug("irc_invitation_not_followed", network=self._state.network, chat=line.param(1))
            return
        knock, now = self._asked.pop(chat, None), self._now()
        wanted = knock is not None and knock.until > now
        last = self._invited.pop(chat, None)
        again = last is not None and now - last < _SEVERAL
        self._invited[chat] = last if again and last is not None and not wanted else now
        if len(self._invited) > _REMEMBERED:
            self._invited.popitem(last=False)
        if again and not wanted:
            log.info("irc_invitation_repeated", network=self._state.network, chat=chat, user=self._login.user)
            return
        if not wanted and not self._allowed():
            log.info("irc_invitations_too_many", network=self._state.network, chat=chat, user=self._login.user)
            return
        self._channels.welcome(chat)
        person = self._state.roster.get(source.nick)
        known = person is not None and person.nick == source.nick
        by = person.sender if person is not None and known else RemoteSender(self._id(source.nick), source.nick)
        me = RemoteSender(self._id(session.nick), session.nick, self._login.id)
        reason = f"{source.nick} invites you to {chat}"
        self._offer(RemoteMember(chat, me, Membership.INVITE, by, reason))
        if wanted:
            # They asked for it. Where all members of a room must be in the channel, they have to be there first.
            self._channels.want(chat)
            self._channels.join(session, [chat])

    def _allowed(self) -> bool:
        if self._allowance is None:  # most logins are never invited
            self._allowance = Allowance(self._state.running.clock.monotonic, *_UNASKED)
        return self._allowance.take()

    def _id(self, nick: str) -> RemoteUserId:
        return person_id(self._state, nick)

    def _now(self) -> float:
        return self._state.running.clock.monotonic()
