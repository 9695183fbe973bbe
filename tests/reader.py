"""A cheap device of a human, for rooms with hundreds of them: it has keys on the fake homeserver and reads."""

from typing import Any

import orjson

from bridge_core.api.ids import UserId
from bridge_core.crypto.crosssigning import CrossSigning
from bridge_core.crypto.olm import Account, InboundSession
from bridge_core.crypto.signing import signed_bytes, with_signature
from bridge_core.testing.homeserver import FakeHomeserver
from bridge_core.testing.homeserver.user import FakeUser


class Reader:
    """Its keys are put into the homeserver's book; nothing goes by HTTP.

    `signed`: by its owner's identity; without, the owner has an identity and has not signed it. `one_time`: it has
    one-time keys left.
    """

    def __init__(
        self, homeserver: FakeHomeserver, user: FakeUser, *, signed: bool = True, one_time: bool = True
    ) -> None:
        self.user = user
        self.messages = 0
        """To-device messages that came, of any kind."""
        self._account = account = Account()
        self._sessions: dict[str, InboundSession] = {}
        name, device = user.id, user.device
        identity = CrossSigning._derived(name.encode(), UserId(name), 0)
        homeserver.keys.upload_cross_signing(name, identity.upload())
        keys: dict[str, Any] = {
            "user_id": name,
            "device_id": device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {f"curve25519:{device}": account.curve25519, f"ed25519:{device}": account.ed25519},
        }
        keys = with_signature(keys, name, device, account.sign(signed_bytes(keys)))
        body: dict[str, Any] = {"device_keys": identity.signed_device(keys) if signed else keys}
        if one_time:
            account.add_one_time_keys(5)
            body["one_time_keys"] = {
                f"signed_curve25519:{key_id}": with_signature(
                    {"key": key}, name, device, account.sign(signed_bytes({"key": key}))
                )
                for key_id, key in account.one_time_keys().items()
            }
        homeserver.keys.upload(name, device, body)

    def read(self, event: dict[str, Any]) -> str | None:
        """The text of an encrypted event, or None where its key has not come."""
        for message in self.user.to_device():
            self.messages += 1
            content = message["content"]
            mine = (content.get("ciphertext") or {}).get(self._account.curve25519)
            if message["type"] != "m.room.encrypted" or mine is None or mine["type"] != 0:
                continue
            _, plaintext = self._account.inbound(content["sender_key"], mine["body"])
            given = orjson.loads(plaintext)["content"]
            self._sessions[given["session_id"]] = InboundSession.of_key(given["session_key"])
        session = self._sessions.get(event["content"]["session_id"])
        if session is None:
            return None
        plaintext, _ = session.decrypt(event["content"]["ciphertext"])
        text: str = orjson.loads(plaintext)["content"]["body"]
        return text
