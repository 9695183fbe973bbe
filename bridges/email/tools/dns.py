"""`matrix-bridge email dns [print|check]` and `matrix-bridge email dkim-key`: what mail needs in DNS."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge_core.api.tools import Place
from bridges.email.codec.addresses import parse_domain
from bridges.email.composing.signing import Key
from bridges.email.config.network import EmailConfig
from bridges.email.tools.checks import Checker, Finding
from bridges.email.tools.wanted import ascii_name, public_record, text, wanted
from bridges.email.trust.names import Names, Resolver


class DnsTool:
    """A part of the command."""

    help = "print the DNS records that mail needs, or check them"

    def __init__(self, names: Names | None = None) -> None:
        self._names = names

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do."""
        parser.add_argument(
            "action", nargs="?", choices=("print", "check"), default="print",
            help="print: as a zone file (the default); check: exit 1 when something is missing or wrong",
        )  # fmt: skip
        parser.add_argument("--network", metavar="NAME", help="of this network only")
        parser.add_argument("--basic", action="store_true", help="leave out what is only advised (MTA-STS, TLSRPT)")

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`."""
        networks = {name: one for name, one in place.networks.items() if arguments.network in {None, name}}
        if not networks:
            print("there is no such network", file=sys.stderr)
            return 1
        code = 0
        for name, settings in networks.items():
            if len(networks) > 1:
                print(f"; network {name}")
            if arguments.action == "print":
                _print(settings, basic=arguments.basic)
            else:
                code = max(code, asyncio.run(self._check(settings, basic=arguments.basic)))
        return code

    async def _check(self, settings: EmailConfig, *, basic: bool) -> int:
        checker = Checker(settings, self._names or Resolver(settings.trust.dns))
        records = [one for one in wanted(settings) if not (basic and one.advised)]
        findings = await asyncio.gather(*(checker.check(one) for one in records))
        for finding in findings:
            _tell(finding)
        wrong = sum(bool(one.trouble) for one in findings)
        print(f"{len(findings) - wrong} records are right, {wrong} are not")
        return int(wrong > 0)


def _print(settings: EmailConfig, *, basic: bool) -> None:
    for one in wanted(settings):
        if basic and one.advised:
            continue
        for line in one.note.splitlines():
            print(f"; {line}")
        name = one.name if one.name == "ADDRESS" else f"{one.name}."
        print(f"{'; ' if one.open else ''}{name} IN {one.value}")


def _tell(finding: Finding) -> None:
    one = finding.wanted
    said = f"{one.kind} {one.domain if one.name == 'ADDRESS' else one.name}"
    if not finding.trouble:
        print(f"ok: {said}" + (f" ({finding.remark})" if finding.remark else ""))
        return
    print(f"{'advised' if one.advised else 'missing'}: {said}: {finding.trouble}")
    for line in filter(None, (finding.remark, f"wanted: {one.value}", *one.note.splitlines())):
        print(f"    {line}")


class DkimKeyTool:
    """A part of the command."""

    help = "make a key that signs mail of a domain, and its DNS record"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For whom, and of which kind."""
        parser.add_argument("domain")
        parser.add_argument("--selector", default="mb1", help="its name in DNS (mb1); another one for each key")
        parser.add_argument(
            "--kind", choices=("rsa", "ed25519"), default="rsa",
            help="rsa (2048 bits, which all understand); ed25519 as a second one beside it",
        )  # fmt: skip

    def run(self, arguments: Namespace, place: Place) -> int:
        """As `Tool.run`. Nothing is written: the key goes to the configuration."""
        try:
            domain = parse_domain(arguments.domain)
            selector = parse_domain(arguments.selector)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        made = Ed25519PrivateKey.generate() if arguments.kind == "ed25519" else generate_private_key(65537, 2048)
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        print("# into the network's section of config.yaml:\ndelivery:\n  dkim:")
        print(f"    - domain: {domain}\n      selector: {selector}\n      key: |")
        for line in pem.splitlines():
            print(f"        {line}")
        record = text(public_record(Key(domain, selector, made)))
        print(f"# into DNS:\n# {selector}._domainkey.{ascii_name(domain)}. IN {record}")
        return 0
