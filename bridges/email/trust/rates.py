"""How much comes from where in an hour: token buckets by address and by the networks around it."""

from collections import OrderedDict
from ipaddress import ip_address
from typing import Final

from bridge_core.api.host import Clock
from bridges.email.config.trust import Rates
from bridges.email.smtp.masks import masks

_MOST: Final = 50_000
"""Buckets that are kept; who was heard of longest ago is forgotten first."""
_HOUR: Final = 3600.0


class PeerRates:
    """Counts in memory; a restart forgives."""

    def __init__(self, settings: Rates, clock: Clock) -> None:
        self._limits = (settings.address, settings.network, settings.region)
        self._exempt = settings.exempt
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, peer: str) -> bool:
        """Count one mail to one recipient; False, and nothing is counted, where a limit is reached."""
        address = ip_address(peer)
        if any(address in network for network in self._exempt):
            return True
        now = self._clock.monotonic()
        taken = []
        for key, limit in zip(masks(peer), self._limits, strict=True):
            if not limit:
                continue
            left, at = self._buckets.get(key, (float(limit), now))
            left = min(float(limit), left + (now - at) * limit / _HOUR) - 1
            if left < 0:
                return False
            taken.append((key, left))
        for key, left in taken:
            self._buckets[key] = (left, now)
            self._buckets.move_to_end(key)
        while len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return True
