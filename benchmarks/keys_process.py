"""The bridge's encryption alone, with many ghosts: no bridge around it, a homeserver of dictionaries.

``python -m benchmarks.keys_process SETTINGS.json`` fills a database with ghosts that have keys (``make``), or tells its
own memory with them: idle, loaded, and having spoken. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import structlog
import uvloop

from benchmarks.cpu import memory
from benchmarks.key_peers import household
from benchmarks.stub_keys import DeviceKeys
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import OurDevice
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.crypto.machine import CryptoMachine
from bridge_core.crypto.olm import Account
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import Claimed, KeyServer, Owner, Queried, Row, SecretRow
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.faults import NoFaults
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal

_DEVICE = "BRIDGE"
_ROOM = RoomId("!keys:bench.test")
_READER = UserId("@reader:bench.test")
_BATCH = 500


class Server:
    """What of `KeyServer` is used without a backup. What ghosts upload is dropped: the bridge is measured."""

    def __init__(self) -> None:
        self._keys = DeviceKeys()
        for user, device, body, identity in household(_READER, 1, once=5)[1]:
            self._keys.upload(user, device, body)
            self._keys.sign(user, identity)

    async def upload_keys(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, int]:
        """Drop them."""
        return {}

    async def query_keys(self, owner: Owner, users: Sequence[UserId]) -> Queried:
        """The reader's."""
        found = self._keys.query(dict.fromkeys(users))
        return Queried(found["device_keys"], found["master_keys"], found["self_signing_keys"], {})

    async def claim_keys(self, owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Claimed:
        """The reader's fallback key."""
        return Claimed(self._keys.claim({str(user): devices for user, devices in wanted.items()})["one_time_keys"])

    async def send_to_device(
        self, owner: Owner, event_type: str, txn: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """Drop them."""

    async def upload_cross_signing(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """Drop it."""

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Drop them."""
        return {}


def ghost(number: int) -> Owner:
    """A ghost's device."""
    return Owner(UserId(f"@_irc_c0n{number}:bench.test"), _DEVICE)


async def _make(machine: CryptoMachine, database: Database, count: int) -> None:
    """Commit what ghosts have that have keys, and an identity each."""
    epoch = await machine.cross.epoch()
    for start in range(0, count, _BATCH):
        rows: list[Row] = []
        for number in range(start, min(start + _BATCH, count)):
            device = OurDevice(ghost(number))
            device.account = Account()
            device.account.add_one_time_keys(10)
            device.account.add_fallback_key()
            device.account.published()
            device.uploaded, device.epoch = True, epoch
            identity = await machine.cross.identity(device.owner.user)
            state = {"generation": 0, "master": identity.master.public}
            rows += [
                machine.accounts.row(device),
                SecretRow(f"identity/{device.owner.user}", orjson.dumps(state)),
            ]
        await database.crypto.commit(rows)


def _kib() -> int:
    gc.collect()
    return memory(os.getpid()).rss


async def _weigh(machine: CryptoMachine, count: int) -> dict[str, Any]:
    """Bytes of all ghosts idle, then KiB with so many of them loaded, and after these have spoken.

    Idle ones are what Python keeps: reading their names fills the database's cache too, which has a size of its own.
    """
    warm, measured = 50, range(50, 50 + count)

    async def speak(number: int) -> None:
        owner = ghost(number)
        body = orjson.dumps({"msgtype": "m.text", "body": "hello"})
        request = SendRequest(_ROOM, "m.room.message", "t", owner.user, owner.device, body)
        await machine.encrypt(request, frozenset({_READER}))

    tracemalloc.start()
    await machine.start()
    gc.collect()
    found: dict[str, Any] = {"idle": tracemalloc.get_traced_memory()[0], "made": machine.accounts.made}
    tracemalloc.stop()
    await machine.room_encrypted(_ROOM, {"algorithm": "m.megolm.v1.aes-sha2"})
    for number in range(warm):
        await speak(number)
    before = _kib()
    for number in measured:
        await machine.accounts.ready(ghost(number))
    found["loaded"] = _kib() - before
    for number in measured:
        await speak(number)
    found["spoken"] = _kib() - before
    return found


async def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Do what the settings say."""
    database = Database(DatabaseSettings(settings["database"]), Seal(settings["secret"]))
    await database.start()
    tasks = TaskOwner("keys")
    count = settings["count"]
    machine = CryptoMachine(
        database.crypto,
        cast(KeyServer, Server()),
        Owner(UserId("@bridgebot:bench.test"), _DEVICE),
        lambda user: user.startswith(("@_irc_", "@bridgebot:")),
        SystemClock(),
        Policy(loaded_accounts=count + 100, loaded_outbound=count + 100),
        CryptoCounts(Metrics()),
        tasks,
        lambda room, session: None,
        lambda room, devices: None,
        NoFaults(),
    )
    try:
        if settings["cmd"] == "make":
            await _make(machine, database, count)
            return {"made": count}
        return await _weigh(machine, count)
    finally:
        await machine.stop()
        await tasks.close(asyncio.get_running_loop().time() + 5)
        await database.stop()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(json.dumps(uvloop.run(run(json.loads(Path(sys.argv[1]).read_text())))), flush=True)
