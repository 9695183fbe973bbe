"""Messages handed to a network whose proof of arrival is still to come."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge_core.api.errors import UnknownOutcomeError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.api.network import Sent
from bridge_core.engine.ports import Delivery, Entry

Ended = Callable[[Entry, Delivery, "asyncio.Future[Sent]"], None]


@dataclass(slots=True)
class Waiting:
    """One message in flight. `ended` is set once it is settled."""

    entry: Entry
    delivery: Delivery
    event: EventId
    sender: UserId
    relayed: bool
    give_up: Callable[["asyncio.Future[Sent]"], None] = lambda _: None
    since: float = 0.0
    """The loop's time when it was handed over."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Confirmations:
    """Keeps what is in flight, per room in order, at most `window` per room and for `patience` seconds."""

    def __init__(self, window: int = 256, patience: float = 300.0) -> None:
        self._window = window
        self._patience = patience
        self._rooms: dict[RoomId, OrderedDict[int, Waiting]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, room: RoomId, waiting: Waiting, confirmation: "asyncio.Future[Sent]", ended: Ended) -> None:
        """Wait for a confirmation without a task; `ended` is called with it when it is there."""
        flight = self._rooms.get(room)
        if flight is None:
            flight = self._rooms[room] = OrderedDict()
        waiting.since = asyncio.get_running_loop().time()
        flight[waiting.delivery.id] = waiting
        self._count += 1

        def done(future: "asyncio.Future[Sent]") -> None:
            if flight.pop(waiting.delivery.id, None) is None:
                return  # it was given up before
            self._count -= 1
            if not flight and self._rooms.get(room) is flight:
                del self._rooms[room]
            try:
                ended(waiting.entry, waiting.delivery, future)
            finally:
                waiting.ended.set()

        waiting.give_up = done
        confirmation.add_done_callback(done)

    def expire(self) -> None:
        """End what has waited too long as of unknown fate: an adapter forgot it. Called every now and then."""
        oldest = asyncio.get_running_loop().time() - self._patience
        for flight in list(self._rooms.values()):
            for waiting in list(flight.values()):
                if waiting.since > oldest:
                    break
                late: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
                late.set_exception(UnknownOutcomeError("the network never said what became of it"))
                waiting.give_up(late)

    async def room_for_one(self, room: RoomId) -> None:
        """Wait while the room has as many messages in flight as it may."""
        while len(flight := self._rooms.get(room, OrderedDict())) >= self._window:
            await next(iter(flight.values())).ended.wait()

    def relayed_by(self, room: RoomId, sender: UserId) -> Waiting | None:
        """The newest message of a sender that the relay has in flight: their own connection waits for it."""
        for waiting in reversed(self._rooms.get(room, OrderedDict()).values()):
            if waiting.sender == sender and waiting.relayed:
                return waiting
        return None

    def of_event(self, room: RoomId, event: EventId) -> Waiting | None:
        """The message in flight that an event became."""
        for waiting in self._rooms.get(room, {}).values():
            if waiting.event == event:
                return waiting
        return None

    async def wait(self, waiting: Waiting, timeout: float) -> bool:
        """Wait at most `timeout` seconds until one message is settled; whether it is."""
        try:
            async with asyncio.timeout(timeout):
                await waiting.ended.wait()
        except TimeoutError:
            return False
        return True

    async def settled(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until nothing is in flight; whether that came about."""
        try:
            async with asyncio.timeout(timeout):
                while self._rooms:
                    flight = next(iter(self._rooms.values()))
                    await next(iter(flight.values())).ended.wait()
        except TimeoutError:
            return False
        return True
