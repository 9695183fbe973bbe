"""What a Matrix user shows of themselves on the network: name, picture, real name, whether they are away."""

from typing import Final

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Login
from bridges.irc.metadata import AVATAR, CAPABILITY, NAME
from bridges.irc.nicks import fill
from bridges.irc.registration import AWAY
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.to_network import clean_name

_BY_NAME: Final = "$DISPLAY"


class Profile:
    """Of one connection. Only what changed is said, and nothing where the server has no such thing."""

    __slots__ = ("_avatar", "_away", "_login", "_name", "_real", "_state")

    def __init__(self, state: NetworkState, login: Login, *, away: bool = False) -> None:
        self._state = state
        self._login = login
        self._name: str | None = None
        self._avatar: str | None = None
        self._real: str | None = None
        self._away = away

    def spoke(self, session: Session, sender: MatrixSender) -> None:
        """The user said something, being called and looking so. Does not block."""
        if sender.name != self._name:
            self._name = sender.name
            self._named(session, sender.name)
        if sender.avatar != self._avatar:
            self._avatar = sender.avatar
            self._pictured(session, sender.avatar)

    def _named(self, session: Session, shown: str) -> None:
        """IRCv3 metadata; setname, where the real name is made of the name."""
        config = self._state.config
        if config.people.share and CAPABILITY in session.caps.enabled:
            said = clean_name(shown)
            session.tell("METADATA", "*", "SET", NAME, *([said] if said else []))
        if _BY_NAME in config.realname_template and "setname" in session.caps.enabled:
            real = clean_name(fill(config.realname_template, self._login.user, shown))
            if real and real != (self._real or self._state.access.realname(self._login)):
                self._real = real
                session.tell("SETNAME", real)

    def _pictured(self, session: Session, avatar: str | None) -> None:
        """IRCv3 metadata. The address is that of the bridge's media links; without them there is none."""
        if not self._state.config.people.share or CAPABILITY not in session.caps.enabled:
            return
        link = self._state.running.media_url(Attachment(MediaKind.IMAGE, "avatar", avatar)) if avatar else None
        session.tell("METADATA", "*", "SET", AVATAR, *([link] if link else []))

    def is_there(self, session: Session, away: bool) -> None:
        """The user is there, or away (AWAY, RFC 2812 section 4.1). What they write beside it stays on Matrix."""
        if away != self._away and self._state.config.people.away:
            self._away = away
            session.tell("AWAY", *([AWAY] if away else []))
