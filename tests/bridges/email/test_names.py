"""DNS for delivery: what is not there is told from what does not answer."""

from collections.abc import Sequence

import pytest

from bridges.email.config.trust import Dns
from bridges.email.delivery.hops import MissingNameError, NameTroubleError
from bridges.email.delivery.names import DnsNames
from bridges.email.trust.names import DnsTroubleError, Resolver
from tests.bridges.email.trust.zone import Records, served

WORLD: Records = {
    "there.test": {"MX": ["10 mx.there.test."]},
    "null.test": {"MX": ["0 ."]},
    "mx.there.test": {"A": ["192.0.2.1"]},
    "_mta-sts.there.test": {"TXT": ['"v=STSv1; " "id=1;"']},
}


class Halves:
    """Answers for one family of addresses, and is silent for the other."""

    def __init__(self, *there: str) -> None:
        self.there = there

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str]:
        if v6:
            raise DnsTroubleError(name)
        return self.there

    async def txt(self, name: str) -> Sequence[str]:
        raise DnsTroubleError(name)

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]]:
        raise DnsTroubleError(name)


async def test_records_are_read() -> None:
    """Exchangers with their preference, addresses of whatever family there is, texts put together."""
    async with served(WORLD) as server:
        names = DnsNames(Resolver(Dns(servers=(f"127.0.0.1:{server.port}",))))
        assert await names.mx("there.test") == [(10, "mx.there.test.")]
        assert await names.mx("null.test") == [(0, ".")]
        assert await names.addresses("mx.there.test") == ["192.0.2.1"]
        assert await names.txt("_mta-sts.there.test") == ["v=STSv1; id=1;"]
        for asked in (names.mx("no.test"), names.txt("no.test"), names.addresses("no.test")):
            with pytest.raises(MissingNameError):
                await asked


async def test_what_does_not_answer_is_not_missing() -> None:
    """Half an answer is one; none at all is trouble, and says not that there is no such name."""
    assert await DnsNames(Halves("192.0.2.2")).addresses("half.test") == ["192.0.2.2"]
    names = DnsNames(Halves())
    for asked in (names.addresses("slow.test"), names.mx("slow.test"), names.txt("slow.test")):
        with pytest.raises(NameTroubleError):
            await asked
