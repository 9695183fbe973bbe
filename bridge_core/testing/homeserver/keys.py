"""What a homeserver keeps of encryption: device keys, one-time and fallback keys, cross-signing, to-device messages."""

from typing import Any

from bridge_core.crypto.signing import verified
from bridge_core.testing.homeserver.failure import MatrixError, not_found

__all__ = ["KeyBook"]

Keys = dict[str, Any]
_SYNC = 100
"""To-device messages in one /sync."""
_KINDS = ("master", "self_signing", "user_signing")


class KeyBook:
    """Keys by user and device, checked as Synapse checks them (read in its source, and measured)."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Keys]] = {}
        self.silent: set[str] = set()
        """Names of servers that do not answer: they are named in `failures`, and nothing is known of their users."""
        self._position = 1
        self._inboxes: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
        self._changes: list[tuple[int, str]] = []
        self._one_time: dict[tuple[str, str], dict[str, Keys]] = {}
        self._fallback: dict[tuple[str, str], dict[str, tuple[Keys, bool]]] = {}
        self._cross: dict[str, dict[str, Keys]] = {}
        self._used: dict[str, set[str]] = {}

    def upload(self, user: str, device: str, body: Keys) -> tuple[dict[str, int], bool]:
        """Keeps a device's keys; returns the counts, and whether its list entry changed."""
        keys = body.get("device_keys")
        changed = False
        if keys is not None:
            if not isinstance(keys, dict) or keys.get("user_id") != user or keys.get("device_id") != device:
                raise MatrixError(400, "M_BAD_JSON", "device_keys do not belong to this device")
            changed = self.devices.setdefault(user, {}).get(device) != keys
            self.devices[user][device] = keys
        mine = self._one_time.setdefault((user, device), {})
        for name, key in (body.get("one_time_keys") or {}).items():
            known = mine.get(name)
            if known is not None and _unsigned(known) != _unsigned(key):
                raise MatrixError(400, "M_UNKNOWN", f"One time key {name} already exists.")
            mine[name] = key
        for name, key in (body.get("fallback_keys") or {}).items():
            self._fallback.setdefault((user, device), {})[name.partition(":")[0]] = ({name: key}, False)
        return self.counts(user, device), changed

    def counts(self, user: str, device: str) -> dict[str, int]:
        """How many one-time keys are left, by algorithm; algorithms without one are not named."""
        counts: dict[str, int] = {}
        for name in self._one_time.get((user, device), {}):
            algorithm = name.partition(":")[0]
            counts[algorithm] = counts.get(algorithm, 0) + 1
        return counts

    def unused_fallbacks(self, user: str, device: str) -> list[str]:
        """The algorithms whose fallback key was not claimed."""
        return [name for name, (_, used) in self._fallback.get((user, device), {}).items() if not used]

    def query(self, viewer: str, users: list[str]) -> dict[str, Any]:
        """The answer of /keys/query to `viewer`, who alone sees their own user-signing key."""
        failures = self.unanswered(users)
        users = [user for user in users if user.partition(":")[2] not in failures]
        cross = {user: self._cross.get(user, {}) for user in users}
        return {
            "device_keys": {user: dict(self.devices.get(user, {})) for user in users},
            "master_keys": {user: keys["master"] for user, keys in cross.items() if "master" in keys},
            "self_signing_keys": {user: keys["self_signing"] for user, keys in cross.items() if "self_signing" in keys},
            "user_signing_keys": {
                user: keys["user_signing"] for user, keys in cross.items() if "user_signing" in keys and user == viewer
            },
            "failures": failures,
        }

    def unanswered(self, users: list[str]) -> dict[str, Any]:
        """The `failures` of an answer about these users."""
        servers = sorted({user.partition(":")[2] for user in users} & self.silent)
        return {server: {"status": 504, "message": "timeout"} for server in servers}

    def claim(self, user: str, device: str, algorithm: str) -> Keys:
        """Takes the oldest one-time key, or gives the fallback key; `{}` when there is neither."""
        mine = self._one_time.get((user, device), {})
        for name in mine:
            if name.startswith(f"{algorithm}:"):
                return {name: mine.pop(name)}
        fallback = self._fallback.get((user, device), {})
        if algorithm in fallback:
            key, _ = fallback[algorithm]
            fallback[algorithm] = (key, True)
            return key
        return {}

    def lose_one_time_keys(self, user: str, device: str) -> None:
        """Forgets a device's one-time keys, as a homeserver restored from a backup has lost them."""
        self._one_time.pop((user, device), None)

    def upload_cross_signing(self, user: str, body: Keys) -> None:
        """Keeps cross-signing keys that the master key signs."""
        mine = self._cross.get(user, {})
        master = body.get("master_key") or mine.get("master")
        if master is None:
            raise MatrixError(400, "M_MISSING_PARAM", "No master key available")
        new: dict[str, Keys] = {}
        for kind in _KINDS:
            key = body.get(f"{kind}_key")
            if key is None:
                continue
            if key.get("user_id") != user or kind not in key.get("usage", []) or len(key.get("keys", {})) != 1:
                raise MatrixError(400, "M_INVALID_PARAM", f"Invalid {kind} key")
            if kind != "master" and not verified(key, user, *_public(master)):
                raise MatrixError(400, "M_INVALID_SIGNATURE", f"Invalid signature on {kind} key")
            new[kind] = key
        if all(mine.get(kind, {}).get("keys") == key["keys"] for kind, key in new.items()):
            return
        used = self._used.setdefault(user, set())
        publics = {public for key in new.values() for public in key["keys"].values()}
        if used & publics:
            raise MatrixError(500, "M_UNKNOWN", "Internal server error")  # as Synapse: unique for ever
        used |= publics
        self._cross[user] = {**mine, **new}

    def upload_signatures(self, user: str, body: Keys) -> dict[str, Any]:
        """Adds signatures that fit; returns the failures of the others by user and device or key."""
        failures: dict[str, dict[str, Any]] = {}
        for owner, signed in body.items():
            for name, value in signed.items():
                try:
                    self._sign(user, owner, name, value)
                except MatrixError as error:
                    failures.setdefault(owner, {})[name] = {"status": error.status, **error.body}
        return failures

    def forget(self, user: str, device: str) -> bool:
        """Removes a device's keys; returns whether there were any."""
        self._one_time.pop((user, device), None)
        self._fallback.pop((user, device), None)
        self._inboxes.pop((user, device), None)
        return self.devices.get(user, {}).pop(device, None) is not None

    def deliver(self, user: str, device: str, message: dict[str, Any]) -> None:
        """Puts a message into a device's inbox, where it stays until the device's /sync has gone beyond it."""
        self._position += 1
        self._inboxes.setdefault((user, device), []).append((self._position, message))

    def changed(self, user: str) -> None:
        """Notes that somebody's devices changed."""
        self._position += 1
        self._changes.append((self._position, user))

    def since(self, user: str, device: str, position: int) -> tuple[int, list[dict[str, Any]], set[str]]:
        """The next position, a device's messages behind this one, whose devices changed; forgets older messages."""
        inbox = [one for one in self._inboxes.get((user, device), []) if one[0] > position]
        self._inboxes[user, device] = inbox
        end = inbox[_SYNC - 1][0] if len(inbox) > _SYNC else self._position
        changed = {who for at, who in self._changes if at > position}
        return end, [message for at, message in inbox if at <= end], changed

    def take(self, user: str, device: str) -> list[dict[str, Any]]:
        """The to-device messages that wait for a device, which does not get them again."""
        return [message for _, message in self._inboxes.pop((user, device), [])]

    def _sign(self, signer: str, owner: str, name: str, value: Keys) -> None:
        target, key_id, public = self._target(signer, owner, name, value)
        bare = {key: inner for key, inner in value.items() if key not in {"signatures", "unsigned"}}
        if bare != {key: inner for key, inner in target.items() if key not in {"signatures", "unsigned"}}:
            raise MatrixError(400, "M_UNKNOWN", "Key does not match")
        if not verified(value, signer, key_id, public):
            raise MatrixError(400, "M_INVALID_SIGNATURE", "Invalid signature")
        added = value["signatures"][signer][f"ed25519:{key_id}"]
        target.setdefault("signatures", {}).setdefault(signer, {})[f"ed25519:{key_id}"] = added

    def _target(self, signer: str, owner: str, name: str, value: Keys) -> tuple[Keys, str, str]:
        """What is signed, and the key that must have done so: its id and itself."""
        cross = self._cross.get(owner, {})
        if "master" in cross and _public(cross["master"])[0] == name:
            if signer != owner:
                return cross["master"], *_public(self._cross_key(signer, "user_signing"))
            for key_id in value.get("signatures", {}).get(signer, {}):
                device = key_id.partition(":")[2]
                keys = self.devices.get(owner, {}).get(device, {}).get("keys", {})
                if key_id in keys:
                    return cross["master"], device, keys[key_id]
            raise MatrixError(400, "M_INVALID_SIGNATURE", "Invalid signature")
        if signer != owner or name not in self.devices.get(owner, {}):
            raise not_found("Unknown device")
        return self.devices[owner][name], *_public(self._cross_key(signer, "self_signing"))

    def _cross_key(self, user: str, kind: str) -> Keys:
        key = self._cross.get(user, {}).get(kind)
        if key is None:
            raise not_found(f"No {kind} key found for {user}")
        return key


def _public(key: Keys) -> tuple[str, str]:
    ((name, public),) = key["keys"].items()
    return name.partition(":")[2], public


def _unsigned(key: Any) -> Any:
    return {name: value for name, value in key.items() if name != "signatures"} if isinstance(key, dict) else key
