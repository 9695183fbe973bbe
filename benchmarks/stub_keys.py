"""The stub homeserver's key endpoints: it keeps what is uploaded, gives it out, and counts what goes to devices.

Client-Server API v1.17, "End-to-End Encryption" and "Send-to-Device messaging"; nothing is verified.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.http_protocol import Reply

Query = dict[str, list[str]]

#: Longest wait of a /sync: nothing ever comes by it.
_SYNC_S = 30.0


@dataclass(slots=True)
class DeviceKeys:
    """What the stub has of devices: by user, and one-time keys by (user, device)."""

    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    masters: dict[str, Any] = field(default_factory=dict)
    self_signing: dict[str, Any] = field(default_factory=dict)
    once: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    fallback: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    """Users whose to-device messages are kept; of all others they are only counted."""
    inboxes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    sealed: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Encrypted events: room, sender, body."""

    def upload(self, user: str, device: str, body: Mapping[str, Any]) -> int:
        """Keep a device's keys; how many one-time keys there are of it now."""
        if keys := body.get("device_keys"):
            self.devices.setdefault(user, {})[device] = keys
        once = self.once.setdefault((user, device), {})
        once.update(body.get("one_time_keys", {}))
        self.fallback.setdefault((user, device), {}).update(body.get("fallback_keys", {}))
        return len(once)

    def sign(self, user: str, body: Mapping[str, Any]) -> None:
        """Keep a user's cross-signing identity."""
        self.masters[user] = body["master_key"]
        self.self_signing[user] = body["self_signing_key"]

    def query(self, users: Mapping[str, Any]) -> dict[str, Any]:
        """Answer /keys/query."""
        return {
            "device_keys": {user: self.devices.get(user, {}) for user in users},
            "master_keys": {user: self.masters[user] for user in users if user in self.masters},
            "self_signing_keys": {user: self.self_signing[user] for user in users if user in self.self_signing},
            "failures": {},
        }

    def claim(self, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """Answer /keys/claim: each one-time key once, then the fallback key."""
        given: dict[str, dict[str, Any]] = {}
        for user, devices in wanted.items():
            for device in devices:
                once = self.once.get((user, device)) or {}
                if once:
                    key_id = next(iter(once))
                    given.setdefault(user, {})[device] = {key_id: once.pop(key_id)}
                elif last := self.fallback.get((user, device)):
                    given.setdefault(user, {})[device] = last
        return {"one_time_keys": given, "failures": {}}

    def send(self, sender: str, kind: str, messages: Mapping[str, Mapping[str, Any]]) -> None:
        """Count messages to devices, and keep those of watched users."""
        for user, devices in messages.items():
            self.sent[kind] += len(devices)
            if user in self.watched:
                inbox = self.inboxes.setdefault(user, [])
                inbox += [{"type": kind, "sender": sender, "content": content} for content in devices.values()]


class KeyRoutes:
    """Routes of the stub homeserver, which is made of this."""

    def __init__(self) -> None:
        self.keys = DeviceKeys()

    def _post_keys(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        device = query.get("device_id", [""])[0]
        match rest:
            case ["upload"]:
                return _ok({"one_time_key_counts": {"signed_curve25519": self.keys.upload(user, device, data)}})
            case ["query"]:
                return _ok(self.keys.query(data["device_keys"]))
            case ["claim"]:
                return _ok(self.keys.claim(data["one_time_keys"]))
            case ["device_signing", "upload"]:
                self.keys.sign(user, data)
                return _ok({})
            case ["signatures", "upload"]:
                return _ok({"failures": {}})
        return Reply(404, orjson.dumps({"errcode": "M_UNRECOGNIZED", "error": "/".join(rest)}))

    def _put_sendtodevice(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        self.keys.send(user, rest[0], data["messages"])
        return _ok({})

    async def _synced(self, query: Query) -> Reply:
        """A /sync that brings nothing, after the time it was to wait."""
        await asyncio.sleep(min(int(query.get("timeout", ["0"])[0]) / 1000, _SYNC_S))
        return _ok({"next_batch": "s1"})

    def _about_keys(self, name: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a control request about keys; None when it is none."""
        keys = self.keys
        match name:
            case "keys":  # devices as (user, device, body of /keys/upload, body of /keys/device_signing/upload)
                for user, device, body, identity in data["devices"]:
                    keys.upload(user, device, body)
                    if identity is not None:
                        keys.sign(user, identity)
            case "watch":
                keys.watched.update(data["users"])
            case "to_device":
                taken, keys.inboxes = keys.inboxes, {}
                return {"inboxes": taken, "sent": dict(keys.sent)}
            case "device":
                user = data["user"]
                return {**keys.query({user: []}), **keys.claim({user: dict.fromkeys(keys.devices.get(user, {}), "")})}
            case "sealed":
                return {"events": [(room, sender, body.decode()) for room, sender, body in keys.sealed]}
            case _:
                return None
        return {}


def _ok(value: object) -> Reply:
    return Reply(200, orjson.dumps(value))
