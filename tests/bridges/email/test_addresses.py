"""Mail addresses as they are read and compared."""

import pytest

from bridges.email.codec.addresses import Address, parse_address, parse_domain


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("Alice@Example.ORG", "Alice", "example.org"),
        ("a+tag@example.org.", "a+tag", "example.org"),
        ('"two words"@example.org', '"two words"', "example.org"),
        ('"a@b"@example.org', '"a@b"', "example.org"),
        ("jörg@bücher.example", "jörg", "bücher.example"),
        ("root@[127.0.0.1]", "root", "[127.0.0.1]"),
        ("root@[IPv6:::1]", "root", "[ipv6:::1]"),
        ("o'hara!x@localhost", "o'hara!x", "localhost"),
    ],
)
def test_an_address_is_taken_apart(text: str, local: str, domain: str) -> None:
    """The local part stays as it was written, the domain is in lower case."""
    found = parse_address(text)
    assert (found.local, found.domain) == (local, domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "postmaster",
        "@example.org",
        "a@",
        "a@-example.org",
        "a@exa mple.org",
        ".a@example.org",
        "a..b@example.org",
        "a b@example.org",
        "a\r\n@example.org",
        '"a\x00"@example.org',
        "<a@example.org>",
        "@relay.example:a@example.org",
        f"{'a' * 65}@example.org",
        f"a@{'b' * 64}.org",
        f"a@{'b.' * 130}org",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """No route, no control character, nothing too long."""
    with pytest.raises(ValueError, match=r"address|part|domain"):
        parse_address(text)


def test_one_mailbox_has_one_key() -> None:
    """Case, names and compatible letters do not make another mailbox; its tag does, and can be left out."""
    one = parse_address("Alice+News@Example.org")
    assert one.key == parse_address("alice+news@EXAMPLE.org").named("Alice").key
    assert one.without_tag() == Address("Alice", "example.org")
    assert (one.tag(), one.without_tag().tag(), Address("+x", "example.org").tag()) == ("News", "", "")
    assert parse_address("\uff41@example.org").key == "a@example.org"


def test_domains_are_written_in_ascii() -> None:
    """Every domain that is one has a form for servers without SMTPUTF8."""
    assert parse_address("x@bücher.example").wire_domain == "xn--bcher-kva.example"
    assert not parse_address("jörg@example.org").ascii
    assert parse_domain("Example.ORG.") == "example.org"
    with pytest.raises(ValueError, match="no domain"):
        _ = Address("x", "a" * 64 + "ü").wire_domain
