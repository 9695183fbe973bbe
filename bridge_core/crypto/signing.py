"""Canonical JSON and signatures of JSON objects. Pure functions.

Source: Matrix specification, appendices "Canonical JSON" and "Signing JSON". Unpadded base64 everywhere.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge_core.crypto.errors import OlmError, Reason
from bridge_core.crypto.olm import encode, is_signature

__all__ = ["SigningKey", "canonical", "signature_of", "signed_bytes", "verified", "with_signature"]

_LARGEST: Final = 2**53 - 1
_DEPTH: Final = 50
_SIZE: Final = 32


class SigningKey:
    """An Ed25519 key that signs, made of a seed of 32 bytes (a new one when none is given)."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes | None = None) -> None:
        self.seed = seed if seed is not None else os.urandom(_SIZE)
        self._key = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = encode(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> str:
        """The signature."""
        return encode(self._key.sign(message))


def canonical(value: Any) -> bytes:
    """The one way to write a value as JSON. Raises OlmError where there is none (floats, large numbers, depth)."""
    _check(value, _DEPTH)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise OlmError(Reason.DAMAGED, "not JSON that can be signed") from error


def signed_bytes(value: Mapping[str, Any]) -> bytes:
    """What is signed of an object: all but its signatures and `unsigned`, in canonical form."""
    return canonical({key: inner for key, inner in value.items() if key not in {"signatures", "unsigned"}})


def with_signature(value: Mapping[str, Any], user: str, key_id: str, signature: str) -> dict[str, Any]:
    """A copy with one signature more; `key_id` is without the algorithm."""
    signatures = {name: dict(of) for name, of in value.get("signatures", {}).items()}
    signatures.setdefault(user, {})[f"ed25519:{key_id}"] = signature
    return {**value, "signatures": signatures}


def signature_of(value: Mapping[str, Any], user: str, key_id: str) -> str | None:
    """The signature that an object from anywhere has of a user's key; None when there is none."""
    found: Any = value.get("signatures")
    for name in (user, f"ed25519:{key_id}"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def verified(value: Mapping[str, Any], user: str, key_id: str, public: str) -> bool:
    """Whether the object is signed by the user's key. Anything may be given; never raises."""
    signature = signature_of(value, user, key_id)
    if signature is None:
        return False
    try:
        return is_signature(public, signed_bytes(value), signature)
    except OlmError:
        return False


def _check(value: Any, depth: int) -> None:
    # Numbers beyond what every language reads alike, and floats, have no canonical form.
    if not depth:
        raise OlmError(Reason.DAMAGED, "nested too deep to be signed")
    if isinstance(value, dict | list | tuple | Mapping):
        for inner in value if isinstance(value, list | tuple) else value.values():
            if type(inner) is not str:  # nearly all are, and there is nothing to see
                _check(inner, depth - 1)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) > _LARGEST):
        raise OlmError(Reason.DAMAGED, "a number that cannot be signed")
