"""Whether DNS says what mail needs."""

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from bridges.email.codec.dkim import parse_key
from bridges.email.codec.dmarc import parse_dmarc
from bridges.email.codec.spf import is_spf, parse_spf
from bridges.email.config.network import EmailConfig
from bridges.email.delivery.mtasts import read_policy
from bridges.email.mail import Policy, Result
from bridges.email.tools.wanted import Kind, Wanted, ascii_name
from bridges.email.trust.names import DnsTroubleError, Names
from bridges.email.trust.spf import check_spf

_SECONDS = 20.0
_FILE = 65_536


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one record: empty `trouble` means all is well; `remark` is for people in either case."""

    wanted: Wanted
    trouble: str = ""
    remark: str = ""


class Checker:
    """Looks at the records of one network. `fetch` gets the text at an address; raises OSError in words."""

    def __init__(self, settings: EmailConfig, names: Names, fetch: "Fetch | None" = None) -> None:
        self._settings = settings
        self._names = names
        self._fetch = fetch or Fetch()
        self._host = ascii_name(settings.hostname)

    async def check(self, one: Wanted) -> Finding:
        """Look at one. Never raises for what is found."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._checked(one)
        except (DnsTroubleError, OSError, TimeoutError) as error:
            return Finding(one, str(error) or "it took too long")
        except ValueError as error:
            return Finding(one, str(error))

    async def _checked(self, one: Wanted) -> Finding:
        match one.kind:
            case Kind.MX:
                return await self._mx(one)
            case Kind.HOST:
                return self._host_addresses(one, await self._addresses())
            case Kind.PTR:
                return await self._pointers(one)
            case Kind.SPF:
                return await self._spf(one)
            case Kind.DKIM:
                return await self._dkim(one)
            case Kind.DMARC:
                return await self._dmarc(one)
            case Kind.STS:
                return await self._sts(one)
            case Kind.TLSRPT:
                texts = [text for text in await self._names.txt(one.name) if text.startswith("v=TLSRPTv1")]
                return Finding(one, _single(texts) or ("" if "rua=" in texts[0] else "it names nobody (rua=)"))

    async def _addresses(self) -> list[str]:
        found = [await self._names.addresses(self._host, v6=v6) for v6 in (False, True)]
        return [address for addresses in found for address in addresses]

    async def _mx(self, one: Wanted) -> Finding:
        hosts = await self._names.mx(one.name)
        if not hosts:
            return Finding(one, "there is no MX record")
        if self._host not in hosts:
            return Finding(one, f"mail for it goes to {', '.join(hosts)}", "right where that server hands it on to us")
        return Finding(one, remark="" if hosts[0] == self._host else f"{hosts[0]} is asked first")

    def _host_addresses(self, one: Wanted, addresses: Sequence[str]) -> Finding:
        if not addresses:
            return Finding(one, "it has no address")
        private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
        return Finding(one, f"{', '.join(private)} cannot be reached from elsewhere" if private else "")

    async def _pointers(self, one: Wanted) -> Finding:
        addresses = await self._addresses()
        wrong = [address for address in addresses if self._host not in await self._names.pointers(address)]
        if not addresses:
            return Finding(one, f"{self._host} has no address")
        return Finding(one, f"{', '.join(wrong)} does not lead back to {self._host}" if wrong else "")

    async def _spf(self, one: Wanted) -> Finding:
        texts = [text for text in await self._names.txt(one.name) if is_spf(text)]
        trouble = _single(texts)
        if trouble:
            return Finding(one, trouble)
        record = parse_spf(texts[0])
        if any(mechanism.name == "all" and mechanism.result is Result.PASS for mechanism in record.mechanisms):
            return Finding(one, "it lets anybody send for the domain")
        for address in await self._addresses() if self._settings.delivery.direct else ():
            found = await check_spf(self._names, address, "postmaster", one.domain, self._host)
            if found.result is not Result.PASS:
                return Finding(one, f"{address}, which sends, gets {found.result.value}: {found.reason or texts[0]}")
        return Finding(one, remark="" if self._settings.delivery.direct else "what your smarthost needs is not checked")

    async def _dkim(self, one: Wanted) -> Finding:
        if one.open:
            return Finding(one, "mail is not signed")
        texts = [text for text in await self._names.txt(one.name) if "p=" in text]
        trouble = _single(texts)
        if trouble:
            return Finding(one, trouble)
        key = parse_key(texts[0])
        ours = parse_key("".join(one.value.removeprefix("TXT ").strip('"').split('" "')))
        if key.data != ours.data:
            return Finding(one, "another key is published")
        return Finding(one, "it is published for tests only (t=y)" if key.testing else "")

    async def _dmarc(self, one: Wanted) -> Finding:
        texts = [text for text in await self._names.txt(one.name) if text.startswith("v=")]
        found = [record for record in map(parse_dmarc, texts) if record is not None]
        trouble = _single(found)
        if trouble:
            return Finding(one, trouble)
        return Finding(one, remark="p=none: others may still write as you" if found[0].policy is Policy.NONE else "")

    async def _sts(self, one: Wanted) -> Finding:
        texts = [text for text in await self._names.txt(one.name) if text.startswith("v=STSv1")]
        trouble = _single(texts)
        if trouble:
            return Finding(one, trouble)
        body = await self._fetch.get(f"https://mta-sts.{one.domain}/.well-known/mta-sts.txt")
        policy = read_policy(body, "", 0)
        if policy is None:
            return Finding(one, "the policy file is malformed")
        return Finding(one, "" if policy.allows(self._host) else f"the policy file does not name {self._host}")


def _single(found: Sequence[object]) -> str:
    """What is wrong with how many there are; empty for one."""
    return "" if len(found) == 1 else "it is there more than once" if found else "there is no such record"


class Fetch:
    """Gets a small file over HTTPS."""

    async def get(self, url: str) -> bytes:
        """The body. Raises OSError in words."""
        try:
            async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise OSError(f"{url} answers {response.status}")
                return await response.content.read(_FILE)
        except aiohttp.ClientError as error:
            raise OSError(f"{url} cannot be fetched: {error}") from error
