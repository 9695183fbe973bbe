"""`matrix-bridge run`: run the bridge until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.app.bridge import Bridge
from bridge_core.cli import garbage
from bridge_core.config import Config, LoadedConfig, load_config
from bridge_core.observe.log import setup_logging
from bridge_core.observe.reports import ReportsError, start_reports


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    subparser.add_argument("-c", "--config", type=Path, default=Path("config.yaml"), help="the configuration file")


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the configuration again. 0 after a stop in good order, 1 when it could
    not start."""
    garbage.seldom()
    loaded = load_config(options.config)
    setup_logging(loaded.config.logging.level, loaded.config.logging.format)
    end_reports = _reports(loaded.config)
    if end_reports is None:
        return 1
    try:
        return _run(loaded)
    finally:
        end_reports()


def _reports(config: Config) -> Callable[[], None] | None:
    """Sends errors where that is configured; what ends it. None, with a word in the log, when it cannot be done."""
    dsn = config.observe.sentry_dsn
    if dsn is None:
        return lambda: None
    try:
        return start_reports(dsn.get_secret_value(), config.observe.sentry_environment, version("matrix-bridge-core"))
    except ReportsError as error:
        structlog.get_logger(__name__).error("start_failed", error=str(error))
        return None


def _run(loaded: LoadedConfig) -> int:
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
    stopping, reloading, woken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def wake(what: asyncio.Event) -> None:
        what.set()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wake, stopping)
    # From here on: one that comes while the bridge starts is followed once it has.
    loop.add_signal_handler(signal.SIGHUP, wake, reloading)
    try:
        await bridge.start()
    except (BridgeError, OSError) as error:
        log.error("start_failed", error=str(error))
        return 1
    garbage.set_aside()
    while not stopping.is_set():
        await woken.wait()
        woken.clear()
        if reloading.is_set() and not stopping.is_set():
            reloading.clear()
            try:
                await bridge.reload()
            except Exception:
                log.exception("config_not_reloaded")  # the bridge goes on as it is
    log.info("bridge_stopping", within_seconds=stop_deadline)
    await bridge.stop(loop.time() + stop_deadline)
    return 0
