"""Signed JSON: the vectors of the specification, and what must not verify."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.crypto.errors import OlmError
from bridge_core.crypto.olm import Account, decode
from bridge_core.crypto.signing import SigningKey, canonical, signature_of, signed_bytes, verified, with_signature

SEED = decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")

# Appendix "Cryptographic Test Vectors", "JSON Signing".
VECTORS: list[tuple[dict[str, Any], str]] = [
    ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
    (
        {"one": 1, "two": "Two"},
        "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
    ),
]

# Appendix "Canonical JSON", examples.
CANONICAL: list[tuple[Any, str]] = [
    ({}, "{}"),
    ({"one": 1, "two": "Two"}, '{"one":1,"two":"Two"}'),
    ({"b": "2", "a": "1"}, '{"a":"1","b":"2"}'),
    ({"a": "日本語"}, '{"a":"日本語"}'),
    ({"本": 2, "日": 1}, '{"日":1,"本":2}'),
    ({"a": "\u65e5"}, '{"a":"日"}'),
    ({"a": None}, '{"a":null}'),
    ({"\U00010000": 1, "\ue000": 2}, '{"\ue000":2,"\U00010000":1}'),
]


@pytest.mark.parametrize(("value", "signature"), VECTORS)
def test_signatures_are_those_of_the_specification(value: dict[str, Any], signature: str) -> None:
    """The seed of the specification signs its objects with its signatures."""
    key = SigningKey(SEED)
    assert key.sign(canonical(value)) == signature
    signed = with_signature({**value, "unsigned": {"x": 1.5}}, "domain", "1", signature)
    assert signature_of(signed, "domain", "1") == signature
    assert verified(signed, "domain", "1", key.public)


@pytest.mark.parametrize(("value", "text"), CANONICAL)
def test_canonical_json_is_that_of_the_specification(value: Any, text: str) -> None:
    """Sorted by code points, without spaces, as UTF-8."""
    assert canonical(value).decode() == text


@pytest.mark.parametrize("value", [1.5, 2**53, {"a": [float("nan")]}, "\ud800", {1: 2}, object()])
def test_what_has_no_canonical_form_is_not_signed(value: object) -> None:
    """Floats, large numbers, half surrogates and what is no JSON raise OlmError."""
    with pytest.raises(OlmError):
        canonical(value)


def test_too_deep_is_not_signed() -> None:
    """A nested object cannot exhaust the stack."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert not verified({"a": value, "signatures": {"u": {"ed25519:k": "AA"}}}, "u", "k", SigningKey().public)


def test_a_device_signs_as_the_library_verifies() -> None:
    """A signature of an Olm account verifies as one over canonical JSON."""
    account = Account()
    value = {"user_id": "@a:b", "keys": {"x": "y"}}
    signed = with_signature(value, "@a:b", "DEV", account.sign(signed_bytes(value)))
    assert verified(signed, "@a:b", "DEV", account.ed25519)
    assert not verified({**signed, "user_id": "@c:b"}, "@a:b", "DEV", account.ed25519)
    assert not verified(signed, "@a:b", "DEV", Account().ed25519)
    assert not verified(signed, "@c:b", "DEV", account.ed25519)


def test_a_second_signature_keeps_the_first() -> None:
    """An object signed by two has both, and the object that was given is as it was."""
    first, second = SigningKey(), SigningKey()
    value = with_signature({"a": 1}, "u", first.public, first.sign(signed_bytes({"a": 1})))
    both = with_signature(value, "u", second.public, second.sign(signed_bytes(value)))
    assert all(verified(both, "u", key.public, key.public) for key in (first, second))
    assert len(value["signatures"]["u"]) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["signatures", "a"]) | st.text(max_size=5), json_values, max_size=4), json_values
)
@settings(max_examples=150, deadline=None)
def test_nothing_of_strangers_verifies_or_raises(value: dict[str, Any], signatures: Any) -> None:
    """Any object, with anything as its signatures, is simply not signed."""
    key = SigningKey(SEED)
    assert not verified({**value, "signatures": signatures}, "u", "k", key.public)
    assert not verified({**value, "signatures": {"u": {"ed25519:k": "A" * 86}}}, "u", "k", key.public)
    assert not verified({**value, "signatures": {"u": {"ed25519:k": "?"}}}, "u", "k", "short")
