"""What is worth no journal waits here: of each kind of thing only the newest, in bounded queues, one per network."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import structlog

from bridge_core.api.ids import NetworkId
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_WAITING: Final = 10_000
"""Items that wait for one network at most; the oldest is dropped then."""

Key: TypeAlias = tuple[str, ...]
"""What an item would replace; the first part is its kind, for the counter."""
Pass = Callable[[NetworkId, Key, Any], Awaitable[str]]
"""Passes an item on and says how it ended, for the counter: empty when that is counted elsewhere."""


@dataclass(slots=True)
class _Queue:
    waiting: "OrderedDict[Key, Any]" = field(default_factory=OrderedDict)
    running: bool = False


class Latest:
    """Hands items on, one at a time per network. `counter` has the labels network, direction, kind, outcome."""

    def __init__(self, direction: str, hand_on: Pass, tasks: TaskOwner, counter: Counter) -> None:
        self._direction = direction
        self._hand_on = hand_on
        self._tasks = tasks
        self._counter = counter
        self._queues: dict[NetworkId, _Queue] = {}

    def put(self, network: NetworkId, key: Key, item: Any) -> None:
        """Take an item, in place of an older one of the same key. Never blocks."""
        queue = self._queues.get(network)
        if queue is None:
            queue = self._queues[network] = _Queue()
        if queue.waiting.pop(key, None) is not None:
            self._count(network, key, "replaced")
        queue.waiting[key] = item
        if len(queue.waiting) > _WAITING:
            oldest, _ = queue.waiting.popitem(last=False)
            self._count(network, oldest, "dropped")
        if not queue.running:
            queue.running = True
            try:
                self._tasks.start(self._run(network, queue), f"signals:{self._direction}:{network}")
            except RuntimeError:  # the bridge stops
                queue.running = False

    def waits(self, network: NetworkId, key: Key) -> bool:
        """Whether an item of this key waits."""
        queue = self._queues.get(network)
        return queue is not None and key in queue.waiting

    def busy(self) -> int:
        """How many items wait or are being handed on."""
        return sum(len(queue.waiting) + queue.running for queue in self._queues.values())

    async def _run(self, network: NetworkId, queue: _Queue) -> None:
        try:
            while queue.waiting:
                key, item = queue.waiting.popitem(last=False)
                try:
                    outcome = await self._hand_on(network, key, item)
                except Exception as error:
                    # Whatever an adapter or the homeserver makes of one of them, the others go on.
                    reason = str(error) or repr(error)
                    log.info("signal_failed", network=network, to=self._direction, kind=key[0], error=reason)
                    outcome = "failed"
                if outcome:
                    self._count(network, key, outcome)
        finally:
            queue.running = False

    def _count(self, network: str, key: Key, outcome: str) -> None:
        self._counter.inc(network, self._direction, key[0], outcome)
