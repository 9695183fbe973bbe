"""DNS for delivery: what is not there is told from what does not answer."""

from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.name
import dns.resolver
import pytest

from bridges.email.delivery.hops import MissingNameError, NameTroubleError
from bridges.email.delivery.names import DnsNames

ANSWERS: dict[tuple[str, str], Any] = {
    ("there.test", "MX"): [SimpleNamespace(preference=10, exchange=dns.name.from_text("mx.there.test."))],
    ("mx.there.test", "A"): [SimpleNamespace(address="192.0.2.1")],
    ("mx.there.test", "AAAA"): dns.resolver.NoAnswer(),
    ("half.test", "A"): [SimpleNamespace(address="192.0.2.2")],
    ("half.test", "AAAA"): dns.resolver.NoNameservers(),
    ("slow.test", "A"): dns.exception.Timeout(),
    ("slow.test", "AAAA"): dns.resolver.NoAnswer(),
    ("_mta-sts.there.test", "TXT"): [SimpleNamespace(strings=(b"v=STSv1; ", b"id=1;"))],
}


class Resolver:
    """Answers from the table; what is not in it does not exist."""

    async def resolve(self, name: str, kind: str, lifetime: float) -> Any:
        answer = ANSWERS.get((name, kind), dns.resolver.NXDOMAIN())
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def names() -> DnsNames:
    found = DnsNames()
    found._resolver = Resolver()  # type: ignore[assignment]
    return found


async def test_records_are_read(names: DnsNames) -> None:
    """Exchangers with their preference, addresses of whatever family there is, texts put together."""
    assert await names.mx("there.test") == [(10, "mx.there.test.")]
    assert await names.addresses("mx.there.test") == ["192.0.2.1"]
    assert await names.addresses("half.test") == ["192.0.2.2"]
    assert await names.txt("_mta-sts.there.test") == ["v=STSv1; id=1;"]


async def test_what_is_not_there_is_not_trouble(names: DnsNames) -> None:
    """A name without records is missing; one that does not answer is trouble, also where only half of it does not."""
    for asked in (names.mx("no.test"), names.txt("no.test"), names.addresses("no.test")):
        with pytest.raises(MissingNameError):
            await asked
    with pytest.raises(NameTroubleError):
        await names.addresses("slow.test")
