"""Which channels the observer is to be in, and how far that is."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final

from bridge_core.api.ids import ChatId
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.serializer import serialize

_JOIN_BYTES: Final = 480
_OVERHEAD: Final = len("JOIN \r\n")


class Stage(StrEnum):
    """How far joining a channel is."""

    WANTED = "wanted"
    ASKED = "asked"
    JOINED = "joined"
    REFUSED = "refused"


class Place:
    """One channel. `since` is when we were last in it (milliseconds), None when we never were."""

    __slots__ = ("gone", "name", "reason", "since", "stage", "topic", "until", "waiters")

    def __init__(self) -> None:
        self.stage = Stage.WANTED
        self.reason = ""
        self.gone = ""
        """Why we were out of it since `since`, empty when the connection broke."""
        self.name: str | None = None
        self.topic: str | None = None
        self.since: int | None = None
        self.until = 0.0
        """When to ask again: for ASKED the end of patience, for REFUSED and WANTED the end of the pause."""
        self.waiters: asyncio.Future[None] | None = None


class Places:
    """The wanted channels. Times of waiting are of the monotonic clock."""

    def __init__(self) -> None:
        self._places: dict[ChatId, Place] = {}
        self._due: set[ChatId] = set()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ChatId]:
        return iter(self._places)

    def get(self, chat: ChatId) -> Place | None:
        """The place of a wanted channel."""
        return self._places.get(chat)

    def want(self, chats: Iterable[ChatId]) -> None:
        """These are to be joined; those that are wanted already stay as they are."""
        for chat in chats:
            if chat not in self._places:
                self._places[chat] = Place()
                self._due.add(chat)

    def unwant(self, chat: ChatId) -> Place | None:
        """This one is no longer wanted; where we were with it."""
        self._due.discard(chat)
        place = self._places.pop(chat, None)
        if place is not None:
            self._tell(place)
        return place

    def renamed(self, chat: ChatId, new: ChatId, name: str) -> Place | None:
        """A channel has another name; its place, if it is wanted."""
        place = self._places.pop(chat, None)
        if place is not None:
            place.name = name
            self._places[new] = place
            if chat in self._due:
                self._due.discard(chat)
                self._due.add(new)
        return place

    def stages(self) -> dict[Stage, int]:
        """How many channels are at which stage."""
        counts = dict.fromkeys(Stage, 0)
        for place in self._places.values():
            counts[place.stage] += 1
        return counts

    def due(self, now: float) -> list[ChatId]:
        """Channels to ask for now."""
        return [chat for chat in self._due if self._places[chat].until <= now]

    def next_due(self) -> float | None:
        """When there will be something to ask for; None while everything is joined."""
        return min((self._places[chat].until for chat in self._due), default=None)

    def hurry(self, chat: ChatId) -> None:
        """To be asked for again now, if it is not joined."""
        place = self._places.get(chat)
        if place is not None and place.stage is not Stage.JOINED:
            place.until = 0.0

    def asked(self, chats: Iterable[ChatId], patience: float) -> None:
        """JOIN was sent for these; without an answer they are due again at `patience`."""
        for chat in chats:
            place = self._places.get(chat)
            if place is not None and place.stage is not Stage.JOINED:
                place.stage = Stage.ASKED
                place.until = patience

    def joined(self, chat: ChatId, name: str) -> Place | None:
        """We are in, under the channel's own spelling; None when nobody wants us there."""
        place = self._places.get(chat)
        if place is not None:
            place.stage, place.reason, place.name = Stage.JOINED, "", name
            self._due.discard(chat)
            self._tell(place)
        return place

    def refused(self, chat: ChatId, reason: str, again: float) -> bool:
        """The server did not let us in; whether we had asked for it."""
        place = self._places.get(chat)
        if place is None or place.stage not in (Stage.ASKED, Stage.WANTED):
            return False
        place.stage, place.reason, place.until = Stage.REFUSED, reason, again
        self._due.add(chat)
        self._tell(place)
        return True

    def left(self, chat: ChatId, now_ms: int, again: float, reason: str) -> None:
        """We are out of a channel, alone of all."""
        place = self._places.get(chat)
        if place is not None:
            if place.stage is Stage.JOINED:
                place.since, place.gone = now_ms, reason
            place.stage, place.reason, place.until = Stage.WANTED, reason, again
            self._due.add(chat)

    def disconnected(self, now_ms: int) -> None:
        """We are out of all channels."""
        for chat in self._places:
            self.left(chat, now_ms, 0.0, "")

    def away_since(self, at_ms: int) -> None:
        """An earlier process was in these channels until then."""
        for place in self._places.values():
            place.since = at_ms

    def heard_until(self, now_ms: int) -> int:
        """Up to when every channel was heard: `now_ms`, unless some are not joined again since a connection broke."""
        times = [place.since for place in map(self._places.__getitem__, self._due) if not place.gone]
        return min((since for since in times if since is not None), default=now_ms)

    async def wait(self, chat: ChatId, timeout: float) -> Place | None:
        """The place once it is joined or refused, or as it is after `timeout` seconds."""
        place = self._places.get(chat)
        if place is None or place.stage in (Stage.JOINED, Stage.REFUSED):
            return place
        if place.waiters is None:
            place.waiters = asyncio.get_running_loop().create_future()
        await asyncio.wait((place.waiters,), timeout=timeout)
        return self._places.get(chat)

    def _tell(self, place: Place) -> None:
        if place.waiters is not None and not place.waiters.done():
            place.waiters.set_result(None)
        place.waiters = None


def _no_key(chat: ChatId) -> str | None:
    return None


def join_lines(
    chats: Iterable[ChatId], isupport: Isupport, key: Callable[[ChatId], str | None] = _no_key
) -> Iterator[tuple[list[ChatId], bytes]]:
    """Channels in as few JOIN lines as length and TARGMAX allow, each with what it asks for.

    Those with a key go first: keys are given in the order of channels (RFC 2812 section 3.2.1). Raises UnsafeLine for a
    name that is none; ids are made by `NetworkState.chat`, which refuses those, and keys are checked too.
    """
    most = isupport.targmax.get("JOIN") or len(_EVERY)
    group: list[ChatId] = []
    keys: list[str] = []
    size = _OVERHEAD
    for chat in sorted(chats, key=lambda chat: key(chat) is None):
        given = key(chat)
        length = len(chat.encode()) + 1 + (len(given) + 1 if given is not None else 0)
        if group and (size + length > _JOIN_BYTES or len(group) >= most):
            yield group, _join(group, keys)
            group, keys, size = [], [], _OVERHEAD
        group.append(chat)
        keys += [given] if given is not None else []
        size += length
    if group:
        yield group, _join(group, keys)


def _join(chats: list[ChatId], keys: list[str]) -> bytes:
    return serialize("JOIN", ",".join(chats), *([",".join(keys)] if keys else []))


_EVERY: Final = range(1 << 16)
