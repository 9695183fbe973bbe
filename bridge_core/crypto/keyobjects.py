"""Reads what /keys/query and /keys/claim give: anything may be in it. Pure functions.

Source: client-server API, "Device keys", "Cross-signing" (validation), "One-time and fallback keys".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeGuard

from bridge_core.api.ids import UserId
from bridge_core.crypto.errors import OlmError
from bridge_core.crypto.olm import decode
from bridge_core.crypto.signing import canonical, verified

__all__ = ["PeerDevice", "claimed_key", "digest_of", "read_cross_key", "read_device"]

_KEY = 32
_LONGEST = 255
_CLAIMED = 3
"""Keys that are looked at of those given for one device: there is one, and each costs a signature."""


@dataclass(frozen=True, slots=True)
class PeerDevice:
    """A device of anybody. `signed`: by its owner's self-signing key. `seen` is a digest of what this was read from."""

    user: UserId
    id: str
    curve25519: str
    ed25519: str
    signed: bool
    seen: str = ""


def digest_of(value: Any, signer: str) -> str:
    """Tells whether an object, as judged with the owner's self-signing key, is the one that was read before."""
    try:
        data = canonical(value)
    except OlmError:
        return ""
    return blake2b(data + signer.encode(), digest_size=12).hexdigest()


def read_device(value: Any, user: UserId, device: str, signer: str) -> PeerDevice | None:
    """A device whose keys are its own (signed by itself, under its own name), else None."""
    if not isinstance(value, Mapping) or value.get("user_id") != user or value.get("device_id") != device:
        return None
    if not 0 < len(device) <= _LONGEST or "\0" in device:
        return None
    keys = value.get("keys")
    if not isinstance(keys, Mapping):
        return None
    curve, ed = keys.get(f"curve25519:{device}"), keys.get(f"ed25519:{device}")
    if not _is_key(curve) or not _is_key(ed) or not verified(value, user, device, ed):
        return None
    signed = bool(signer) and verified(value, user, signer, signer)
    return PeerDevice(user, device, curve, ed, signed, digest_of(value, signer))


def read_cross_key(value: Any, user: UserId, usage: str, master: str = "") -> str:
    """The public key of a cross-signing object; empty when it is none. All but the master's are signed by it."""
    if not isinstance(value, Mapping) or value.get("user_id") != user:
        return ""
    usages, keys = value.get("usage"), value.get("keys")
    if not isinstance(usages, list) or usage not in usages or not isinstance(keys, Mapping) or len(keys) != 1:
        return ""
    ((key_id, key),) = keys.items()
    if not _is_key(key) or key_id != f"ed25519:{key}":
        return ""
    return key if usage == "master" or (master and verified(value, user, master, master)) else ""


def claimed_key(value: Any, device: PeerDevice) -> str:
    """The one-time (or fallback) key that was claimed of a device; empty unless the device has signed it."""
    if not isinstance(value, Mapping):
        return ""
    for key_id, signed in islice(value.items(), _CLAIMED):
        if not key_id.startswith("signed_curve25519:") or not isinstance(signed, Mapping):
            continue
        key = signed.get("key")
        if _is_key(key) and verified(signed, device.user, device.id, device.ed25519):
            return key
    return ""


def _is_key(value: Any) -> TypeGuard[str]:
    if not isinstance(value, str) or len(value) > _LONGEST:
        return False
    try:
        return len(decode(value)) == _KEY
    except OlmError:
        return False
