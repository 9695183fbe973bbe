"""People with encrypting clients: their devices' keys, what they say, and reading what they were said.

What clients do with keys and no more. Nothing of it is measured: all runs in the process of the scenario.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.processes import BenchmarkError
from benchmarks.tally import Tally, mark
from bridge_core.api.ids import UserId
from bridge_core.crypto.crosssigning import Identity
from bridge_core.crypto.olm import Account, GroupSession, InboundSession, OlmSession
from bridge_core.crypto.signing import SigningKey, signed_bytes, with_signature

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"

#: One-time keys of each device: one for each ghost that may speak to it, and then the fallback key.
ONCE = 60
#: Messages of a session, as rooms have it unless they say otherwise.
ROTATION = 100


class Device:
    """One device of one user."""

    def __init__(self, user: str, name: str) -> None:
        self.user = user
        self.name = name
        self.account = Account()
        self._ratchets: dict[str, list[OlmSession]] = {}
        self._sessions: dict[str, InboundSession] = {}

    def hear(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Take the room keys of to-device messages."""
        for message in messages:
            content = message["content"]
            mine = content.get("ciphertext", {}).get(self.account.curve25519)
            if mine is not None:
                plain = self._opened(content["sender_key"], mine["type"], mine["body"])
                key = orjson.loads(plain)["content"]
                self._sessions[key["session_id"]] = InboundSession.of_key(key["session_key"])

    def read(self, events: Iterable[Sequence[str]]) -> Tally:
        """Read events of (room, sender, body) and count them as stubs do. Raises BenchmarkError."""
        tally = Tally()
        for room, sender, body in events:
            content = orjson.loads(body)
            session = self._sessions.get(content["session_id"])
            if session is None:
                raise BenchmarkError(f"{self.user} has no key for what {sender} said in {room}")
            tally.add(room, session.decrypt(content["ciphertext"])[0])
        return tally

    def _opened(self, sender_key: str, kind: int, body: str) -> bytes:
        known = self._ratchets.setdefault(sender_key, [])
        for session in known:
            if kind or session.matches(kind, body):
                return session.decrypt(kind, body)
        session, opened = self.account.inbound(sender_key, body)
        known.append(session)
        return opened

    def keys(self, identity: Identity, once: int = ONCE) -> dict[str, Any]:
        """The body of /keys/upload, the device signed by its owner."""
        account = self.account
        account.add_one_time_keys(once)
        account.add_fallback_key()
        keys: dict[str, Any] = {
            "user_id": self.user,
            "device_id": self.name,
            "algorithms": [OLM, MEGOLM],
            "keys": {f"curve25519:{self.name}": account.curve25519, f"ed25519:{self.name}": account.ed25519},
        }
        keys = with_signature(keys, self.user, self.name, account.sign(signed_bytes(keys)))
        body = {
            "device_keys": identity.signed_device(keys),
            "one_time_keys": {f"signed_curve25519:{name}": self._signed({"key": key}) for name, key in _of(account)},
            "fallback_keys": {
                f"signed_curve25519:{name}": self._signed({"key": key, "fallback": True})
                for name, key in account.fallback_key().items()
            },
        }
        account.published()
        return body

    def _signed(self, value: dict[str, Any]) -> dict[str, Any]:
        return with_signature(value, self.user, self.name, self.account.sign(signed_bytes(value)))


def _of(account: Account) -> Iterable[tuple[str, str]]:
    return account.one_time_keys().items()


def household(user: str, devices: int, once: int = ONCE) -> tuple[list[Device], list[tuple[Any, ...]]]:
    """A user's devices, and what of them the stub homeserver is to keep (its control request ``keys``)."""
    identity = Identity(UserId(user), SigningKey(), SigningKey(), SigningKey())
    made = [Device(user, f"DEVICE{number}") for number in range(devices)]
    signing: list[Any] = [identity.upload(), *[None] * (devices - 1)]
    bodies = [device.keys(identity, once) for device in made]
    rows = [(user, one.name, body, of) for one, body, of in zip(made, bodies, signing, strict=True)]
    return made, rows


@dataclass(frozen=True, slots=True)
class BridgeDevice:
    """The bot's device as the homeserver gives it, with one of its one-time keys."""

    user: str
    name: str
    curve25519: str
    ed25519: str
    once: str

    @classmethod
    def read(cls, user: str, answer: Mapping[str, Any]) -> BridgeDevice:
        """Of the stub's answer to ``device``. Raises BenchmarkError while there are no keys."""
        try:
            ((name, keys),) = answer["device_keys"][user].items()
            once = answer["one_time_keys"][user][name]
        except (ValueError, KeyError) as error:
            raise BenchmarkError(f"{user} has no keys") from error
        (one,) = once.values()
        return cls(user, name, keys["keys"][f"curve25519:{name}"], keys["keys"][f"ed25519:{name}"], one["key"])


@dataclass(slots=True)
class Talk:
    """A transaction's worth of what people say: the events, and the keys that go before them."""

    events: list[dict[str, Any]] = field(default_factory=list)
    to_device: list[dict[str, Any]] = field(default_factory=list)


class Speaker:
    """A person who speaks in one room by one device, for the bridge's bot."""

    def __init__(self, device: Device, room: str, bot: BridgeDevice) -> None:
        self._device = device
        self._room = room
        self._bot = bot
        self._olm = device.account.outbound(bot.curve25519, bot.once)
        self._group: GroupSession | None = None

    def say(self, text: str, event_id: str, talk: Talk) -> None:
        """Add one message, and a new session's key where it is time for one."""
        group = self._group
        if group is None or group.index >= ROTATION:
            group = self._group = GroupSession()
            talk.to_device.append(self._key(group))
        device = self._device
        plain = {
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": text},
            "room_id": self._room,
        }
        content = {
            "algorithm": MEGOLM,
            "ciphertext": group.encrypt(orjson.dumps(plain)),
            "session_id": group.id,
            "sender_key": device.account.curve25519,
            "device_id": device.name,
        }
        talk.events.append(
            {
                "type": "m.room.encrypted",
                "room_id": self._room,
                "sender": device.user,
                "event_id": event_id,
                "origin_server_ts": 1,
                "content": content,
                "unsigned": {"age": 1},
            }
        )

    def _key(self, group: GroupSession) -> dict[str, Any]:
        device, bot = self._device, self._bot
        inner = {
            "type": "m.room_key",
            "sender": device.user,
            "recipient": bot.user,
            "recipient_keys": {"ed25519": bot.ed25519},
            "keys": {"ed25519": device.account.ed25519},
            "content": {
                "algorithm": MEGOLM,
                "room_id": self._room,
                "session_id": group.id,
                "session_key": group.key,
            },
        }
        kind, body = self._olm.encrypt(orjson.dumps(inner))
        content = {
            "algorithm": OLM,
            "sender_key": device.account.curve25519,
            "ciphertext": {bot.curve25519: {"type": kind, "body": body}},
        }
        return {
            "type": "m.room.encrypted",
            "sender": device.user,
            "content": content,
            "to_user_id": bot.user,
            "to_device_id": bot.name,
        }


def talks(speakers: Sequence[Speaker], count: int, numbers: itertools.count[int], batch: int = 100) -> list[Talk]:
    """What is said in all: ``count`` numbered messages round-robin, in transactions of ``batch``."""
    made: list[Talk] = []
    for sequence in range(count):
        if sequence % batch == 0:
            made.append(Talk())
        text = f"{mark(sequence, 1)} hello there, this is a message of ordinary length"
        speakers[sequence % len(speakers)].say(text, f"$k{next(numbers)}:bench.test", made[-1])
    return made
