"""`matrix-bridge run`: run the bridge until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.app.bridge import Bridge
from bridge_core.cli import garbage
from bridge_core.config import load_config
from bridge_core.observe.log import setup_logging


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    subparser.add_argument("-c", "--config", type=Path, default=Path("config.yaml"), help="the configuration file")


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; 0 after a stop in good order, 1 when it could not start."""
    garbage.seldom()
    loaded = load_config(options.config)
    setup_logging(loaded.config.logging.level, loaded.config.logging.format)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(Bridge(loaded), loaded.config.limits.stop_deadline))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32" or sys.implementation.name != "cpython":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _serve(bridge: Bridge, stop_deadline: float) -> int:
    log = structlog.get_logger(__name__)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await bridge.start()
    except (BridgeError, OSError) as error:
        log.error("start_failed", error=str(error))
        return 1
    garbage.set_aside()
    await stopping.wait()
    log.info("bridge_stopping", within_seconds=stop_deadline)
    await bridge.stop(loop.time() + stop_deadline)
    return 0
