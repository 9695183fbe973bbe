"""`matrix-bridge email dns` and `dkim-key`: what is printed is what is checked."""

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from bridges.email.config.network import EmailConfig
from bridges.email.tools.checks import Checker, Fetch
from bridges.email.tools.dns import DkimKeyTool, DnsTool
from bridges.email.tools.wanted import Kind, wanted
from tests.bridges.email.trust.mails import rsa
from tests.bridges.email.trust.zone import Records, Zone

PEER = "8.8.8.8"


def settings(**more: Any) -> EmailConfig:
    key = {"domain": "example.org", "selector": "mb1", "key": rsa(2048)[0].decode()}
    delivery = {"direct": True, "dkim": [key]}
    return EmailConfig.model_validate(
        {"hostname": "mail.example.org", "domains": ["example.org"], "delivery": delivery} | more
    )


def world(config: EmailConfig) -> Records:
    """DNS with all that is wanted."""
    found: Records = {"8.8.8.8.in-addr.arpa": {"PTR": ["mail.example.org"]}}
    for one in wanted(config):
        kind, _, value = one.value.partition(" ")
        if one.kind is Kind.MX:
            found.setdefault(one.name, {})["MX"] = [value.split()[1].removesuffix(".")]
        elif one.kind is Kind.HOST:
            found[one.name] = {"A": [PEER]}
        elif kind == "TXT":
            found.setdefault(one.name, {})["TXT"] = ["".join(value.strip('"').split('" "'))]
    return found


class Web(Fetch):
    """The policy file as it is printed."""

    def __init__(self, host: str = "mail.example.org") -> None:
        self.host = host

    async def get(self, url: str) -> bytes:
        assert url == "https://mta-sts.example.org/.well-known/mta-sts.txt"
        return f"version: STSv1\nmode: enforce\nmx: {self.host}\nmax_age: 604800\n".encode()


async def troubles(records: Records, config: EmailConfig | None = None, web: Fetch | None = None) -> dict[str, str]:
    config = config or settings()
    checker = Checker(config, Zone(records), web or Web())
    found = [await checker.check(one) for one in wanted(config)]
    return {one.wanted.kind.value: one.trouble for one in found if one.trouble}


async def test_what_is_printed_is_right() -> None:
    """Records as they are printed pass the check, all of them."""
    assert await troubles(world(settings())) == {}


@pytest.mark.parametrize(
    ("name", "kind", "values", "record", "word"),
    [
        ("example.org", "MX", [], "MX", "no MX"), ("example.org", "MX", ["mx.test"], "MX", "mx.test"),
        ("mail.example.org", "A", ["10.0.0.1"], "host", "cannot be reached"),
        ("8.8.8.8.in-addr.arpa", "PTR", ["other.test"], "PTR", "does not lead back"),
        ("example.org", "TXT", [], "SPF", "no such"), ("example.org", "TXT", ["v=spf1 +all"], "SPF", "anybody"),
        ("example.org", "TXT", ["v=spf1 -all"], "SPF", "fail"), ("example.org", "TXT", ["v=spf1 x"], "SPF", "unknown"),
        ("example.org", "TXT", ["v=spf1 mx -all"] * 2, "SPF", "more than once"),
        ("mb1._domainkey.example.org", "TXT", [], "DKIM", "no such"),
        ("mb1._domainkey.example.org", "TXT", [rsa()[1]], "DKIM", "another key"),
        ("_dmarc.example.org", "TXT", ["v=DMARC2"], "DMARC", "no such"),
        ("_mta-sts.example.org", "TXT", [], "MTA-STS", "no such"),
        ("_smtp._tls.example.org", "TXT", ["v=TLSRPTv1"], "TLSRPT", "nobody"),
    ],
)  # fmt: skip
async def test_what_is_missing_or_wrong_is_found(
    name: str, kind: str, values: list[str], record: str, word: str
) -> None:
    """Each record that is missing or wrong is named, with what is wrong."""
    records = world(settings())
    records[name] = records[name] | {kind: values}
    assert word in (await troubles(records))[record]


async def test_dns_or_web_in_trouble() -> None:
    """No answer is said as such; a policy file that names another server is wrong."""
    assert "_dmarc" in (await troubles(world(settings()) | {"_dmarc.example.org": {"TROUBLE": []}}))["DMARC"]
    assert "mail.example.org" in (await troubles(world(settings()), web=Web("other.test")))["MTA-STS"]
    assert (await troubles(world(settings()), settings(delivery={})))["DKIM"] == "mail is not signed"


def run(tool: Any, *words: str, config: EmailConfig | None = None) -> int:
    parser = argparse.ArgumentParser()
    tool.add_arguments(parser)
    place: Any = SimpleNamespace(networks={"mail": config or settings()})
    code: int = tool.run(parser.parse_args(words), place)
    return code


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a zone file; the check exits 0 when all is right and 1 when something is missing."""
    assert run(DnsTool()) == 0
    printed = capsys.readouterr().out
    for part in ("example.org. IN MX 10 mail.example.org.", '"v=spf1 mx -all"', "mb1._domainkey", "mode: enforce"):
        assert part in printed
    assert all(len(piece) <= 255 for line in printed.splitlines() for piece in line.split('"')[1::2])
    assert run(DnsTool(), config=settings(delivery={})) == 0
    zone = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(";")]
    assert not any("ADDRESS" in line or "SELECTOR" in line for line in zone)
    assert run(DnsTool(Zone(world(settings()))), "check", "--basic") == 0
    assert "0 are not" in capsys.readouterr().out
    assert run(DnsTool(Zone({})), "check", "--basic") == 1
    assert "missing: MX example.org: there is no MX record" in capsys.readouterr().out
    assert run(DnsTool(), "--network", "other") == 1


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_is_made(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A made key is one that the configuration takes, and its record is the one that is wanted."""
    from ruamel.yaml import YAML

    assert run(DkimKeyTool(), "example.org", "--kind", kind) == 0
    printed = capsys.readouterr().out
    made = YAML(typ="safe").load(printed)
    config = settings(delivery=made["delivery"])
    record = next(one for one in wanted(config) if one.kind is Kind.DKIM)
    assert f"{record.name}. IN {record.value}" in printed
    assert run(DkimKeyTool(), "bad..name") == 2


def test_an_spf_record_with_a_smarthost_cannot_be_used_unread() -> None:
    """What the smarthost's owner says has to be written into it; without a smarthost it is ready."""
    (spf,) = [one for one in wanted(settings()) if one.kind is Kind.SPF]
    assert not spf.open and spf.value == 'TXT "v=spf1 mx -all"'
    (spf,) = [one for one in wanted(settings(delivery={"smarthosts": [{"host": "x.net"}]})) if one.kind is Kind.SPF]
    assert spf.open and spf.value == 'TXT "v=spf1 mx include:SMARTHOST -all"'
