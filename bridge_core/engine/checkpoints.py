"""How deliveries go, pushed to an HTTP endpoint in the form other bridges use; never waited for by a delivery.

Source: mautrix-go bridgev2, status/messagecheckpoint.go: `{"checkpoints": [...]}`, times in milliseconds.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId
from bridge_core.engine.ports import Outcome
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_QUEUED: Final = 10_000
_BATCH: Final = 100
_LONGEST: Final = 60.0
_LONGEST_INFO: Final = 500


class Push(Protocol):
    """Posts JSON to an address of the configuration."""

    async def post(self, url: str, body: bytes) -> None:
        """Return when it was taken. Waits for a bounded time.

        Raises TransientError or RateLimitedError to be tried again, RejectedError when that would not help.
        """


class CheckpointPush:
    """A bounded queue and one task that empties it. What is too much is dropped, oldest first, and counted."""

    def __init__(self, url: str, push: Push, clock: Clock, tasks: TaskOwner, dropped: Counter) -> None:
        self._url = url
        self._push = push
        self._clock = clock
        self._tasks = tasks
        self._dropped = dropped
        self._queue: deque[dict[str, Any]] = deque()
        self._running = False

    def ended(self, event: Mapping[str, Any], network: str, outcome: Outcome, reason: str, tries: int) -> None:
        """As `status.Checkpoints.ended`."""
        status = "SUCCESS" if outcome is Outcome.DELIVERED else "PERM_FAILURE"
        self._add(event, network, status, reason, tries)

    def waiting(self, event: Mapping[str, Any], network: str, reason: str, tries: int) -> None:
        """As `status.Checkpoints.waiting`."""
        self._add(event, network, "WILL_RETRY", reason, tries)

    def taken(self, event: Mapping[str, Any], network: str) -> None:
        """As `status.Checkpoints.taken`."""
        self._add(event, network, "SUCCESS", "", 1, step="BRIDGE")

    def arrived(self, room: RoomId, event: EventId, network: str) -> None:
        """As `status.Checkpoints.arrived`. What kind of event it was is not remembered: messages mostly."""
        about = {"event_id": event, "room_id": room, "type": "m.room.message", "content": {}}
        self._add(about, network, "DELIVERED", "", 1)

    def __len__(self) -> int:
        return len(self._queue)

    def _add(
        self, event: Mapping[str, Any], network: str, status: str, info: str, tries: int, *, step: str = "REMOTE"
    ) -> None:
        checkpoint = {
            "event_id": event["event_id"],
            "room_id": event["room_id"],
            "step": step,
            "timestamp": self._clock.now_ms(),
            "status": status,
            "event_type": event["type"],
            "reported_by": "BRIDGE",
            "retry_num": max(tries - 1, 0),
            "network": network,
        }
        if event["type"] == "m.room.message" and isinstance(event["content"].get("msgtype"), str):
            checkpoint["message_type"] = event["content"]["msgtype"][:64]
        if info:
            checkpoint["info"] = info[:_LONGEST_INFO]
        if len(self._queue) == _QUEUED:
            self._queue.popleft()
            self._dropped.inc()
        self._queue.append(checkpoint)
        if not self._running:
            self._running = True
            self._tasks.start(self._send(), "checkpoints")

    async def _send(self) -> None:
        failures = 0
        try:
            while self._queue:
                batch = [self._queue[index] for index in range(min(_BATCH, len(self._queue)))]
                delay = await self._posted(batch, failures)
                if delay:
                    failures += 1
                    await self._clock.sleep(delay)
                    continue
                failures = 0
                # Those that were dropped meanwhile for want of room were the oldest: of this batch.
                sent = {id(one) for one in batch}
                while self._queue and id(self._queue[0]) in sent:
                    self._queue.popleft()
        finally:
            self._running = False

    async def _posted(self, batch: list[dict[str, Any]], failures: int) -> float:
        """How long to wait before trying again; 0 when the batch is done with."""
        try:
            await self._push.post(self._url, orjson.dumps({"checkpoints": batch}))
        except RateLimitedError as error:
            return min(max(error.retry_after, 1.0), 10 * _LONGEST)
        except TransientError as error:
            if not failures:
                log.warning("checkpoints_not_pushed", error=str(error), waiting=len(self._queue))
            return float(min(2.0 ** min(failures, 10), _LONGEST))
        except BridgeError as error:
            log.warning("checkpoints_refused", error=str(error), lost=len(batch))
            self._dropped.inc(by=len(batch))
        return 0.0
