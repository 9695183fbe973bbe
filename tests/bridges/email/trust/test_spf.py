"""SPF: the examples of RFC 7208 and what records in the field hold, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.spf import expand, parse_spf
from bridges.email.mail import Result
from bridges.email.trust.spf import check_spf
from tests.bridges.email.trust.zone import Records, Zone

# RFC 7208, appendix A.
EXAMPLE: Records = {
    "example.com": {"MX": ["mail-a.example.com", "mail-b.example.com"], "A": ["192.0.2.10", "192.0.2.11"]},
    "amy.example.com": {"A": ["192.0.2.65"]},
    "bob.example.com": {"A": ["192.0.2.66"]},
    "mail-a.example.com": {"A": ["192.0.2.129"]},
    "mail-b.example.com": {"A": ["192.0.2.130"]},
    "mail-c.example.org": {"A": ["192.0.2.140"]},
    "example.org": {"MX": ["mail-c.example.org"]},
    "10.2.0.192.in-addr.arpa": {"PTR": ["example.com"]},
    "11.2.0.192.in-addr.arpa": {"PTR": ["example.com"]},
    "65.2.0.192.in-addr.arpa": {"PTR": ["amy.example.com"]},
    "66.2.0.192.in-addr.arpa": {"PTR": ["bob.example.com"]},
    "129.2.0.192.in-addr.arpa": {"PTR": ["mail-a.example.com"]},
    "140.2.0.192.in-addr.arpa": {"PTR": ["mail-c.example.org"]},
    "10.0.0.4.in-addr.arpa": {"PTR": ["bob.example.com"]},
}


async def _check(record: str | list[str], peer: str = "192.0.2.10", more: Records | None = None) -> Result:
    records = {name: dict(kinds) for name, kinds in (EXAMPLE | (more or {})).items()}
    texts = [record] if isinstance(record, str) else record
    records.setdefault("example.com", {})["TXT"] = texts
    found = await check_spf(Zone(records), peer, "strong-bad", "example.com", "helo.example.net")
    return found.result


@pytest.mark.parametrize(
    ("record", "peer", "result"),
    [
        # Appendix A.1.
        ("v=spf1 +all", "198.51.100.1", "pass"),
        ("v=spf1 a -all", "192.0.2.10", "pass"),
        ("v=spf1 a -all", "192.0.2.11", "pass"),
        ("v=spf1 a -all", "192.0.2.65", "fail"),
        ("v=spf1 a:example.org -all", "192.0.2.10", "fail"),
        ("v=spf1 mx -all", "192.0.2.129", "pass"),
        ("v=spf1 mx -all", "192.0.2.130", "pass"),
        ("v=spf1 mx -all", "192.0.2.10", "fail"),
        ("v=spf1 mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", "fail"),
        ("v=spf1 ptr -all", "192.0.2.10", "pass"),
        ("v=spf1 ptr -all", "192.0.2.65", "pass"),
        ("v=spf1 ptr -all", "192.0.2.140", "fail"),
        ("v=spf1 ptr -all", "4.0.0.10", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", "pass"),
        # Results and their order.
        ("v=spf1", "192.0.2.1", "neutral"),
        ("v=spf1 ~all", "192.0.2.1", "softfail"),
        ("v=spf1 ?all", "192.0.2.1", "neutral"),
        ("V=SPF1 IP4:192.0.2.1 -ALL", "192.0.2.1", "pass"),
        ("v=spf1 -all ip4:192.0.2.1", "192.0.2.1", "fail"),
        ("v=spf1  ip4:192.0.2.1   -all ", "192.0.2.1", "pass"),
        ("v=spf10 +all", "192.0.2.1", "none"),
        ("spf=v1 +all", "192.0.2.1", "none"),
        # IPv6, and IPv4 in its clothes.
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::1", "pass"),
        ("v=spf1 ip6:2001:db8::1 -all", "2001:db8::2", "fail"),
        ("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", "pass"),
        ("v=spf1 ip4:0.0.0.0/0 -all", "2001:db8::1", "fail"),
        ("v=spf1 a//64 -all", "192.0.2.99", "fail"),
        ("v=spf1 a/24//64 -all", "192.0.2.99", "pass"),
        # Unknown modifiers are passed over, unknown mechanisms are not.
        ("v=spf1 moo=cow ip4:192.0.2.1 -all", "192.0.2.1", "pass"),
        ("v=spf1 ip4:192.0.2.1 moo", "192.0.2.1", "permerror"),
        ("v=spf1 ip4:192.0.2.1 moo:cow -all", "192.0.2.1", "permerror"),
    ],
)
async def test_records(record: str, peer: str, result: str) -> None:
    """A record gives what RFC 7208 says, for the peer that it says it of."""
    assert await _check(record, peer) == Result(result)


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 ip4:192.0.2.1/33 -all", "v=spf1 ip4:192.0.2 -all", "v=spf1 ip4 -all", "v=spf1 ip4: -all",
        "v=spf1 ip6:192.0.2.1 -all", "v=spf1 ip4:2001:db8::1 -all", "v=spf1 ip6:::/129 -all", "v=spf1 ip6:fe80::1%eth0",
        "v=spf1 a:example -all", "v=spf1 a: -all", "v=spf1 a/33 -all", "v=spf1 a//129 -all", "v=spf1 a/ -all",
        "v=spf1 a:example.com:8080 -all", "v=spf1 all: -all", "v=spf1 all/8",
        "v=spf1 include -all", "v=spf1 exists -all",
        "v=spf1 redirect=example.org redirect=example.org", "v=spf1 exp=example.org exp=example.org",
        "v=spf1 redirect= -all", "v=spf1 a:%{x}.example.com", "v=spf1 a:%{d0}.example.com", "v=spf1 a:%example.com",
        "v=spf1 a:%{d.example.com", "v=spf1 -all\x00", "v=spf1 \xe4ll", "v=spf1 +", "v=spf1 ip4:192.0.2.10/08",
        "v=spf1 a:example.-com", "v=spf1 a:example.111 -all", "v=spf1 exists:%(ir).sbl.example.org",
    ],
)  # fmt: skip
async def test_malformed_records(record: str) -> None:
    """A syntax error anywhere in a record is a permanent error, whatever else would have matched."""
    assert await _check(record.replace("v=spf1 ", "v=spf1 ip4:192.0.2.10 ", 1)) is Result.PERMERROR


async def test_two_records_are_an_error() -> None:
    """Two SPF records are a permanent error; other texts beside one are none."""
    assert await _check(["v=spf1 +all", "v=spf1 -all"]) is Result.PERMERROR
    assert await _check(["google-site-verification=x", "v=spf1 +all"]) is Result.PASS


async def test_includes_and_redirects() -> None:
    """An include matches where the other record passes; a redirect takes its result over; both need a record."""
    more: Records = {
        "pass.test": {"TXT": ["v=spf1 +all"]},
        "fail.test": {"TXT": ["v=spf1 -all"]},
        "soft.test": {"TXT": ["v=spf1 ~all"]},
        "broken.test": {"TXT": ["v=spf1 wrong"]},
        "silent.test": {"TROUBLE": []},
    }
    for record, result in [
        ("v=spf1 include:pass.test -all", "pass"), ("v=spf1 -include:pass.test +all", "fail"),
        ("v=spf1 include:fail.test ?all", "neutral"), ("v=spf1 include:soft.test -all", "fail"),
        ("v=spf1 include:broken.test +all", "permerror"), ("v=spf1 include:none.test +all", "permerror"),
        ("v=spf1 include:silent.test +all", "temperror"), ("v=spf1 redirect=soft.test", "softfail"),
        ("v=spf1 redirect=none.test", "permerror"), ("v=spf1 redirect=fail.test +all", "pass"),
        ("v=spf1 redirect=fail.test ip4:192.0.2.10", "pass"), ("v=spf1 redirect=silent.test", "temperror"),
    ]:  # fmt: skip
        assert await _check(record, more=more) == Result(result), record


async def test_ten_lookups_are_enough() -> None:
    """The eleventh lookup is a permanent error, also round in circles; mechanisms that ask nothing count nothing."""
    hosts: Records = {f"h{number}.test": {"A": ["198.51.100.1"]} for number in range(20)}
    ten = " ".join(f"a:h{number}.test" for number in range(10))
    assert await _check(f"v=spf1 {ten} ip4:192.0.2.10 -all", more=hosts) is Result.PASS
    assert await _check(f"v=spf1 {ten} a:h10.test +all", more=hosts) is Result.PERMERROR
    assert await _check("v=spf1 include:example.com -all") is Result.PERMERROR
    assert await _check("v=spf1 redirect=example.com") is Result.PERMERROR
    many: Records = {"many.test": {"MX": [f"h{number}.test" for number in range(11)]}} | hosts
    assert await _check("v=spf1 mx:many.test +all", more=many) is Result.PERMERROR


async def test_two_void_lookups_are_enough() -> None:
    """The third lookup that finds nothing is a permanent error (section 4.6.4)."""
    assert await _check("v=spf1 a:a.none.test a:b.none.test +all") is Result.PASS
    assert await _check("v=spf1 a:a.none.test exists:b.none.test mx:c.none.test +all") is Result.PERMERROR


async def test_what_is_no_domain_has_no_result() -> None:
    """A domain that nobody can ask for has no SPF result, and a peer without an address has none."""
    for domain in ("localhost", "a..example.com", "x" * 64 + ".example.com", ""):
        assert (await check_spf(Zone(EXAMPLE), "192.0.2.1", "x", domain, "x")).result is Result.NONE
    assert (await check_spf(Zone(EXAMPLE), "", "x", "example.com", "x")).result is Result.NONE


@pytest.mark.parametrize(
    ("macro", "expanded"),
    [
        # RFC 7208, section 7.4.
        ("%{s}", "strong-bad@email.example.com"), ("%{o}", "email.example.com"), ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"), ("%{d3}", "email.example.com"), ("%{d2}", "example.com"), ("%{d1}", "com"),
        ("%{dr}", "com.example.email"), ("%{d2r}", "example.email"), ("%{l}", "strong-bad"), ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"), ("%{lr-}", "bad.strong"), ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%%%_%-.example.com", "% %20.example.com"), ("%{S}.x.org", "strong-bad%40email.example.com.x.org"),
    ],
)  # fmt: skip
def test_macros(macro: str, expanded: str) -> None:
    """Macros expand as the examples of RFC 7208 section 7.4 say."""
    values = {
        "s": "strong-bad@email.example.com", "l": "strong-bad", "o": "email.example.com", "d": "email.example.com",
        "i": "192.0.2.3", "p": "unknown", "h": "helo", "v": "in-addr",
    }  # fmt: skip
    assert expand(macro, values) == expanded


async def test_macros_in_records() -> None:
    """`exists` asks for the expanded name, of IPv6 by its nibbles; a name too long loses its first labels."""
    more: Records = {
        "10.2.0.192.in-addr.strong-bad.test": {"A": ["127.0.0.2"]},
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.test": {"A": ["127.0.0.2"]},
    }
    assert await _check("v=spf1 exists:%{ir}.%{v}.%{l}.test -all", more=more) is Result.PASS
    assert await _check("v=spf1 exists:%{ir}.%{v}.test -all", "2001:db8::1", more) is Result.PASS
    assert expand("%{l}.example.com", {"l": ".".join(["y" * 60] * 5)}).count("y") == 180


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a record holds, it is read or refused in words."""
    try:
        parse_spf("v=spf1 " + text)
    except ValueError:
        pass
