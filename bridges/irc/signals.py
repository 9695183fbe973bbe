"""What one user's connection tells beside words: that they type, and whether they are there."""

from bridge_core.api.events import Presence
from bridge_core.api.ids import ChatId
from bridge_core.api.matrix import MatrixPresence, MatrixSender, MatrixSignal, MatrixTyping
from bridge_core.api.network import Login
from bridges.irc.composing import Composing
from bridges.irc.membership import Membership
from bridges.irc.profile import Profile
from bridges.irc.session import Session
from bridges.irc.state import NetworkState


class Signals:
    """Of one connection after the other. Nothing here blocks or is waited for."""

    __slots__ = ("_channels", "_composing", "_login", "_profile", "_session", "_state", "away")

    def __init__(self, state: NetworkState, login: Login, channels: Membership) -> None:
        self._state = state
        self._login = login
        self._channels = channels
        self._session: Session | None = None
        self._profile: Profile | None = None
        self._composing: Composing | None = None
        self.away = False
        """Whether the user is away, as far as Matrix has told."""

    def opened(self, session: Session) -> None:
        """There is a connection."""
        self._session = session
        self._profile = Profile(self._state, self._login, away=session.told_away)
        self._profile.is_there(session, self.away)

    def closed(self) -> None:
        """The connection is gone."""
        self._session = None
        if self._composing is not None:
            self._composing.closed()
            self._composing = None

    def spoke(self, sender: MatrixSender) -> None:
        """The user says something, being called and looking so: others see that first."""
        session = self._session
        if session is not None and session.up and self._profile is not None:
            self._profile.spoke(session, sender)

    def take(self, signal: MatrixSignal) -> None:
        """Tells that the user types, or stopped (IRCv3 typing), where that is configured and the server has tags."""
        session = self._session
        if isinstance(signal, MatrixPresence):
            self.away = signal.presence is not Presence.ONLINE
        if session is None or not session.up:
            return
        if isinstance(signal, MatrixPresence) and self._profile is not None:
            self._profile.is_there(session, self.away)
        if not isinstance(signal, MatrixTyping) or signal.chat not in self._channels:
            return
        if not session.tags or not self._state.config.typing or not self._state.isupport.may_tag("typing"):
            return
        if self._composing is None:
            self._composing = Composing(self._typing)
        if self._login.user in signal.started:
            self._composing.started(signal.chat)
        elif self._login.user in signal.stopped:
            self._composing.stopped(signal.chat)

    def _typing(self, chat: ChatId, state: str) -> None:
        if self._session is not None and chat in self._channels:
            self._session.tell("TAGMSG", chat, tags={"+typing": state})
