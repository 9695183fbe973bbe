"""What devices are sent, asked for by /sync: nothing that fails ends it, and what was not taken is not lost."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import UserId
from bridge_core.crypto.ports import Owner
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import KeyValues
from bridge_core.matrix.cryptosync import DeviceSync, Watched
from bridge_core.matrix.keys import Synced
from bridge_core.matrix.transaction import Transaction
from bridge_core.observe.metrics import Metrics
from tests.unit.matrix.doubles import Clock, Sink

BOT, ANN, BEN, CAL = (Owner(UserId(f"@{name}:hs.test"), "DEVICE") for name in ("bot", "ann", "ben", "cal"))


class Ticking(Clock):
    """Sleeps in no time, but not before the loop has gone round."""

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await asyncio.sleep(0)


class Server:
    """Answers with nothing new, or raises what it was told, once per device."""

    def __init__(self) -> None:
        self.asked: list[Owner] = []
        self.errors: dict[Owner, BaseException] = {}

    async def sync(self, owner: Owner, since: str | None, *, wait: float = 0) -> Synced:
        self.asked.append(owner)
        if owner in self.errors:
            raise self.errors[owner]
        return Synced("s1", [], {}, {}, {})


class Nothing:
    """A key-value store in which nothing is."""

    async def get(self, namespace: str, key: str) -> bytes | None:
        return None

    def write(self, namespace: str, key: str, value: bytes) -> Write:
        return Write("kv_put", (namespace, key, value))


def sync_of(server: Server) -> DeviceSync:
    async def take(found: Synced, writes: tuple[Write, ...]) -> None:
        pass

    async def owners() -> list[Owner]:
        return [BOT, ANN, BEN, CAL]

    counted = Metrics().counter("syncs", "", ["result"])
    return DeviceSync(server, take, cast(KeyValues, Nothing()), BOT, owners, Ticking(), counted, polls=True)


@pytest.mark.parametrize("error", [MatrixRejectedError("M_FORBIDDEN", "deactivated", 403), TransientError("502")])
async def test_a_ghost_that_fails_keeps_no_others_from_their_keys(error: Exception) -> None:
    """Those behind it are asked for in the same round."""
    server = Server()
    server.errors[ANN] = error
    await sync_of(server).ask_ghosts()
    assert server.asked == [ANN, BEN, CAL]


async def test_a_bug_with_one_ghost_is_raised_when_all_were_asked_for() -> None:
    """So that it is seen, and costs one device at most."""
    server = Server()
    server.errors[ANN] = KeyError("next_batch")
    with pytest.raises(KeyError):
        await sync_of(server).ask_ghosts()
    assert server.asked == [ANN, BEN, CAL]


async def test_device_lists_of_a_transaction_that_was_not_taken_are_not_lost() -> None:
    """It comes again without them: whoever they are of is asked about anew; what was taken is told of nobody twice."""
    told: list[Mapping[str, Any]] = []
    sink = Sink()
    watched = Watched(sink, sync_of(Server()), lambda: None, told.append)
    lists = {"changed": ["@alice:hs.test"], "left": []}
    sink.error = TransientError("earlier transactions were left behind")
    with pytest.raises(TransientError):
        await watched.accept(Transaction("2", b"", [], [], [], lists, {}, {}))
    assert told == [lists]
    sink.error = None
    await watched.accept(Transaction("3", b"", [], [], [], lists, {}, {}))
    assert told == [lists]
