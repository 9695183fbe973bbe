"""DMARC: the tree walk, the policy that holds, and alignment, as tables by RFC 9989."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.dmarc import parse_dmarc, walk
from bridges.email.mail import Policy, Result, Signature
from bridges.email.trust.dmarc import check_dmarc
from tests.bridges.email.trust.zone import Records, Zone


def records(**texts: str | list[str]) -> Records:
    """`_dmarc` records; `__` stands for a dot, `_` for a hyphen."""
    return {
        f"_dmarc.{name.replace('__', '.')}": {"TXT": [text] if isinstance(text, str) else text}
        for name, text in texts.items()
    }


@pytest.mark.parametrize(
    ("domain", "asked"),
    [
        ("example.com", ["example.com", "com"]),
        ("a.mail.example.com", ["a.mail.example.com", "mail.example.com", "example.com", "com"]),
        (
            # RFC 9989, section 4.10: the first question, then the last seven labels.
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            ["a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
             "i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"],
        ),
        ("a.b.c.d.e.f.g.h",
         ["a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"]),
    ],
)  # fmt: skip
def test_the_walk(domain: str, asked: list[str]) -> None:
    """A walk asks at most eight times, however many labels a domain has."""
    assert walk(domain) == asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=DMARC1; p=reject", ("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; sp=none; np=quarantine", ("reject", "none", "quarantine")),
        ("v=DMARC1; p=none; sp=reject", ("none", "reject", "reject")),
        ("v=DMARC1; rua=mailto:x@y.test", ("none", "none", "none")),
        ("v=DMARC1; p=wrong; rua=mailto:x@y.test", ("none", "none", "none")),
        ("v=DMARC1;p=Reject;pct=10;rf=afrf;unknown=x;;", ("reject", "reject", "reject")),
        ("V = DMARC1 ; p = quarantine ", ("quarantine", "quarantine", "quarantine")),
        ("v=DMARC1", ("none", "none", "none")),
    ],
)
def test_records_are_read(text: str, expected: tuple[str, str, str]) -> None:
    """Policies are read; unknown tags and values, and those of old drafts, are passed over; no p= is p=none."""
    record = parse_dmarc(text)
    assert record is not None
    assert (record.policy, record.subdomains, record.missing) == expected


@pytest.mark.parametrize("text", ["", "v=DMARC2; p=reject", "v=dmarc1; p=reject", "p=reject; v=DMARC1", "v=spf1 -all"])
def test_what_is_no_record(text: str) -> None:
    """Only what begins with the version is a record."""
    assert parse_dmarc(text) is None


def _dkim(*domains: str) -> list[Signature]:
    return [Signature(domain, "s", Result.PASS) for domain in domains]


@pytest.mark.parametrize(
    ("zone", "author", "spf", "dkim", "result"),
    [
        # Exact and relaxed alignment, by either.
        (records(a__test="v=DMARC1; p=reject"), "a.test", "a.test", "", "pass"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "", "a.test", "pass"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "mail.a.test", "", "pass"),
        (records(a__test="v=DMARC1; p=reject"), "news.a.test", "", "mail.a.test", "pass"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "b.test", "b.test", "fail"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "nota.test", "xa.test", "fail"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "a.test.evil.test", "", "fail"),
        (records(a__test="v=DMARC1; p=reject"), "a.test", "test", "", "fail"),
        # Strict.
        (records(a__test="v=DMARC1; p=reject; aspf=s; adkim=s"), "a.test", "mail.a.test", "mail.a.test", "fail"),
        (records(a__test="v=DMARC1; p=reject; aspf=s"), "a.test", "mail.a.test", "mail.a.test", "pass"),
        (records(a__test="v=DMARC1; p=reject; adkim=s"), "a.test", "", "a.test", "pass"),
        # psd=n begins an organisation of its own, psd=y ends one above it.
        (records(a__test="v=DMARC1; p=none", b__a__test="v=DMARC1; p=none; psd=n"), "b.a.test", "a.test", "", "fail"),
        (records(a__test="v=DMARC1; p=none", b__a__test="v=DMARC1; p=none; psd=n"), "a.test", "b.a.test", "", "fail"),
        (records(test="v=DMARC1; p=none; psd=y"), "a.test", "b.test", "b.test", "fail"),
        (records(test="v=DMARC1; p=none; psd=y"), "x.a.test", "y.a.test", "", "pass"),
        # No record: the organisation is the domain itself.
        ({}, "a.test", "a.test", "", "none"),
        # Two records at one name count as none.
        (records(a__test=["v=DMARC1; p=reject", "v=DMARC1; p=none"]), "a.test", "b.test", "", "none"),
        (records(a__test=["v=DMARC1; p=reject", "other text"]), "a.test", "b.test", "", "fail"),
        # DNS does not answer.
        ({"_dmarc.a.test": {"TROUBLE": []}}, "a.test", "a.test", "", "temperror"),
        ({"_dmarc.test": {"TROUBLE": []}}, "a.test", "b.test", "", "temperror"),
    ],
)  # fmt: skip
async def test_results(zone: Records, author: str, spf: str, dkim: str, result: str) -> None:
    """Only a domain of the same organisation answers for the author's."""
    found = await check_dmarc(Zone(zone), author, (Result.PASS, spf), _dkim(*([dkim] if dkim else [])))
    assert found.result == Result(result)


@pytest.mark.parametrize("result", [one for one in Result if one is not Result.PASS])
async def test_only_a_pass_counts(result: Result) -> None:
    """Whatever SPF and DKIM give that is no pass does not make DMARC pass."""
    zone = Zone(records(a__test="v=DMARC1; p=reject"))
    found = await check_dmarc(zone, "a.test", (result, "a.test"), [Signature("a.test", "s", result)])
    assert not (found.spf or found.dkim)
    assert found.result is (Result.TEMPERROR if result is Result.TEMPERROR else Result.FAIL)


async def test_one_good_signature_is_enough() -> None:
    """Signatures that fail beside one that passes change nothing."""
    zone = Zone(records(a__test="v=DMARC1; p=reject"))
    signatures = [Signature("a.test", "s", Result.FAIL), *_dkim("list.test", "a.test")]
    assert (await check_dmarc(zone, "a.test", (Result.FAIL, "a.test"), signatures)).result is Result.PASS


@pytest.mark.parametrize(
    ("zone", "author", "policy"),
    [
        (records(a__test="v=DMARC1; p=reject; sp=quarantine"), "a.test", "reject"),
        (records(a__test="v=DMARC1; p=reject; sp=quarantine"), "b.a.test", "quarantine"),
        (records(a__test="v=DMARC1; p=none", b__a__test="v=DMARC1; p=reject"), "b.a.test", "reject"),
        (records(a__test="v=DMARC1; p=none; sp=none; np=reject"), "missing.a.test", "reject"),
        (records(a__test="v=DMARC1; p=none; np=reject") | {"x.a.test": {"A": ["192.0.2.1"]}}, "x.a.test", "none"),
        (records(a__test="v=DMARC1; p=none; sp=none; np=reject") | {"x.a.test": {"MX": ["y"]}}, "x.a.test", "none"),
        (records(a__test="v=DMARC1; p=reject; t=y"), "a.test", "quarantine"),
        (records(a__test="v=DMARC1; p=quarantine; t=y"), "a.test", "none"),
        (records(test="v=DMARC1; p=none; sp=reject; psd=y"), "a.test", "reject"),
        # The policy is that of the domain or the organisation, not of what lies between.
        (records(a__test="v=DMARC1; p=none", m__a__test="v=DMARC1; p=reject"), "b.m.a.test", "none"),
    ],
)  # fmt: skip
async def test_policies(zone: Records, author: str, policy: str) -> None:
    """The author domain's own record holds, else that of the organisation by sp= or np=, one step milder with t=y."""
    found = await check_dmarc(Zone(zone), author, (Result.FAIL, ""), [])
    assert (found.result, found.policy) == (Result.FAIL, Policy(policy))


async def test_a_stranger_cannot_make_us_ask_for_ever() -> None:
    """What is not below the author's organisation is not walked, and no walk is made twice."""
    zone = Zone(records(a__test="v=DMARC1; p=reject"))
    many = _dkim(*(f"x{number}.evil.test" for number in range(8)), *(["m.a.test"] * 8))
    await check_dmarc(zone, "a.test", (Result.PASS, "other.test"), many)
    assert zone.asked == ["TXT _dmarc.a.test", "TXT _dmarc.test"] + [
        f"TXT _dmarc.{name}" for name in ("m.a.test", "a.test", "test")
    ]


@given(st.text(max_size=300))
def test_any_text_is_read_or_passed_over(text: str) -> None:
    """Whatever a record holds, reading it does not fail."""
    parse_dmarc("v=DMARC1;" + text)
    parse_dmarc(text)
