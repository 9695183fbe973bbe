"""Reads off the loop, on connections of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge_core.api.errors import BridgeError
from bridge_core.store import errors

T = TypeVar("T")


class Reader:
    """A few threads that read. Sees what was committed before the read began."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, "store-reader")

    async def run(self, job: Callable[[Connection], T]) -> T:
        """What `job` returns. Raises TransientError while the database is unavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, job)

    def _call(self, job: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return job(connection)
        except BridgeError:
            raise
        except Exception as error:
            if errors.is_transient(error) or isinstance(error, SQLAlchemyError):
                raise errors.translated(error) from error
            raise

    async def stop(self) -> None:
        """End the threads and close the connections."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()
