"""Fault points that kill this process as the power going off would."""

import os
import signal
import threading
from collections.abc import Mapping

KILL_AT = "MATRIX_BRIDGE_KILL_AT"


class KillingFaults:
    """Kills the process with SIGKILL when the place `name` is reached for the `count`-th time.

    The environment variable MATRIX_BRIDGE_KILL_AT is `name` or `name:count`. `reached` counts every place.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._name, _, count = environment.get(KILL_AT, "").partition(":")
        self._left = int(count or 1)
        self._lock = threading.Lock()
        self.reached: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """Count the place; do not return from the one to be killed at."""
        with self._lock:
            self.reached[name] = self.reached.get(name, 0) + 1
            if name != self._name:
                return
            self._left -= 1
            if self._left:
                return
            os.kill(os.getpid(), signal.SIGKILL)
