"""The contract of the homeserver's key endpoints, the same on a real Synapse and on FakeHomeserver."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.errors import IdentityFailedError
from bridge_core.crypto.olm import Account
from bridge_core.crypto.ports import BackupVersion, KeyServer, Owner
from bridge_core.crypto.signing import SigningKey, signed_bytes, with_signature
from bridge_core.engine.matrix_ports import MatrixRejectedError, RoomSpec
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.queries import NoQueries
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.transaction import Transaction
from tests.conformance.homeservers import ID, SERVER, Homeserver, Human
from tests.unit.matrix.doubles import Clock, Keys

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENCRYPTION = True

BOT = UserId(f"@bridgebot:{SERVER}")
Json = dict[str, Any]


class Device:
    """A device's keys as they are uploaded, and what they are signed with."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.account = Account()
        algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
        names = {
            f"curve25519:{owner.device}": self.account.curve25519,
            f"ed25519:{owner.device}": self.account.ed25519,
        }
        self.keys = self.signed(
            {"user_id": owner.user, "device_id": owner.device, "algorithms": algorithms, "keys": names}
        )

    def signed(self, value: Json) -> Json:
        """The object with this device's signature."""
        return with_signature(value, self.owner.user, self.owner.device, self.account.sign(signed_bytes(value)))

    def one_time_keys(self, count: int) -> Json:
        """New ones, signed."""
        self.account.add_one_time_keys(count)
        keys = {f"signed_curve25519:{name}": self.signed({"key": key}) for name, key in self._new().items()}
        self.account.published()
        return keys

    def fallback_key(self) -> Json:
        """A new one, signed."""
        self.account.add_fallback_key()
        ((name, key),) = self.account.fallback_key().items()
        return {f"signed_curve25519:{name}": self.signed({"key": key, "fallback": True})}

    def _new(self) -> dict[str, str]:
        return self.account.one_time_keys()


class Identity:
    """A user's cross-signing keys, as they are uploaded."""

    def __init__(self, user: UserId) -> None:
        self.user = user
        self.master, self.self_signing, self.user_signing = SigningKey(), SigningKey(), SigningKey()
        self.body = {
            "master_key": self._key("master", self.master),
            "self_signing_key": self.by(self.master, self._key("self_signing", self.self_signing)),
            "user_signing_key": self.by(self.master, self._key("user_signing", self.user_signing)),
        }

    def _key(self, usage: str, key: SigningKey) -> Json:
        return {"user_id": self.user, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}

    def by(self, key: SigningKey, value: Json) -> Json:
        """The object with one of this identity's signatures."""
        return with_signature(value, self.user, key.public, key.sign(signed_bytes(value)))


@dataclass
class Received:
    """A sink that remembers, and tells who waits."""

    transactions: list[Transaction] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, txn: Transaction) -> None:
        self.transactions.append(txn)
        self.came.set()

    async def first(self, fits: Callable[[Transaction], bool]) -> Transaction:
        """The first transaction that fits, of all so far and to come."""
        async with asyncio.timeout(60):
            while True:
                for txn in self.transactions:
                    if fits(txn):
                        return txn
                self.came.clear()
                await self.came.wait()


@dataclass
class Setting:
    """The key endpoints of a homeserver, and who uses them."""

    homeserver: Homeserver
    side: AppserviceSide
    received: Received
    listener: Listener

    @property
    def keys(self) -> KeyServer:
        """What is tested."""
        return self.side.keys

    async def ghost(self) -> Owner:
        """A new ghost with its plain device."""
        user = UserId(f"@_ghost_{secrets.token_hex(4)}:{SERVER}")
        device = await self.side.ensure_registered(user)
        assert device is not None
        return Owner(user, device)

    async def human(self) -> tuple[Human, Owner]:
        """A new human, and their device."""
        human = await self.homeserver.human()
        return human, Owner(UserId(human.id), (await human.call("GET", "account/whoami"))["device_id"])

    async def met(self) -> None:
        """The homeserver takes the bridge for up: Synapse drops what is for devices while it does not.

        It may not since the last test's listener was stopped, and learns of the new one in its own time.
        """
        (human, _), owner = await self.human(), await self.ghost()
        body = {"messages": {owner.user: {owner.device: {}}}}
        for _ in range(12):
            await human.call("PUT", f"sendToDevice/m.met/{secrets.token_hex(4)}", body)
            try:
                async with asyncio.timeout(5):
                    await self.received.first(lambda txn: any(one["type"] == "m.met" for one in txn.to_device))
                return
            except TimeoutError:
                continue
        raise AssertionError("no message to a device is sent on")


@pytest_asyncio.fixture(loop_scope="module")
async def at(homeserver: Homeserver) -> AsyncIterator[Setting]:
    """A fresh Matrix side that the homeserver reaches."""
    received = Received()
    listener = Listener(AppserviceHttp(homeserver.hs_token, received, NoQueries()).application(), port=homeserver.port)
    await listener.start()
    side = AppserviceSide(
        address=homeserver.url, as_token=homeserver.as_token, bot=BOT, media_keys=Keys(), clock=Clock(), timeout=30
    )
    await side.start()
    await side.check()
    await side.ping(ID)
    yield Setting(homeserver, side, received, listener)
    await side.stop()
    await listener.stop()


async def test_one_time_keys_and_then_the_fallback_key(at: Setting) -> None:
    """Keys uploaded in one request are counted and claimed, each once; then the fallback key comes, each time."""
    owner = await at.ghost()
    device = Device(owner)
    one_time, fallback = device.one_time_keys(2), device.fallback_key()
    body = {"device_keys": device.keys, "one_time_keys": one_time, "fallback_keys": fallback}
    assert await at.keys.upload_keys(owner, body) == {"signed_curve25519": 2}
    assert await at.keys.upload_keys(owner, {"one_time_keys": one_time}) == {"signed_curve25519": 2}
    others = dict(zip(one_time, Device(owner).one_time_keys(2).values(), strict=True))
    with pytest.raises(MatrixRejectedError) as refused:
        await at.keys.upload_keys(owner, {"one_time_keys": others})
    assert refused.value.status == 400
    asking = await at.ghost()
    wanted = {owner.user: {owner.device: "signed_curve25519"}}
    got = [(await at.keys.claim_keys(asking, wanted)).keys[owner.user][owner.device] for _ in range(4)]
    assert {**got[0], **got[1]} == one_time
    assert got[2] == got[3] == fallback
    assert await at.keys.upload_keys(owner, {}) in ({}, {"signed_curve25519": 0})


async def test_a_device_without_keys_gives_none(at: Setting) -> None:
    """Whoever has no key to claim is not in the answer, or with nothing; others get theirs."""
    owner, bare = await at.ghost(), await at.ghost()
    key = Device(owner).one_time_keys(1)
    await at.keys.upload_keys(owner, {"one_time_keys": key})
    wanted = {one.user: {one.device: "signed_curve25519"} for one in (bare, owner)}
    answer = await at.keys.claim_keys(bare, wanted)
    assert answer.keys[owner.user] == {owner.device: key}
    assert not answer.keys.get(bare.user, {}).get(bare.device)
    assert answer.failed == frozenset()


async def test_devices_are_told_as_they_were_uploaded(at: Setting) -> None:
    """A query of many users gives each one's devices, with every signature; unknown users have none."""
    owner, (human, theirs) = await at.ghost(), await at.human()
    device, other = Device(owner), Device(theirs)
    await at.keys.upload_keys(owner, {"device_keys": device.keys})
    await human.call("POST", "keys/upload", {"device_keys": other.keys})
    nobody = UserId(f"@nobody{secrets.token_hex(3)}:{SERVER}")
    found = await at.keys.query_keys(owner, [owner.user, theirs.user, nobody])
    assert _bare(found.devices[owner.user][owner.device]) == device.keys
    assert _bare(found.devices[theirs.user][theirs.device]) == other.keys
    assert not found.devices.get(nobody)
    assert (found.masters, found.failed) == ({}, frozenset())


async def test_cross_signing_without_anybody_typing_a_password(at: Setting) -> None:
    """A ghost's keys and signatures are taken and told; its user-signing key is seen by itself alone."""
    owner, other = await at.ghost(), await at.ghost()
    device, identity = Device(owner), Identity(owner.user)
    await at.keys.upload_keys(owner, {"device_keys": device.keys})
    await at.keys.upload_cross_signing(owner, identity.body)
    signed = identity.by(identity.self_signing, device.keys)
    master = device.signed(identity.body["master_key"])
    body = {owner.user: {owner.device: signed, identity.master.public: master}}
    assert await at.keys.upload_signatures(owner, body) == {}
    found = await at.keys.query_keys(owner, [owner.user])
    assert _bare(found.devices[owner.user][owner.device]) == signed
    assert found.masters[owner.user] == master
    assert found.self_signing[owner.user] == identity.body["self_signing_key"]
    assert found.user_signing[owner.user] == identity.body["user_signing_key"]
    seen = await at.keys.query_keys(other, [owner.user])
    assert (seen.masters[owner.user]["keys"], seen.user_signing) == (master["keys"], {})
    # Again, and with new keys: a reset needs nobody either.
    await at.keys.upload_cross_signing(owner, identity.body)
    anew = Identity(owner.user)
    await at.keys.upload_cross_signing(owner, anew.body)
    assert (await at.keys.query_keys(owner, [owner.user])).masters[owner.user]["keys"] == anew.body["master_key"][
        "keys"
    ]
    # An identity that was replaced is not taken back.
    with pytest.raises(IdentityFailedError):
        await at.keys.upload_cross_signing(owner, identity.body)


async def test_wrong_signatures_are_told(at: Setting) -> None:
    """A signature that does not fit is refused by name, and a key that the master did not sign with it."""
    owner = await at.ghost()
    device, identity = Device(owner), Identity(owner.user)
    await at.keys.upload_keys(owner, {"device_keys": device.keys})
    with pytest.raises(MatrixRejectedError) as caught:
        await at.keys.upload_cross_signing(owner, {**identity.body, "self_signing_key": _forged(identity)})
    assert caught.value.errcode == "M_INVALID_SIGNATURE"
    await at.keys.upload_cross_signing(owner, identity.body)
    wrong = with_signature(device.keys, owner.user, identity.self_signing.public, identity.self_signing.sign(b"other"))
    failures = await at.keys.upload_signatures(owner, {owner.user: {owner.device: wrong, "NONE": wrong}})
    assert set(failures[owner.user]) == {owner.device, "NONE"}
    assert failures[owner.user][owner.device]["errcode"] == "M_INVALID_SIGNATURE"
    assert failures[owner.user]["NONE"]["errcode"] == "M_NOT_FOUND"


def _forged(identity: Identity) -> Json:
    bare = {key: value for key, value in identity.body["self_signing_key"].items() if key != "signatures"}
    return with_signature(bare, identity.user, identity.master.public, identity.user_signing.sign(signed_bytes(bare)))


async def test_messages_to_devices_are_sent_once(at: Setting) -> None:
    """A message comes to one device, or to all, once for each transaction id of each sender."""
    (human, theirs), one, two = await at.human(), await at.ghost(), await at.ghost()
    await at.homeserver.to_device(human)
    for _ in range(2):
        await at.keys.send_to_device(one, "m.test", "1", {theirs.user: {theirs.device: {"a": 1}}})
    await at.keys.send_to_device(two, "m.test", "1", {theirs.user: {"*": {"a": 2}}})
    got = await at.homeserver.to_device(human)
    assert [(event["sender"], event["type"], event["content"]["a"]) for event in got] == [
        (one.user, "m.test", 1),
        (two.user, "m.test", 2),
    ]


async def test_messages_to_ghosts_come_with_transactions(at: Setting) -> None:
    """What is sent to a ghost's device is pushed with its user and device, and who sent it."""
    await at.met()
    (human, theirs), owner = await at.human(), await at.ghost()
    content = {"messages": {owner.user: {owner.device: {"to": owner.user}}}}
    await human.call("PUT", f"sendToDevice/m.test/{secrets.token_hex(4)}", content)
    txn = await at.received.first(lambda txn: any(one.get("to_user_id") == owner.user for one in txn.to_device))
    (message,) = [one for one in txn.to_device if one["to_user_id"] == owner.user]
    assert message["to_device_id"] == owner.device
    assert (message["sender"], message["type"], message["content"]) == (theirs.user, "m.test", {"to": owner.user})


async def test_changed_devices_and_exhausted_keys_are_told(at: Setting) -> None:
    """Whose devices changed in a shared room is told, and that a ghost has neither one-time nor fallback key left."""
    await at.met()
    (human, theirs), owner = await at.human(), await at.ghost()
    device = Device(owner)
    keys = {"one_time_keys": device.one_time_keys(1), "fallback_keys": device.fallback_key()}
    await at.keys.upload_keys(owner, {"device_keys": device.keys, **keys})
    room = await at.side.ensure_room(RoomSpec(f"_room_{secrets.token_hex(4)}", "Room", join_rule="public"))
    await at.side.join(room, owner.user)
    await human.join(room)
    await at.received.first(lambda txn: _counts(txn, owner) == ({"signed_curve25519": 1}, ["signed_curve25519"]))
    await human.call("POST", "keys/upload", {"device_keys": Device(theirs).keys})
    await at.received.first(lambda txn: theirs.user in txn.device_lists.get("changed", ()))
    wanted = {owner.user: {owner.device: "signed_curve25519"}}
    for _ in range(2):
        await at.keys.claim_keys(owner, wanted)
    await human.send(room, "so that something is pushed")
    await at.received.first(lambda txn: _counts(txn, owner) == ({}, []))


async def test_a_device_that_is_gone(at: Setting) -> None:
    """Calls in the name of a device that was deleted are refused by name, and its keys are gone."""
    owner = await at.ghost()
    await at.keys.upload_keys(owner, {"device_keys": Device(owner).keys})
    gone = Owner(owner.user, "NEVERMADE")
    with pytest.raises(MatrixRejectedError) as caught:
        await at.keys.upload_keys(gone, {"device_keys": Device(gone).keys})
    assert caught.value.errcode == "M_UNKNOWN_DEVICE"


async def test_what_came_while_the_bridge_was_away_is_got_by_sync(at: Setting) -> None:
    """Transactions of an outage bring events alone; a device's /sync has the rest, again until it is acknowledged."""
    (human, theirs), owner = await at.human(), await at.ghost()
    await at.keys.upload_keys(owner, {"one_time_keys": Device(owner).one_time_keys(1)})
    room = await at.side.ensure_room(RoomSpec(f"_room_{secrets.token_hex(4)}", "Room", join_rule="public"))
    await at.side.join(room, owner.user)
    await human.join(room)
    before = await human.send(room, "before")
    await at.received.first(lambda txn: any(event["event_id"] == before for event in txn.events))
    start = (await at.side.keys.sync(owner, None)).since
    await at.listener.stop()
    missed = await human.send(room, "missed")
    content = {"messages": {owner.user: {owner.device: {"missed": True}}}}
    await human.call("PUT", f"sendToDevice/m.test/{secrets.token_hex(4)}", content)
    await human.call("POST", "keys/upload", {"device_keys": Device(theirs).keys})
    found = await at.side.keys.sync(owner, start)
    for _ in range(2):
        assert [(one["type"], one["sender"], one["to_device_id"]) for one in found.to_device] == [
            ("m.test", theirs.user, owner.device)
        ]
        assert theirs.user in found.device_lists["changed"]
        found = await at.side.keys.sync(owner, start)
    assert found.otk_counts[owner.user][owner.device] == {"signed_curve25519": 1}
    assert found.fallback_types == {owner.user: {owner.device: []}}
    after = await at.side.keys.sync(owner, found.since)
    assert (after.to_device, after.device_lists) == ([], {})

    await at.listener.start()
    await at.side.ping(ID)
    txn = await at.received.first(lambda txn: any(event["event_id"] == missed for event in txn.events))
    assert (txn.to_device, txn.device_lists, txn.otk_counts) == ([], {}, {})
    await human.send(room, "after")
    await at.received.first(lambda txn: any(event["content"].get("body") == "after" for event in txn.events))
    assert not any(message["type"] == "m.test" for txn in at.received.transactions for message in txn.to_device)


def _key(first: int, text: str) -> Json:
    """A session as a backup keeps it."""
    data = {"ciphertext": text, "mac": "bWFj", "ephemeral": "ZXBo", "signatures": {"@a:hs": {"k": "s"}}}
    return {"first_message_index": first, "forwarded_count": 0, "is_verified": True, "session_data": data}


async def test_a_backup_of_keys(at: Setting) -> None:
    """Sessions are put into the current version alone, where better ones replace others, and got from it singly."""
    owner = await at.ghost()
    room, name = RoomId(f"!röom/{secrets.token_hex(4)}:{SERVER}"), "a+session/with=all.of_it"
    assert await at.keys.backup_version(owner) is None
    with pytest.raises(MatrixRejectedError) as caught:
        await at.keys.put_backup(owner, "1", {room: {name: _key(0, "YQ")}})
    assert caught.value.errcode == "M_NOT_FOUND"
    auth = {"public_key": "a key", "signatures": {owner.user: {"ed25519:x": "y"}}}
    first = await at.keys.make_backup(owner, "m.test", auth)
    assert await at.keys.backup_version(owner) == BackupVersion(first, "m.test", auth, 0)
    assert await at.keys.backed_up(owner, first, room, name) is None
    assert await at.keys.put_backup(owner, first, {room: {name: _key(5, "NQ"), "other": _key(0, "bw")}}) == 2
    for index, text in ((7, "Nw"), (3, "Mw"), (3, "bm90")):
        await at.keys.put_backup(owner, first, {room: {name: _key(index, text)}})
    assert await at.keys.backed_up(owner, first, room, name) == _key(3, "Mw")
    assert (await at.keys.backup_version(owner) or pytest.fail()).count == 2

    second = await at.keys.make_backup(owner, "m.test", auth)
    assert second != first
    assert await at.keys.backup_version(owner) == BackupVersion(second, "m.test", auth, 0)
    assert await at.keys.backed_up(owner, first, room, name) == _key(3, "Mw")
    assert await at.keys.backed_up(owner, second, room, name) is None
    with pytest.raises(MatrixRejectedError) as caught:
        await at.keys.put_backup(owner, first, {room: {name: _key(0, "YQ")}})
    assert caught.value.errcode == "M_WRONG_ROOM_KEYS_VERSION"
    other = await at.ghost()
    assert await at.keys.backup_version(other) is None
    assert await at.keys.backed_up(other, first, room, name) is None
    (human, _) = await at.human()
    made = await human.call("POST", "room_keys/version", {"algorithm": "m.test", "auth_data": {}})
    assert "status" not in await human.call("DELETE", f"room_keys/version/{made['version']}")
    assert (await human.call("GET", "room_keys/version"))["errcode"] == "M_NOT_FOUND"
    again = await human.call("POST", "room_keys/version", {"algorithm": "m.test", "auth_data": {}})
    assert again["version"] != made["version"]


def _counts(txn: Transaction, owner: Owner) -> tuple[Any, Any]:
    counts = txn.otk_counts.get(owner.user, {}).get(owner.device)
    return counts, txn.fallback_types.get(owner.user, {}).get(owner.device)


def _bare(keys: Json) -> Json:
    return {name: value for name, value in keys.items() if name != "unsigned"}


async def test_data_of_the_bots_account(at: Setting) -> None:
    """The bot may keep something of its own there, and finds it again, also as the sender of the registration."""
    kind = "dev.matrix_bridge.number"
    owner = at.side.bot_device
    assert await at.keys.account_data(owner, f"{kind}.{secrets.token_hex(4)}") is None
    for number in (1, 2):
        await at.keys.put_account_data(owner, kind, {"number": number})
        assert await at.keys.account_data(owner, kind) == {"number": number}
