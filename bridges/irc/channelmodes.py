"""What the server tells of the modes and lists of channels, and what follows for the rooms and for our users."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.content import Plain
from bridge_core.api.events import Membership, RemoteMember, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId
from bridges.irc import people
from bridges.irc.attendance import Attendance, Events
from bridges.irc.codec.masks import Effect
from bridges.irc.codec.message import Line
from bridges.irc.codec.modes import ModeChange, ModeKind, parse_modes
from bridges.irc.modelists import ENDS, KINDS, ROWS, Row
from bridges.irc.opmoderation import refused
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 20
"""Users whose rooms are told of one mask: one that names more of them is no affair of each."""
_NOBODY: Final = 101
"""More than any power there is."""


class Conditions:
    """Reads modes and lists of channels. What is not known is asked for by `Survey`."""

    def __init__(self, state: NetworkState, session: Session, attendance: Attendance, events: Events) -> None:
        self._state = state
        self._session = session
        self._sender = attendance.sender
        self._offer = events.offer
        self._promoted: Callable[[ChatId], None] = lambda chat: None

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The numerics that are read here."""
        return {
            "324": self.all_modes,
            **dict.fromkeys(ROWS, self._row),
            **dict.fromkeys(ENDS, self._end),
        }

    def when_promoted(self, then: Callable[[ChatId], None]) -> None:
        """Tell this of channels where we got a mode: the server may show us more of it."""
        self._promoted = then

    def all_modes(self, line: Line) -> None:
        """All modes of a channel (numeric 324)."""
        state = self._state
        chat = state.chat_of(line.param(1))
        if chat is None:
            return
        found = parse_modes(state.isupport, line.params[2:])
        if not found.doubtful:
            self._keys(chat, found.changes)
            event = state.regimes.all_of(chat, found, state.isupport, state.config.channels)
            if event is not None:
                self._offer(event)

    def changed(self, chat: ChatId, line: Line) -> None:
        """A MODE line of a channel. What is doubtful in it is asked for again."""
        state = self._state
        found = parse_modes(state.isupport, line.params[1:])
        self._keys(chat, found.changes)
        event = state.regimes.changed(chat, found, state.isupport, state.config.channels)
        if event is not None:
            self._offer(event)
        by = line.source.nick if line.source is not None else ""
        for change in found.changes:
            if change.kind is ModeKind.LIST and change.arg is not None and change.mode in KINDS:
                self._listed(chat, change, by)
            elif change.kind is ModeKind.PREFIX and change.adding and change.arg == self._session.nick:
                self._promoted(chat)

    # Messages to a channel's staff

    def target(self, text: str) -> tuple[str, str]:
        """The status and the channel of a message's target (STATUSMSG); a channel's own name may start like one."""
        status, name = self._state.isupport.split_target(text)
        if status and self._state.chat_of(text) is not None:
            return "", text
        return status, name

    def muffled(self, chat: ChatId, line: Line) -> str:
        """The status of those for whom a message to the whole channel is, since the channel refused it; else empty."""
        if not refused(self._state, chat, line):
            return ""
        isupport = self._state.isupport
        place = isupport.prefix_modes.find("o")
        return isupport.prefix_symbols[place] if place >= 0 else "@"

    def for_staff(self, event: RemoteMessage, status: str) -> RemoteMessage:
        """A message to people with a mode only: marked, and for rooms where everybody on Matrix has that power."""
        isupport, config = self._state.isupport, self._state.config
        place = isupport.prefix_symbols.find(status)
        level = config.mode_powers.get(isupport.prefix_modes[place], 0) if place >= 0 else 0
        if config.channels.staff_messages != "show" or level <= 0:
            level = _NOBODY
        content = replace(event.content, text=(Plain(f"[{status}{event.chat}] "), *event.content.text))
        return replace(event, content=content, least_power=level)

    def _keys(self, chat: ChatId, changes: tuple[ModeChange, ...]) -> None:
        for change in changes:
            if change.mode == "k" and change.adding and change.arg and change.arg.strip("*"):
                self._state.keys.learned(chat, change.arg)

    # Lists

    def _row(self, line: Line) -> None:
        """One entry of a list. 728 names the list in front of its mask."""
        chat = self._state.chat_of(line.param(1))
        if chat is not None:
            place = 3 if line.command == "728" else 2
            letter = ROWS[line.command]
            self._state.lists.told(chat, letter, line.param(place), line.param(place + 1), self._state.isupport)

    def _end(self, line: Line) -> None:
        chat = self._state.chat_of(line.param(1))
        if chat is None:
            return
        letter = ENDS[line.command]
        self._state.lists.complete(chat, letter)
        if letter == "b":
            there = {row.mask.text for row in self._state.lists.rows(chat, letter)}
            self._lifted(chat, self._state.sanctions.missing(chat, there), None)

    def _listed(self, chat: ChatId, change: ModeChange, by: str) -> None:
        assert change.arg is not None
        state = self._state
        row = state.lists.changed(chat, change.mode, change.arg, by, state.isupport, adding=change.adding)
        if change.mode == "b" and change.adding:
            state.sanctions.stands(chat, change.arg)
        elif change.mode == "b":
            self._lifted(chat, state.sanctions.of_mask(chat, change.arg), self._sender(by) if by else None)
        if change.mode == "b" and row.mask.effect is Effect.BAN:
            self._about_ours(chat, row, by, banned=change.adding)

    def _lifted(self, chat: ChatId, lifted: list[RemoteSender], by: RemoteSender | None) -> None:
        """Bans that came from Matrix are no more on IRC: so they are none on Matrix."""
        for person in lifted:
            self._state.sanctions.forget(chat, person.id)
            self._offer(RemoteMember(chat, person, Membership.UNBAN, by))

    def _about_ours(self, chat: ChatId, row: Row, by: str, *, banned: bool) -> None:
        """A ban names users of ours, or names them no more: their rooms are told."""
        state = self._state
        users = state.faces.named(row.mask)
        if len(users) > _AT_ONCE:
            log.warning("irc_mask_names_many", network=state.network, chat=chat, users=len(users))
            return
        sender = self._sender(by) if by else None
        for user in users:
            who = state.faces.of(user)
            if who is None:
                continue
            against = state.lists.against(chat, who, state.isupport, entering=True)
            if banned == (against is not None and against.sure):
                kind = Membership.BAN if banned else Membership.UNBAN
                member = RemoteSender(people.of_nick(state.isupport.fold(who.nick)), who.nick, LoginId(user))
                self._offer(RemoteMember(chat, member, kind, sender, row.mask.text))

    def closed(self, chat: ChatId) -> None:
        """We are not in the channel any more."""
        self._state.regimes.forget(chat)
        self._state.lists.forget(chat)
