"""DMARC (RFC 9989): whether the domain that people see answers for a mail, and what it wants done otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass

from bridges.email.codec.dmarc import DmarcRecord, milder, parse_dmarc, walk
from bridges.email.mail import Policy, Result, Signature
from bridges.email.trust.names import DnsTroubleError, Names


@dataclass(frozen=True, slots=True)
class DmarcCheck:
    """What a check gave. `record` is None where no policy is published; then `result` is none.

    `spf` and `dkim` tell which of both is aligned and passes, also without a policy.
    """

    result: Result
    policy: Policy = Policy.NONE
    record: DmarcRecord | None = None
    spf: bool = False
    dkim: bool = False
    signers: tuple[Signature, ...] = ()
    """The signatures that are aligned and pass."""


@dataclass(frozen=True, slots=True)
class _Walked:
    """What a tree walk found: the records by domain, and where the organisation begins."""

    records: dict[str, DmarcRecord]
    organisation: str


async def check_dmarc(
    names: Names, author: str, spf: tuple[Result, str], signatures: Iterable[Signature]
) -> DmarcCheck:
    """The check for the author's domain, by the SPF result and its domain, and by the DKIM signatures.

    Trouble with DNS gives temperror: whoever decides must take it for a failure, or ask for another try.
    """
    walks = _Walks(names)
    try:
        found = await walks.of(author)
        record, policy = await _policy(names, author, found)
        strict_spf, strict_dkim = (record.strict_spf, record.strict_dkim) if record is not None else (False, False)
        signers: list[Signature] = []
        trouble = False
        for one in signatures:
            if one.result is Result.TEMPERROR and (one.domain == author or await walks.same(author, one.domain)):
                trouble = True
            if one.result is Result.PASS and await walks.aligned(author, one.domain, strict=strict_dkim):
                signers.append(one)
        by_spf = spf[0] is Result.PASS and await walks.aligned(author, spf[1], strict=strict_spf)
        if spf[0] is Result.TEMPERROR and await walks.aligned(author, spf[1], strict=strict_spf):
            trouble = True
    except DnsTroubleError:
        return DmarcCheck(Result.TEMPERROR)
    if signers or by_spf:
        result = Result.PASS if record is not None else Result.NONE
    elif trouble:
        result = Result.TEMPERROR
    else:
        result = Result.FAIL if record is not None else Result.NONE
    return DmarcCheck(result, policy, record, by_spf, bool(signers), tuple(signers))


async def _policy(names: Names, author: str, found: _Walked) -> tuple[DmarcRecord | None, Policy]:
    """The record that holds for a domain, and the policy that it asks for (section 4.10.1)."""
    record = found.records.get(author)
    if record is not None:
        policy = record.policy
    else:
        record = found.records.get(found.organisation)
        if record is None:
            # That of a public suffix, which speaks for those below it that say nothing.
            record = next((one for one in found.records.values() if one.psd == "y"), None)
        if record is None:
            return None, Policy.NONE
        policy = record.subdomains
        if record.missing is not record.subdomains and not await _exists(names, author):
            policy = record.missing
    return record, milder(policy) if record.testing else policy


async def _exists(names: Names, domain: str) -> bool:
    """Whether it has mail servers or addresses."""
    return bool(
        await names.addresses(domain, v6=False) or await names.mx(domain) or await names.addresses(domain, v6=True)
    )


class _Walks:
    """Tree walks of one check, each made once."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._done: dict[str, _Walked] = {}

    async def of(self, domain: str) -> _Walked:
        known = self._done.get(domain)
        if known is None:
            known = self._done[domain] = await self._walk(domain)
        return known

    async def aligned(self, author: str, other: str, *, strict: bool) -> bool:
        """Whether a domain answers for the author's: the same, or of the same organisation (section 4.4)."""
        if author == other or strict:
            return author == other
        return await self.same(author, other)

    async def same(self, author: str, other: str) -> bool:
        if not other:
            return False
        mine = (await self.of(author)).organisation
        if other != mine and not other.endswith(f".{mine}"):
            return False  # An organisation is one of the labels above: what is not below it need not be asked.
        return (await self.of(other)).organisation == mine

    async def _walk(self, domain: str) -> _Walked:
        records: dict[str, DmarcRecord] = {}
        for name in walk(domain):
            found = [parse_dmarc(text) for text in await self._names.txt(f"_dmarc.{name}")]
            valid = [one for one in found if one is not None]
            if len(valid) == 1:
                records[name] = valid[0]
                if valid[0].psd != "u":
                    break
        return _Walked(records, _organisation(domain, records))


def _organisation(domain: str, records: dict[str, DmarcRecord]) -> str:
    """Section 4.10.2."""
    for name, record in records.items():
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            labels = domain.split(".")
            return ".".join(labels[-(name.count(".") + 2) :])
    return min(records, key=lambda name: name.count("."), default=domain)
