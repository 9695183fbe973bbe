"""Private messages that came while their user's connection was away, where the server keeps them for an account."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.events import RemoteGap
from bridge_core.api.ids import ChatId, LoginId
from bridges.irc.archive import Archive, Cursor, Item
from bridges.irc.batches import Batch
from bridges.irc.codec.casemap import fold_ascii
from bridges.irc.codec.multiline import CAPABILITY as MULTILINE
from bridges.irc.letterbox import Letterbox
from bridges.irc.nicks import BadName
from bridges.irc.private import PrivateMessages
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import timestamp

log = structlog.get_logger(__name__)
_KEY: Final = "heard/"
_PARTNERS_AT_MOST: Final = 100
"""Private chats of which messages are fetched after one absence; the others get a gap notice."""
_TARGETS_AT_MOST: Final = 500
_PAGE: Final = 100
_AHEAD: Final = 86_400_000
"""Milliseconds by which the server's clock may be before ours: what it dates later than now was missed, too."""
_OVERLAP: Final = 60_000
"""Milliseconds by which it may be behind ours: so much is asked for once more. What is known is known by its id."""
_MARK_EVERY: Final = 10.0
"""Seconds after which it is stored anew up to when everything was heard, while messages come."""
_FORGOTTEN: Final = 2.0
_COMMITTED: Final = 60.0
"""Seconds that the core may take for a page before the rest is left for the next connection."""


class Missed:
    """Of one login: remembers up to when everything that it was sent is stored, and fetches what came since.

    The mark goes to the core behind what it speaks of, in one commit with it or later: what is skipped by it is stored.
    Only for a connection that is logged in: a nick alone may have been somebody else's meanwhile. Only messages with
    ids: what is known already is known by them.
    """

    __slots__ = ("_key", "_letterbox", "_login", "_marked_at", "_private", "_state", "_whole")

    def __init__(self, state: NetworkState, login: LoginId, private: PrivateMessages, letterbox: Letterbox) -> None:
        self._state = state
        self._login = login
        self._key = _KEY + login
        self._private = private
        self._letterbox = letterbox
        self._marked_at = 0.0
        self._whole = False
        """Everything that came before now was handed to the core."""

    async def fetch(self, session: Session, archive: Archive) -> None:
        """Hands over what was missed; what cannot be had leaves a gap, and after a failure the next connection asks."""
        if not (self._state.config.private_messages and archive.offered and session.account):
            return
        until = self._now()
        try:
            stored = await self._state.running.kv.get(self._key)
            if stored is not None and stored.isdigit():
                await self._fetch(session, archive, max(0, int(stored) - _OVERLAP), until)
        except BridgeError as error:
            log.info("irc_private_history_refused", network=self._state.network, error=str(error))
            return
        self._mark(until)
        self._whole = session.up

    def heard(self, tags: Mapping[str, str]) -> None:
        """A message with these tags came and was handed to the core. Does not block.

        What the server said behind it may not be read for long: it is known up to the message's own time.
        """
        if self._whole and self._state.running.clock.monotonic() - self._marked_at >= _MARK_EVERY:
            now = self._now()
            self._mark(min(timestamp(tags.get("time"), now), now))

    def away(self, session: Session) -> None:
        """The connection is gone: what comes from now on is missed, beside what could not be fetched before."""
        if self._whole:
            self._mark(self._now() - int(session.silence * 1000))
        self._whole = False

    async def forget(self) -> None:
        """The login is over. Raises BridgeError."""
        self._whole = False
        await self._letterbox.drained(_FORGOTTEN)
        await self._state.running.kv.put(self._key, None)

    def _mark(self, until: int) -> None:
        self._marked_at = self._state.running.clock.monotonic()
        self._letterbox.mark(self._key, str(until).encode())

    async def _fetch(self, session: Session, archive: Archive, since: int, until: int) -> None:
        """Raises TransientError: the rest is to be asked for again."""
        targets, whole = await archive.targets(since, until + _AHEAD, _TARGETS_AT_MOST)
        people = [target for target in targets if not self._state.isupport.is_channel(target)]
        for target in people[:_PARTNERS_AT_MOST]:
            await self._conversation(session, archive, target, since, until)
        for target in people[_PARTNERS_AT_MOST:]:
            self._gap(self._chat(target), since, until, f"more than {_PARTNERS_AT_MOST} people wrote meanwhile")
        if not whole:
            log.warning("irc_private_history_cut", network=self._state.network, user=self._login)

    async def _conversation(self, session: Session, archive: Archive, target: str, since: int, until: int) -> None:
        """What one person wrote, page by page, each stored before the next is asked for."""
        cursor, chat, left = Cursor(since), self._chat(target), self._state.config.messages.missed
        while True:
            limit = min(left, _PAGE)
            try:
                page = await archive.page(target, cursor, limit)
            except RejectedError as error:
                self._gap(chat, cursor.at, until, str(error))
                return
            if page.missing is not None:
                self._gap(chat, since, cursor.at, page.missing)
            for item in page.items:
                chat = self._hand_over(session, target, item) or chat
            left -= len(page.items)
            if not page.more:
                return
            if page.cursor == cursor:
                self._gap(chat, cursor.at, until, "the server tells the same again")
                return
            cursor = page.cursor
            if left <= 0:
                most = self._state.config.messages.missed
                self._gap(chat, cursor.at, until, f"more was said than the {most} messages that are fetched at most")
                return
            if not await self._letterbox.drained(_COMMITTED):
                raise TransientError("the core does not take it in time")

    def _hand_over(self, session: Session, target: str, item: Item) -> ChatId | None:
        """Takes a message as if it came now; the chat it is in, where it is one."""
        if not item.tags.get("msgid") or item.source is None or self._own(session, target, item):
            return None
        if isinstance(item, Batch):
            if item.type != MULTILINE:
                return None
            # It was addressed to the nick of then.
            return self._private.several(session, replace(item, params=(session.nick,)))
        if item.command not in ("PRIVMSG", "NOTICE") or _is_request(item.param(1)):
            return None
        return self._private.heard(session, item._replace(params=(session.nick, item.param(1))))

    def _own(self, session: Session, target: str, item: Item) -> bool:
        """Whether the user said it, under whatever nick of then: a conversation holds both sides."""
        fold, account = self._state.isupport.fold, item.tags.get("account")
        mine = fold_ascii(account or "") == fold_ascii(session.account or "") != ""
        return mine or fold(item.param(0)) == fold(target)

    def _chat(self, target: str) -> ChatId | None:
        """The private chat with who has a nick, as far as is known."""
        try:
            return ChatId(self._state.person(target))
        except BadName:
            return None

    def _gap(self, chat: ChatId | None, since: int, until: int, reason: str) -> None:
        log.info("irc_private_history_gap", network=self._state.network, user=self._login, reason=reason)
        if chat is not None:
            self._letterbox.offer(RemoteGap(chat, since, max(since, until), reason, self._login))

    def _now(self) -> int:
        return self._state.running.clock.now_ms()


def _is_request(text: str) -> bool:
    """Whether it is a CTCP request, which is not answered days later."""
    return text[:1] == "\x01" and not text.startswith("\x01ACTION ")
