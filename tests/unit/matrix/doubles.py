"""What tests of the Matrix side put in place of the layers around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge_core.api.ids import UserId
from bridge_core.matrix.media import StoredAddress
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.transaction import Transaction
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile

GHOST = UserId("@_irc_ann:hs.test")


class Clock:
    """A clock the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class Keys:
    """MediaKeys in memory; `log` shows the order of what was stored."""

    def __init__(self) -> None:
        self.known: dict[str, StoredAddress] = {}

    async def get(self, key: str) -> StoredAddress | None:
        return self.known.get(key)

    async def put(self, key: str, address: StoredAddress) -> None:
        self.known[key] = address


class Sink:
    """A TransactionSink that remembers, or raises `error`."""

    def __init__(self) -> None:
        self.accepted: list[Transaction] = []
        self.error: Exception | None = None

    async def accept(self, txn: Transaction) -> None:
        if self.error is not None:
            raise self.error
        self.accepted.append(txn)


@asynccontextmanager
async def side_of(
    fake: FakeHomeserver, keys: Keys | None = None, clock: Clock | None = None
) -> AsyncIterator[AppserviceSide]:
    """A started and checked Matrix side in front of a fake homeserver."""
    side = AppserviceSide(
        address=fake.url,
        as_token=fake.appservice.as_token,
        bot=UserId(fake.bot),
        media_keys=keys or Keys(),
        clock=clock or Clock(),
        timeout=5,
    )
    await side.start()
    try:
        await side.check()
        yield side
    finally:
        await side.stop()


@asynccontextmanager
async def fake_with_side(profile: FakeProfile | None = None) -> AsyncIterator[tuple[FakeHomeserver, AppserviceSide]]:
    """Both."""
    async with FakeHomeserver(profile=profile) as fake, side_of(fake) as side:
        yield fake, side
