"""Strict transport security (IRCv3 sts): a server that asked for TLS is never again spoken to without it."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme

from bridge_core.api.errors import BridgeError
from bridge_core.api.network import LoginStatus
from bridge_core.testing.memory import MemoryKV
from bridges.irc.access.sts import Offer, StsPolicies, read_offer
from tests.bridges.irc.fronts import Front
from tests.bridges.irc.rig import Rig, StartServer, eventually

HOST = "127.0.0.1"


class Site:
    """A server with a port without and one with TLS, which say what they are told to of STS."""

    def __init__(self, backend: int, context: ssl.SSLContext, ca: str) -> None:
        self.on_plain = ""
        self.on_tls = ""
        self.kv = MemoryKV()
        self.ca = ca
        self.context = context
        self.plain = Front(backend, changes=lambda data: self._offer(data, self.on_plain))
        self.tls = Front(backend, changes=lambda data: self._offer(data, self.on_tls))

    @staticmethod
    def _offer(data: bytes, value: str) -> bytes:
        return data.replace(b" LS :", b" LS :sts=%b " % value.encode()) if value else data

    async def start(self) -> None:
        await self.plain.listen()
        await self.tls.listen(tls=self.context)
        self.on_plain = f"port={self.tls.port},duration=77"
        self.on_tls = "duration=3600,port=1"

    async def stop(self) -> None:
        await self.plain.stop()
        await self.tls.stop()

    @contextlib.asynccontextmanager
    async def adapter(self, **config: Any) -> AsyncIterator[Rig]:
        """An adapter that is configured without TLS, with what earlier ones stored."""
        made = Rig(config.pop("at", self.plain.port), **{"tls_ca": self.ca, **config})
        made.host.kv = self.kv
        try:
            yield made
        finally:
            await made.stop()

    @property
    def connections(self) -> tuple[int, int]:
        """Without and with TLS, since asked last."""
        found = self.plain.connections, self.tls.connections
        self.plain.connections = self.tls.connections = 0
        return found

    @property
    def policy(self) -> list[int] | None:
        value = self.kv.values.get(f"sts/{HOST}")
        return None if value is None else json.loads(value)


@pytest_asyncio.fixture
async def site(serve: StartServer, tmp_path: Path) -> AsyncIterator[Site]:
    """A server with STS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    server = await serve()
    made = Site(server.port or 0, context, str(tmp_path / "ca.pem"))
    await made.start()
    yield made
    await made.stop()


async def test_plain_text_is_left_at_once_and_for_good(site: Site) -> None:
    """After one look the bot and all users connect with TLS only, after a restart from the first connection on."""
    async with site.adapter() as adapter:
        await adapter.start()
        await adapter.puppet("@anna:hs.test")
        assert site.connections == (1, 2)
    assert site.policy is not None and site.policy[:2] == [site.tls.port, 3600]
    async with site.adapter() as adapter:
        await adapter.start()
        await adapter.puppet("@anna:hs.test")
        assert site.connections == (0, 2)


async def test_the_end_of_the_last_connection_is_stored(site: Site) -> None:
    """A long connection does not outlive its policy: when the bridge stops, the time begins anew."""
    late = 1_900_000_000_000
    async with site.adapter() as adapter:
        times = [late - 3_000_000]
        adapter.host.clock.now_ms = lambda: times[0]  # type: ignore[method-assign]
        await adapter.start()
        await eventually(lambda: site.policy is not None)
        policy = site.policy
        assert policy is not None and policy[2] == late + 600_000
        times[0] = late
        await adapter.observer.disconnect()
        await adapter.connector.stop(0)
        assert site.policy == [policy[0], policy[1], late + 3_600_000]


async def test_no_way_back_to_plain_text(site: Site, tmp_path: Path) -> None:
    """While the policy holds, a certificate that cannot be checked means no connection at all."""
    async with site.adapter() as adapter:
        await adapter.start()
    assert site.connections == (1, 1)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    async with site.adapter(tls_ca=str(tmp_path / "other.pem"), tls_verify=False) as adapter:
        await adapter.connector.start(adapter.host, adapter.inbox)  # type: ignore[arg-type]
        adapter.observer = adapter.connector.client(None, adapter.inbox)  # type: ignore[assignment]
        await adapter.observer.connect(None)
        state = await adapter.inbox.status(LoginStatus.DISCONNECTED, count=3)
        assert "certificate" in state.reason
        assert site.plain.connections == 0


@pytest.mark.parametrize("end", ["expired", "withdrawn", "disabled"])
async def test_the_policy_ends_as_the_server_said(site: Site, end: str) -> None:
    """When its time is over, when the server takes it back, or when the admin switches it off."""
    async with site.adapter() as adapter:
        await adapter.start()
    if end == "expired":
        site.kv.values[f"sts/{HOST}"] = json.dumps([site.tls.port, 3600, 1]).encode()
    elif end == "withdrawn":
        site.on_tls = "duration=0"
        async with site.adapter() as adapter:
            await adapter.start()
        assert site.policy is None
    assert site.connections[0] == 1
    site.on_plain = ""
    async with site.adapter(sts=end != "disabled") as adapter:
        await adapter.start()
    assert site.connections == (1, 0)


async def test_nothing_is_kept_of_a_server_that_proves_nothing(site: Site) -> None:
    """Over TLS without a check of the certificate anybody may have set the policy: it is not stored."""
    async with site.adapter(at=site.tls.port, tls=True, tls_verify=False) as adapter:
        await adapter.start()
        await adapter.puppet("@anna:hs.test")
    assert site.connections == (0, 2)
    assert site.policy is None
    async with site.adapter(at=site.tls.port, tls=True) as adapter:
        await adapter.start()
        await eventually(lambda: site.policy is not None)


async def test_an_upgrade_alone_is_not_kept(site: Site) -> None:
    """A server that says on its TLS port nothing of a time is spoken to with TLS now, and asked again later."""
    site.on_tls = ""
    for _ in range(2):
        async with site.adapter() as adapter:
            await adapter.start()
        assert site.connections == (1, 1)
    assert site.policy is None


async def test_a_server_that_offers_it_later_is_left_then(serve: StartServer, site: Site) -> None:
    """STS that comes with CAP NEW is obeyed too."""
    offer, site.on_plain = site.on_plain, ""
    original = site.plain._changes
    site.plain._changes = lambda data: original(data).replace(b"NEW :setname", f"NEW :sts={offer}".encode())
    server = await serve()
    site.plain.backend = site.tls.backend = server.port or 0
    async with site.adapter() as adapter:
        await adapter.start()
        everything = server.world.capabilities
        server.set_capabilities(everything - {"setname"})
        site.on_plain = offer
        server.set_capabilities(everything)
        await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
        assert site.connections == (1, 1)


@pytest.mark.parametrize(
    ("value", "offer"),
    [
        ("port=6697", Offer(6697, None)),
        ("duration=2592000,port=6697,preload", Offer(6697, 2592000)),
        ("duration=0", Offer(None, 0)),
        ("", Offer()),
        ("port=0,duration=-1", Offer()),
        ("port=70000,duration=1e3", Offer()),
        ("port=6697,port=1,duration", Offer()),
        ("duration=999999999999", Offer(None, 315360000)),
        ("duration=" + "9" * 5000, Offer()),
        ("port=６６９７", Offer()),
    ],
)
def test_values_are_read_strictly(value: str, offer: Offer) -> None:
    """What is malformed or comes twice says nothing; unknown words are passed over."""
    assert read_offer(value) == offer


async def test_the_time_counts_from_the_end_of_the_connection() -> None:
    """A policy holds for its duration after the last connection; many that end at once are stored once."""
    kv, now = MemoryKV(), [0]
    policies = StsPolicies(kv, lambda: now[0])
    assert policies.confirmed("Irc.Test", 6697, Offer(duration=1000))
    await policies.store("Irc.Test")
    now[0] = 999_000
    assert policies.closed("irc.test")
    await policies.store("irc.test")
    assert not any(policies.closed("irc.test") for _ in range(1000))
    now[0] = 1_998_000
    fresh = StsPolicies(kv, lambda: now[0])
    await fresh.load()
    assert policies.port("IRC.test") == fresh.port("irc.test") == 6697
    now[0] = 1_999_000
    assert policies.port("irc.test") is fresh.port("irc.test") is None
    await StsPolicies(kv, lambda: now[0]).load()
    assert kv.values == {}


async def test_a_damaged_policy_stops_the_network() -> None:
    """Whether plain text is allowed is not known then: fail closed."""
    kv = MemoryKV()
    kv.values["sts/irc.test"] = b"nonsense"
    load: Callable[[], Any] = StsPolicies(kv, lambda: 0).load
    with pytest.raises(BridgeError, match=r"sts/irc\.test is damaged"):
        await load()
