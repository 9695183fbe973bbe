"""Topics of channels, as they are set and as they are."""

from collections.abc import Callable

from bridge_core.api.events import RemoteInfo, RemoteSender
from bridge_core.api.ids import ChatId
from bridges.irc.attendance import Events
from bridges.irc.codec.message import Line
from bridges.irc.joins import Place, Places
from bridges.irc.signposts import Signposts
from bridges.irc.state import NetworkState


class Topics:
    """Of one session of the observer."""

    def __init__(
        self,
        state: NetworkState,
        places: Places,
        events: Events,
        signposts: Signposts,
        sender: Callable[[Line], RemoteSender],
    ) -> None:
        self._state = state
        self._places = places
        self._events = events
        self._signposts = signposts
        self._sender = sender

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The command and the numerics that are read here."""
        return {"TOPIC": self._set, "332": self._is, "331": self._none}

    def _set(self, line: Line) -> None:
        found = self._place(line.param(0))
        if found is None or line.source is None:
            return
        chat, place = found
        place.topic = line.param(1)
        self._events.offer(RemoteInfo(chat, self._sender(line), topic=place.topic))
        self._signposts.topic(chat, place.topic, line)

    def _is(self, line: Line) -> None:
        self._told(line.param(1), line.param(2))

    def _none(self, line: Line) -> None:
        self._told(line.param(1), "")

    def _told(self, name: str, topic: str) -> None:
        """At each joining the server tells the topic; it may have changed while we were away."""
        found = self._place(name)
        if found is None:
            return
        chat, place = found
        if place.topic != topic:
            place.topic = topic
            self._events.offer(RemoteInfo(chat, topic=topic))
        self._signposts.topic(chat, topic, None)

    def _place(self, name: str) -> tuple[ChatId, Place] | None:
        chat = self._state.chat_of(name)
        place = self._places.get(chat) if chat is not None else None
        return (chat, place) if chat is not None and place is not None else None
