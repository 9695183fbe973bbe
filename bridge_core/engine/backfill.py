"""What was said in a chat before the bridge was there, or while it was away, fetched from networks that keep it.

A chat is filled when its room is first entered (`initial`) and whenever its client is connected anew (`catch_up`). Its
lane is kept back meanwhile, for at most a minute: history goes before what is said now. Each page is committed
together with the mark behind it, so that a kill loses nothing and brings nothing twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.network import Client, LoginState, LoginStatus
from bridge_core.api.optional import Backfills
from bridge_core.engine.filling import BackfillOptions, Filling
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.marks import Mark, Marks, Todo
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Journal
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 4
"""Chats of one network that are filled at the same time."""
_KEPT: Final = 60.0
"""Seconds that what is said now waits for what was said before; then it goes first, and the past comes late."""
_AGAIN: Final = 300.0
"""Seconds until a chat that could not be filled is tried again."""
_NOTED: Final = 30.0
"""Seconds between writing down how far live chats have come."""
_COMMIT: Final = 500
"""Marks written at once."""


_Latest = list[tuple[PortalKey, tuple[LoginId | None, RemoteEvent]]]


@dataclass(slots=True)
class _Queue:
    """Chats of one network that wait to be filled, by their portal."""

    waiting: "OrderedDict[int, None]" = field(default_factory=OrderedDict)
    working: set[int] = field(default_factory=set)
    workers: int = 0


class Backfill:
    """Decides which chats are filled, and when. Networks whose clients cannot tell history cost a look-up."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        marks: Marks,
        filling: Filling,
        journal: Journal,
        lanes: Lanes,
        clock: Clock,
        tasks: TaskOwner,
        options: Mapping[NetworkId, BackfillOptions],
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._marks = marks
        self._filling = filling
        self._journal = journal
        self._lanes = lanes
        self._clock = clock
        self._tasks = tasks
        self._options = options
        self._able: dict[type, bool] = {}
        self._queues: dict[NetworkId, _Queue] = {}
        self._connected: dict[tuple[NetworkId, LoginId | None], int] = {}
        """Clients that are connected and can tell history, and since when."""
        self._latest: dict[PortalKey, tuple[LoginId | None, RemoteEvent]] = {}
        """What each chat said last, where its mark does not know it yet."""
        self._noting = asyncio.Lock()
        self._behind: set[int] = set()
        """Portals of which something is missing: their marks must not go beyond it."""
        self._again: set[int] = set()
        """Portals that are tried again after a while: each once, however often it fails."""
        self._timers: set[asyncio.TimerHandle] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Read the marks; keep back what must not overtake what an earlier process was fetching."""
        for network in self._networks:
            await self._marks.load(network.id)
        kept = list(self._marks.unfinished())
        for lane in kept:
            self._lanes.keep(lane, 0)
        self._later(_KEPT, self._release, kept)
        self._spawn(self._keep_noted(), "backfill-marks")

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        for timer in self._timers:
            timer.cancel()
        for task in self._running:
            task.cancel()

    def busy(self) -> int:
        """How many chats wait to be filled or are being filled."""
        return sum(len(queue.waiting) + len(queue.working) for queue in self._queues.values())

    def reported(self, network: Network, state: LoginState) -> None:
        """A client's connection changed. Never blocks: from now on its chats are behind, or are being filled."""
        key = (network.id, state.login)
        if state.status is not LoginStatus.CONNECTED:
            if self._connected.pop(key, None) is not None and self._latest:
                self._spawn(self._note(self._taken()), "backfill-marks")
            return
        if key in self._connected or self._client(network.id, state.login) is None:
            return
        self._connected[key] = self._clock.now_ms()
        kept = []
        for portal in self._portals.of_network(network.id):
            filler = self._filler(network, portal) if portal.rooms else None
            if filler is not None and filler[0] == state.login:
                kept.append(_lane(portal))
                self._lanes.keep(kept[-1])
                self._put(network.id, portal.id)
        self._later(_KEPT, self._release, kept)

    def received(self, network: NetworkId, login: LoginId | None, events: Sequence[Any]) -> None:
        """A client's live events were stored. Never blocks: the hot path."""
        if (network, login) not in self._connected:
            return
        for event in events:
            chat = getattr(event, "chat", None)
            key = PortalKey(network, chat, event.receiver) if chat is not None else None
            portal = self._portals.get(key) if key is not None else None
            if key is None or portal is None:
                continue
            if portal.id not in self._behind:
                self._latest[key] = (login, event)
            elif portal.id in self._queues[network].waiting:
                self._queues[network].waiting.move_to_end(portal.id, last=False)  # somebody waits for it

    async def entered(self, event: Mapping[str, Any]) -> None:
        """A membership of a room changed. With the first of Matrix to come, its chats' past is wanted."""
        if event["content"].get("membership") != "join" or self._names.is_ours(UserId(event["state_key"])):
            return
        for portal in self._portals.in_room(RoomId(event["room_id"])):
            network = self._networks.get(portal.network)
            filler = self._filler(network, portal, connected=False) if network is not None else None
            if network is None or filler is None or self._marks.get(portal, filler[0]) is not None:
                continue
            initial = self._option(network.id).initial > 0
            now = self._clock.now_ms()
            mark = Mark(0 if initial else now, now, todo=Todo.INITIAL if initial else Todo.NOTHING)
            await self._journal.append((), (self._marks.write(portal, filler[0], mark),))
            self._marks.put(portal, filler[0], mark)
            if initial:
                self._lanes.keep(_lane(portal))
                self._later(_KEPT, self._release, [_lane(portal)])
                self._put(network.id, portal.id)

    async def note(self) -> None:
        """Write down how far chats have come by what they said live. What is not written is fetched, and known, again.

        A few chats at a time: one commit for all of them, none per message.
        """
        await self._write(self._taken())

    def _taken(self) -> _Latest:
        latest, self._latest = list(self._latest.items()), {}
        return latest

    async def _write(self, latest: _Latest) -> None:
        async with self._noting:
            for start in range(0, len(latest), _COMMIT):
                marks = []
                for key, (login, event) in latest[start : start + _COMMIT]:
                    portal, client = self._portals.get(key), self._client(key.network, login)
                    mark = self._marks.get(portal, login) if portal is not None else None
                    cursor = client.reached(event) if client is not None else None
                    if portal is not None and mark is not None and cursor is not None:
                        marks.append((portal, login, replace(mark, cursor=cursor, at=self._clock.now_ms())))
                await self._journal.append((), [self._marks.write(*one) for one in marks])
                for one in marks:
                    self._marks.put(*one)

    async def _keep_noted(self) -> None:
        while not self._stopping:
            await self._clock.sleep(_NOTED)
            await self._note(self._taken())

    async def _note(self, latest: _Latest) -> None:
        try:
            await self._write(latest)
        except BridgeError as error:
            log.info("backfill_marks_put_off", error=str(error))
        except Exception:
            log.exception("backfill_failed")  # an adapter's bug: more is fetched again than need be

    def _option(self, network: NetworkId) -> BackfillOptions:
        return self._options.get(network, BackfillOptions())

    def _client(self, name: NetworkId, login: LoginId | None) -> Backfills | None:
        network = self._networks.get(name)
        if network is None:
            return None
        client = network.main if login is None else network.client_with(login)
        return cast(Backfills, client) if client is not None and self._can(client) else None

    def _filler(
        self, network: Network, portal: PortalRow, *, connected: bool = True
    ) -> tuple[LoginId | None, Backfills] | None:
        """The client that tells a chat's history, and its login: the owner's, else one for all."""
        for login, client in self._tellers(network, portal):
            if client is None or not self._can(client):
                continue
            if not connected or (network.id, login) in self._connected:
                return login, cast(Backfills, client)
        return None

    def _tellers(self, network: Network, portal: PortalRow) -> Iterable[tuple[LoginId | None, Client | None]]:
        if portal.receiver is not None:
            login = network.login_of(portal.receiver)
            yield portal.receiver, network.client_of(login.user, portal) if login is not None else None
            return
        yield None, network.main
        if network.main is not None and self._can(network.main):
            return
        for login in network.logins():
            if (network.id, login.id) in self._connected:
                yield login.id, cast(Client, self._client(network.id, login.id))

    def _can(self, client: object) -> bool:
        kind = type(client)
        if kind not in self._able:
            self._able[kind] = isinstance(client, Backfills)
        return self._able[kind] and cast(Backfills, client).remembers()

    def _put(self, network: NetworkId, portal: int) -> None:
        queue = self._queues.setdefault(network, _Queue())
        queue.waiting[portal] = None
        self._behind.add(portal)
        row = self._portals.by_id(portal)
        if row is not None:
            self._latest.pop(PortalKey(row.network, row.chat, row.receiver), None)
        if queue.workers < min(_AT_ONCE, len(queue.waiting)):
            queue.workers += 1
            self._spawn(self._work(network, queue), f"backfill:{network}")

    def _try_again(self, network: NetworkId, portal: int) -> None:
        self._again.discard(portal)
        if portal in self._behind:  # else another connection has filled it meanwhile
            self._put(network, portal)

    async def _work(self, name: NetworkId, queue: _Queue) -> None:
        try:
            while not self._stopping:
                number = next((one for one in queue.waiting if one not in queue.working), None)
                if number is None:
                    return
                del queue.waiting[number]
                queue.working.add(number)
                try:
                    done = await self._fill(name, number)
                finally:
                    queue.working.discard(number)
                if number in queue.waiting:
                    continue  # the connection broke meanwhile: there is more to fetch before its lane goes on
                portal = self._portals.by_id(number)
                if portal is not None:
                    self._lanes.release(_lane(portal))
                if done:
                    self._behind.discard(number)
                elif number not in self._again:
                    self._again.add(number)
                    self._later(_AGAIN, self._try_again, name, number)
        finally:
            queue.workers -= 1

    async def _fill(self, name: NetworkId, number: int) -> bool:
        """Fill one chat; whether nothing of it is missing now."""
        network, portal = self._networks.get(name), self._portals.by_id(number)
        filler = self._filler(network, portal) if network is not None and portal is not None and portal.rooms else None
        if portal is None or filler is None:
            return portal is None  # its client's next connection fills it
        login, client = filler
        async with self._noting:  # its mark may just be being written
            pass
        since = self._connected.get((name, login), self._clock.now_ms())
        try:
            await self._filling.fill(portal, login, client, since, self._option(name))
        except BridgeError as error:
            log.warning("backfill_put_off", network=name, chat=portal.chat, error=str(error) or repr(error))
            return False
        except Exception:
            # Whatever an adapter makes of one chat, the others are filled.
            log.exception("backfill_failed", network=name, chat=portal.chat)
            return False
        return True

    def _release(self, lanes: list[str]) -> None:
        for lane in lanes:
            self._lanes.release(lane)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._stopping:
            work.close()
            return
        task = self._tasks.spawn(work, name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _later(self, seconds: float, what: Any, *arguments: Any) -> None:
        if self._stopping:
            return

        def run() -> None:
            self._timers.discard(timer)
            what(*arguments)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)


def _lane(portal: PortalRow) -> str:
    return PortalKey(portal.network, portal.chat, portal.receiver).lane()
