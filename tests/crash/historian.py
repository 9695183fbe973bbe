"""A bridge process whose one network keeps history, for tests that kill it while that is being fetched.

Arguments: the configuration, and how many messages have been said by now. A single one is said live.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.network import History
from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from tests.scripted import Script

PAGE = 5


def _said(number: int) -> RemoteMessage:
    content = Content((Plain(f"m{number}"),))
    sender = RemoteSender(RemoteUserId(f"person{number % 3}"))
    return RemoteMessage(ChatId("hall"), sender, content, MessageId(f"m{number}"), int(time.time() * 1000) + number)


async def run(config: Path, count: int) -> None:
    """Run until SIGTERM."""
    script = Script()
    events = [_said(number) for number in range(count)]

    def tell(chat: ChatId, after: bytes | None, limit: int) -> History:
        start = int(after[1:]) + 1 if after is not None else max(0, len(events) - limit)
        told = events[start : start + min(limit, PAGE)]
        end = start + len(told)
        return History(tuple(told), f"m{end - 1}".encode() if end else None, more=end < len(events), public=True)

    script.tell = tell
    bridge = Bridge(load_config(config, {}), adapters={"scripted": script})
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await bridge.start()
    if count == 1:
        while not [portal for portal in bridge.engine.portals.of_network(NetworkId("net")) if portal.rooms]:
            await asyncio.sleep(0.01)
        assert script.inbox is not None
        await script.inbox.receive(events)
    await ended.wait()
    await bridge.stop(asyncio.get_running_loop().time() + 10)


def main(arguments: Sequence[str]) -> int:
    """Run with a configuration and a number; the exit code."""
    asyncio.run(run(Path(arguments[0]), int(arguments[1])))
    return 0
