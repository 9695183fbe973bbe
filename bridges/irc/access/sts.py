"""Strict transport security (IRCv3 sts): a server that once asked for TLS is never again spoken to without it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import KV

log = structlog.get_logger(__name__)
_KEY: Final = "sts/"
_LONGEST: Final = 10 * 365 * 86400
_WORTH_WRITING: Final = 60_000
"""Milliseconds that an expiry must move to be stored again: a thousand connections may end at once."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The value of the capability: a `port` for TLS, a `duration` in seconds; None for what it does not say."""

    port: int | None = None
    duration: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a host: the port for TLS, for how long after the last connection, and until when for now."""

    port: int
    duration: int
    until_ms: int


def read_offer(value: str) -> Offer:
    """The capability's value. Unknown and malformed tokens, and keys that come twice, are passed over."""
    found: dict[str, int | None] = {}
    for token in value.split(",")[:32]:
        key, _, number = token.partition("=")
        if key in ("port", "duration"):
            valid = number.isascii() and number.isdigit() and len(number) <= 12
            found[key] = int(number) if valid and key not in found else None
    port, duration = found.get("port"), found.get("duration")
    return Offer(
        port if port is not None and 0 < port < 65536 else None,
        min(duration, _LONGEST) if duration is not None else None,
    )


class StsPolicies:
    """The policies of one network's hosts, which outlive a restart."""

    def __init__(self, kv: KV, now_ms: Callable[[], int]) -> None:
        self._kv = kv
        self._now_ms = now_ms
        self._policies: dict[str, Policy] = {}
        self._stored: dict[str, Policy] = {}
        self._upgrades: dict[str, int] = {}

    async def load(self) -> None:
        """Reads what earlier processes learnt. Raises BridgeError for what cannot be read: plain text is not tried."""
        for key, value in (await self._kv.items(_KEY)).items():
            try:
                port, duration, until = (int(number) for number in json.loads(value))
            except (ValueError, TypeError):
                raise BridgeError(f"the stored STS policy {key} is damaged; remove it to go on") from None
            policy = Policy(port, duration, until)
            if until <= self._now_ms():
                await self._kv.put(key, None)
                continue
            self._policies[key.removeprefix(_KEY)] = self._stored[key.removeprefix(_KEY)] = policy

    def port(self, host: str) -> int | None:
        """The port for TLS where a host must be spoken to with TLS only; None where it need not."""
        host = host.lower()
        policy = self._policies.get(host)
        if policy is not None and policy.until_ms > self._now_ms():
            return policy.port
        return self._upgrades.get(host)

    def upgrade(self, host: str, offer: Offer) -> bool:
        """A host said on a connection without TLS where it has it; whether we must go there.

        Kept for the life of this process only: on a connection without TLS anybody may have said so.
        """
        if offer.port is None:
            return False
        self._upgrades[host.lower()] = offer.port
        return True

    def confirmed(self, host: str, port: int, offer: Offer) -> bool:
        """A host said on a secure connection to `port` how long it must be secure; 0 seconds ends that.

        Whether to `store` it.
        """
        host = host.lower()
        if offer.duration is None:
            return False
        if offer.duration == 0:
            self._policies.pop(host, None)
            return host in self._stored
        self._policies[host] = Policy(port, offer.duration, self._now_ms() + offer.duration * 1000)
        return self._moved(host)

    def closed(self, host: str) -> bool:
        """A secure connection ended: its policy holds for its whole duration from now. Whether to `store` that."""
        host = host.lower()
        policy = self._policies.get(host)
        if policy is None:
            return False
        self._policies[host] = Policy(policy.port, policy.duration, self._now_ms() + policy.duration * 1000)
        return self._moved(host)

    async def store(self, host: str) -> None:
        """Stores what holds for a host now, unless what is stored is nearly the same. Never raises BridgeError."""
        host = host.lower()
        policy = self._policies.get(host)
        if policy is None:
            if self._stored.pop(host, None) is not None:
                await self._put(host, None)
        elif self._moved(host):
            self._stored[host] = policy
            await self._put(host, json.dumps([policy.port, policy.duration, policy.until_ms]).encode())

    def _moved(self, host: str) -> bool:
        """Whether a policy is another one than the stored one, or holds for notably longer."""
        policy, stored = self._policies[host], self._stored.get(host)
        if stored is None or (stored.port, stored.duration) != (policy.port, policy.duration):
            return True
        return policy.until_ms - stored.until_ms >= min(_WORTH_WRITING, policy.duration * 100)

    async def _put(self, host: str, value: bytes | None) -> None:
        try:
            await self._kv.put(_KEY + host, value)
        except BridgeError as error:
            # It holds for this process; the next connection that ends tries again.
            self._stored.pop(host, None)
            log.warning("irc_sts_not_stored", host=host, error=str(error))
