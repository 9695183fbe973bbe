"""Private messages that came while their user's connection was away, where the server keeps them for an account."""

from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import LoginId
from bridges.irc.archive import Archive
from bridges.irc.batches import Batch
from bridges.irc.codec.message import Line
from bridges.irc.codec.multiline import CAPABILITY as MULTILINE
from bridges.irc.private import PrivateMessages
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_KEY: Final = "heard/"
_PARTNERS_AT_MOST: Final = 20
_MESSAGES_AT_MOST: Final = 50
_AHEAD: Final = 86_400_000
"""Milliseconds by which the server's clock may be before ours: what it dates later than now was missed, too."""


class Missed:
    """Of one login: remembers until when its connection was there, and fetches what came since.

    Only for a connection that is logged in: a nick alone may have been somebody else's meanwhile. Only messages with
    ids: what is known already is known by them.
    """

    __slots__ = ("_complete", "_login", "_private", "_state")

    def __init__(self, state: NetworkState, login: LoginId, private: PrivateMessages) -> None:
        self._state = state
        self._login = login
        self._private = private
        self._complete = True
        """Nothing is left to be fetched that came before this connection."""

    async def fetch(self, session: Session, archive: Archive) -> None:
        """Hands over what was missed, oldest partner first; what cannot be had is left, with a word in the log."""
        host = self._state.running
        if not (self._state.config.private_messages and archive.offered and session.account):
            return
        until = host.clock.now_ms()
        self._complete = False
        try:
            stored = await host.kv.get(_KEY + self._login)
            if stored is not None and stored.isdigit():
                for target in await archive.targets(int(stored), until + _AHEAD, _PARTNERS_AT_MOST):
                    if not self._state.isupport.is_channel(target):
                        for item in await archive.after(target, int(stored), _MESSAGES_AT_MOST):
                            self._hand_over(session, item)
            await host.kv.put(_KEY + self._login, str(until).encode())
            self._complete = True
        except BridgeError as error:
            log.info("irc_private_history_refused", network=self._state.network, error=str(error))

    async def away(self, session: Session) -> None:
        """The connection is gone: what comes from now on is missed, beside what could not be fetched before."""
        if session.account and self._state.config.private_messages and self._complete:
            now = self._state.running.clock.now_ms() - int(session.silence * 1000)
            try:
                await self._state.running.kv.put(_KEY + self._login, str(now).encode())
            except BridgeError as error:
                log.info("irc_private_mark_not_stored", network=self._state.network, error=str(error))

    def _hand_over(self, session: Session, item: Line | Batch) -> None:
        if not item.tags.get("msgid") or item.source is None:
            return
        if isinstance(item, Batch):
            if item.type == MULTILINE:
                # It was addressed to the nick of then.
                self._private.several(session, replace(item, params=(session.nick,)))
        elif item.command in ("PRIVMSG", "NOTICE") and not _is_request(item.param(1)):
            self._private.heard(session, item._replace(params=(session.nick, item.param(1))))


def _is_request(text: str) -> bool:
    """Whether it is a CTCP request, which is not answered days later."""
    return text[:1] == "\x01" and not text.startswith("\x01ACTION ")
