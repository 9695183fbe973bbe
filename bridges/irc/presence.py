"""Whether the partners of private chats are there: they may be in none of the channels (IRCv3 monitor)."""

from collections.abc import Callable

from bridge_core.api.events import Presence, RemoteEvent, RemotePresence, RemoteSender
from bridge_core.api.ids import RemoteUserId
from bridges.irc.partners import Partners
from bridges.irc.watch import Watch


class PartnerPresence:
    """Of one network, over the observer's connections. `offer` takes what is told."""

    def __init__(self, partners: Partners, watch: Watch, offer: Callable[[RemoteEvent], None]) -> None:
        self._partners = partners
        self._watch = watch
        self._offer = offer
        self._watched: set[str] = set()

    def start(self) -> None:
        """Watches all partners that are known, and those that are met from now on. Idempotent."""
        self._partners.on_met, self._partners.on_gone = self._met, self._gone
        for nick in self._partners.nicks():
            self._met(nick)

    def away(self, nick: str, away: bool, text: str) -> None:
        """A partner is away, or back (IRCv3 extended-monitor)."""
        self._tell(nick, Presence.AWAY if away else Presence.ONLINE, text)

    def _met(self, nick: str) -> None:
        if nick in self._watched:
            return
        self._watched.add(nick)
        self._watch.add(nick, self._seen)

    def _gone(self, nick: str) -> None:
        if nick in self._watched:
            self._watched.discard(nick)
            self._watch.drop(nick, self._seen)

    def _seen(self, nick: str, there: bool) -> None:
        self._tell(nick, Presence.ONLINE if there else Presence.OFFLINE, "")

    def _tell(self, nick: str, presence: Presence, text: str) -> None:
        for chat in self._partners.under(nick, self._watch.fold):
            self._offer(RemotePresence(RemoteSender(RemoteUserId(chat)), presence, text or None))
