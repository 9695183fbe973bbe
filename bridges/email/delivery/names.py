"""DNS for delivery, asked of the one resolver of the network."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from bridges.email.delivery.hops import MissingNameError, NameTroubleError
from bridges.email.trust.names import DnsTroubleError

T = TypeVar("T")


class Asked(Protocol):
    """The resolver (`trust.names`): an empty answer for what is not there, DnsTroubleError for what is not known."""

    async def txt(self, name: str) -> Sequence[str]:
        """The texts at a name, one character for each byte."""

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str]:
        """The addresses of a name."""

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]]:
        """The mail servers of a domain."""


class DnsNames:
    """The `Names` of hops: delivery must tell what is not there from what has no answer."""

    def __init__(self, resolver: Asked) -> None:
        self._resolver = resolver

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """As `Names.mx`."""
        try:
            return _there(domain, await self._resolver.exchangers(domain))
        except DnsTroubleError as error:
            raise NameTroubleError(domain) from error

    async def addresses(self, host: str) -> Sequence[str]:
        """As `Names.addresses`. Half an answer is better than none."""
        found: list[str] = []
        trouble: DnsTroubleError | None = None
        for v6 in (True, False):
            try:
                found += await self._resolver.addresses(host, v6=v6)
            except DnsTroubleError as error:
                trouble = error
        if trouble is not None and not found:
            raise NameTroubleError(host) from trouble
        return _there(host, found)

    async def txt(self, name: str) -> Sequence[str]:
        """As `Names.txt`."""
        try:
            texts = _there(name, await self._resolver.txt(name))
        except DnsTroubleError as error:
            raise NameTroubleError(name) from error
        return [one.encode("latin-1").decode(errors="replace") for one in texts]


def _there(name: str, found: Sequence[T]) -> Sequence[T]:
    if not found:
        raise MissingNameError(name)
    return found
