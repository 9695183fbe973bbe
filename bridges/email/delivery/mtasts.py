"""MTA-STS (RFC 8461): domains that say which servers are theirs, and that TLS to them must be good."""

import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import KV, Clock, GuardedHttp

_RECORD: Final = re.compile(r"v=STSv1\s*;.*?\bid=([A-Za-z0-9]{1,32})\s*(?:;|$)")
_LARGEST: Final = 64 * 1024
_LONGEST_AGE: Final = 31_557_600
_PREFIX: Final = "mta-sts/"


class Texts(Protocol):
    """What is asked of DNS."""

    async def txt(self, name: str) -> Any:
        """The texts at a name; raises where there are none, or no answer."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """What a domain asks for. `until` is when it is forgotten, in milliseconds since 1970."""

    id: str
    mode: str
    hosts: tuple[str, ...]
    until: int

    @property
    def enforced(self) -> bool:
        """Whether mail may go nowhere else."""
        return self.mode == "enforce"

    def allows(self, host: str) -> bool:
        """Whether a server is theirs; `*.` stands for one label."""
        host = host.lower().rstrip(".")
        rest = host.partition(".")[2]
        return any(host == one or (one.startswith("*.") and rest == one[2:]) for one in self.hosts)


class Policies:
    """Fetches policies and remembers them in the store, as long as they say."""

    def __init__(self, names: Texts, http: GuardedHttp, kv: KV, clock: Clock) -> None:
        self._names = names
        self._http = http
        self._kv = kv
        self._clock = clock

    async def of(self, domain: str) -> StsPolicy | None:
        """The policy of a domain; None where it has none. One that is known holds while DNS or the web is away."""
        known = await self._known(domain)
        try:
            texts = await self._names.txt(f"_mta-sts.{domain}")
        except Exception:
            # Whatever the resolver raises: who blocks DNS must not switch TLS off.
            return known
        found = [match[1] for text in texts if (match := _RECORD.match(text)) is not None]
        if len(found) != 1 or (known is not None and known.id == found[0]):
            return known
        return await self._fetched(domain, found[0]) or known

    async def _known(self, domain: str) -> StsPolicy | None:
        row = await self._kv.get(_PREFIX + domain)
        if row is None:
            return None
        name, mode, hosts, until = orjson.loads(row)
        if until < self._clock.now_ms():
            await self._kv.put(_PREFIX + domain, None)
            return None
        return StsPolicy(name, mode, tuple(hosts), until)

    async def _fetched(self, domain: str, name: str) -> StsPolicy | None:
        try:
            answer = await self._http.request(
                "GET", f"https://mta-sts.{domain}/.well-known/mta-sts.txt", limit=_LARGEST
            )
        except BridgeError:
            return None
        policy = read_policy(answer.body, name, self._clock.now_ms()) if answer.status == 200 else None
        if policy is not None:
            row = orjson.dumps([policy.id, policy.mode, policy.hosts, policy.until])
            await self._kv.put(_PREFIX + domain, row)
        return policy


def read_policy(body: bytes, name: str, now: int) -> StsPolicy | None:
    """The policy in a file (RFC 8461, 3.2); None where it is none."""
    values: dict[str, list[str]] = {}
    for line in body.decode(errors="replace").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), []).append(value.strip())
    age = values.get("max_age", [""])[0]
    mode = values.get("mode", [""])[0]
    hosts = tuple(one.lower().rstrip(".") for one in values.get("mx", ()))
    fits = values.get("version", [""])[0] == "STSv1" and mode in {"enforce", "testing", "none"}
    if not fits or not re.fullmatch(r"\d{1,10}", age) or (mode != "none" and not hosts):
        return None
    return StsPolicy(name, mode, hosts, now + min(int(age), _LONGEST_AGE) * 1000)
