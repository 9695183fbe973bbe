"""Device lists: what is believed of them, when they are asked for, how far devices are trusted."""

import asyncio
import copy
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import UserId
from bridge_core.crypto.accounts import OLM
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.inbound import Read
from bridge_core.crypto.keyobjects import PeerDevice, claimed_key, read_cross_key, read_device
from bridge_core.crypto.olm import Account
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import Queried
from bridge_core.crypto.senders import _trust
from bridge_core.crypto.signing import signed_bytes, with_signature
from bridge_core.crypto.userkeys import UserKeys, past, trust_of
from tests.unit.crypto.world import Bridge

Pair = tuple[Bridge, Bridge]
EVE = UserId("@eve:test")


def device_keys(user: str, device: str, account: Account, *signers: Any) -> dict[str, Any]:
    keys = {f"curve25519:{device}": account.curve25519, f"ed25519:{device}": account.ed25519}
    value: dict[str, Any] = {"user_id": user, "device_id": device, "algorithms": [], "keys": keys}
    value = with_signature(value, user, device, account.sign(signed_bytes(value)))
    for signer in signers:
        value = signer.signed_device(value)
    return value


def test_who_passed_a_key_on_may_have_logged_out_since() -> None:
    """What is of a listed device is believed as before where who gave its key is gone, and was not blocked."""
    device = PeerDevice(EVE, "A", "curve-a", "ed-a", signed=True)
    keys = UserKeys(EVE, "m", "m", "", "s", {"A": device}, {"B": past("ed-b", "curve-b")})
    read = Read(b"", 0, "curve-a", "ed-a", EVE, "curve-b", 0)
    assert _trust(keys, read) is Trust.UNSIGNED
    assert _trust(replace(keys, blocked=frozenset("B")), read) is Trust.BLOCKED
    assert _trust(keys, replace(read, by="curve-c")) is Trust.UNKNOWN
    assert _trust(keys, replace(read, by="curve-a")) is Trust.PINNED
    assert _trust(keys, replace(read, sender_key="curve-b", ed25519="ed-c", by="curve-b")) is Trust.UNKNOWN


async def current(bridge: Bridge, user: UserId) -> Any:
    return (await bridge.machine.devices.current([user]))[user]


async def test_devices_that_are_not_what_they_say(pair: Pair) -> None:
    """Another user's or device's keys, a broken signature, a wrong form: none is believed, each is counted."""
    a, _ = pair
    account = Account()
    good = device_keys(EVE, "GOOD", account)
    bad = {
        "USER": {**device_keys(EVE, "USER", Account()), "user_id": "@x:test"},
        "NAME": device_keys(EVE, "ELSE", Account()),
        "CHANGED": {**device_keys(EVE, "CHANGED", Account()), "algorithms": ["x"]},
        "LIST": [],
        "SHORT": {**good, "device_id": "SHORT", "keys": {"curve25519:SHORT": "AA", "ed25519:SHORT": "AA"}},
        "NO\0": device_keys(EVE, "NO\0", Account()),
    }
    a.world.devices[EVE] = {**bad, "GOOD": good}
    keys = await current(a, EVE)
    assert set(keys.devices) == {"GOOD"} and a.total("devices", "invalid") == len(bad)
    # A second device with the first one's identity key is an echo of it.
    copied = device_keys(EVE, "COPY", account)
    a.world.devices[EVE] = {"GOOD": good, "COPY": copied}
    a.world.tell_changed(EVE)
    a.take()
    assert set((await current(a, EVE)).devices) == {"GOOD"}


async def test_keys_never_change_under_a_name(pair: Pair) -> None:
    """Neither at once, nor after the device was away, nor after a restart."""
    a, _ = pair
    first, second = device_keys(EVE, "D", Account()), device_keys(EVE, "D", Account())
    for answer, believed, counted in (
        ({"D": first}, True, 0),
        ({"D": second}, True, 1),
        ({}, False, 0),
        ({"D": second}, False, 1),
        ({"D": first}, True, 0),
    ):
        a.world.devices[EVE] = answer
        a.world.tell_changed(EVE)
        a.take()
        keys = await current(a, EVE)
        known = [first["keys"]["ed25519:D"]] if believed else []
        assert [one.ed25519 for one in keys.devices.values()] == known
        assert a.total("devices", "keys_changed") == counted
        await a.restart()


async def test_levels_of_trust(pair: Pair) -> None:
    """From blocked to verified, as identities come, change, are confirmed, and go."""
    a, b = pair
    (carl,) = await b.join("carl")

    async def trust() -> Trust:
        a.take()
        keys = await current(a, carl.user)
        return trust_of(keys, keys.devices.get(carl.device))

    assert await trust() is Trust.PINNED
    await b.machine.identities.reset(carl)
    assert await trust() is Trust.CROSS_SIGNED
    master = (await current(a, carl.user)).master
    await a.machine.devices.change(carl.user, confirm=master)
    assert await trust() is Trust.VERIFIED
    await a.machine.devices.change(carl.user, confirm="")
    assert await trust() is Trust.PINNED
    await a.machine.devices.change(carl.user, block=[carl.device])
    assert await trust() is Trust.BLOCKED
    await a.restart()
    assert await trust() is Trust.BLOCKED
    await a.machine.devices.change(carl.user, unblock=[carl.device])
    kept = a.world.cross.pop(carl.user)
    a.world.tell_changed(carl.user)
    # Who once had an identity does not become somebody who never had one.
    assert await trust() is Trust.UNSIGNED
    a.world.cross[carl.user] = kept
    del a.world.devices[carl.user][carl.device]
    a.world.tell_changed(carl.user)
    assert await trust() is Trust.UNKNOWN


async def test_a_confirmed_identity_that_changes_is_not_trusted(pair: Pair) -> None:
    """Its devices get no keys and what they say does not count as signed, until an admin has confirmed the new one."""
    a, b = pair
    (carl,) = await b.join("carl")
    await a.machine.devices.change(carl.user, confirm=(await current(a, carl.user)).master)
    first = await b.send(carl, "1", [a.bot])
    await a.hear()
    assert (await a.decrypted(first)).trust is Trust.VERIFIED
    await b.machine.identities.reset(carl)
    await a.restart()
    await a.hear()
    event = await a.send(a.bot, "secret", [carl])
    await b.hear()
    assert [code for kind, user, _, content in a.world.sent if (code := content.get("code"))] == ["m.unverified"]
    with pytest.raises(MissingKeyError):
        await b.decrypted(event)
    second = await b.send(carl, "2", [a.bot])
    await a.hear()
    assert (await a.decrypted(second)).trust is Trust.UNSIGNED
    await a.machine.devices.change(carl.user, confirm=(await current(a, carl.user)).master)
    await a.send(a.bot, "again", [carl])
    await b.hear()
    assert (await a.decrypted(second)).trust is Trust.VERIFIED


async def test_a_device_that_was_signed_by_another_identity(pair: Pair) -> None:
    """Who has other keys under a device's name leaves it as it was known, but not as signed by who never signed it."""
    a, b = pair
    (carl,) = await b.join("carl")
    assert (await current(a, carl.user)).devices[carl.device].signed
    await b.machine.identities.reset(carl)
    a.world.devices[carl.user][carl.device] = device_keys(carl.user, carl.device, Account())
    a.world.tell_changed(carl.user)
    for _ in range(2):
        a.take()
        keys = await current(a, carl.user)
        assert a.total("devices", "keys_changed") and not keys.devices[carl.device].signed
        assert trust_of(keys, keys.devices[carl.device]) is Trust.UNSIGNED
        await a.restart()


async def test_lines_of_the_log_that_strangers_cause_are_few(pair: Pair) -> None:
    """However often devices show other keys, in a minute there are ten lines; the counter has all of them."""
    a, _ = pair
    for answer in range(40):
        a.world.devices[EVE] = {"D": device_keys(EVE, "D", Account())}
        a.world.tell_changed(EVE)
        a.take()
        with structlog.testing.capture_logs() as lines:
            await current(a, EVE)
        assert len(lines) == (1 if 0 < answer <= 10 else 0)
    assert a.total("devices", "keys_changed") == 39
    ours = a.world.devices[a.bot.user][a.bot.device]["keys"][f"curve25519:{a.bot.device}"]
    for number in range(40):
        body = {"type": 1, "body": f"A{number}"}
        content = {"algorithm": OLM, "sender_key": Account().curve25519, "ciphertext": {ours: body}}
        a.world.put(EVE, a.bot.user, a.bot.device, "m.room.encrypted", content)
    with structlog.testing.capture_logs() as lines:
        await a.hear()
    assert [line["event"] for line in lines] == ["to_device_rejected"] * 10
    assert a.total("to_device", "unknown_session") == 40


async def test_a_self_signing_key_needs_its_masters_signature(pair: Pair) -> None:
    """A homeserver cannot put in a self-signing key of its own."""
    a, b = pair
    (carl, dora) = await b.join("carl", "dora")
    a.world.cross[carl.user]["self_signing_key"] = copy.deepcopy(a.world.cross[dora.user]["self_signing_key"])
    a.world.cross[carl.user]["self_signing_key"]["user_id"] = carl.user
    keys = await current(a, carl.user)
    assert keys.self_signing == "" and trust_of(keys, keys.devices[carl.device]) is Trust.UNSIGNED


async def test_a_change_during_the_question_is_asked_about_again(pair: Pair) -> None:
    """The mark of a change that comes while the homeserver is answering is not taken away by the answer."""
    a, b = pair
    (carl,) = await b.join("carl")
    a.take()
    asking, answers = a.world.query_keys, []

    async def query_keys(*args: Any) -> Queried:
        found = await asking(*args)
        answers.append(found)
        if len(answers) == 1:
            a.world.tell_changed(carl.user)
            a.take()
        return found

    a.world.query_keys = query_keys  # type: ignore[method-assign]
    await current(a, carl.user)
    assert len(answers) == 2
    await current(a, carl.user)
    assert len(answers) == 2


async def test_many_ask_once(pair: Pair) -> None:
    """Lists wanted by many at once are asked for once, in batches, and then known until the next start."""
    a, b = pair
    a.policy = Policy(query_batch=4)
    await a.restart()
    owners = await b.join(*(f"u{number}" for number in range(10)))
    a.take()
    users = [owner.user for owner in owners]
    before = a.world.count("query_keys")
    await asyncio.gather(*(a.machine.devices.current(users) for _ in range(5)))
    assert a.world.count("query_keys") - before == 3
    await a.machine.devices.current(users)
    await a.restart()
    assert all(keys.devices for keys in (await a.machine.devices.current(users)).values())
    assert a.world.count("query_keys") - before == 6  # what changed meanwhile came to nobody


async def test_a_homeserver_that_is_away(pair: Pair) -> None:
    """The question fails, and can be asked again."""
    a, b = pair
    a.world.errors["query_keys"] = [TransientError("away")]
    with pytest.raises(TransientError):
        await current(a, b.bot.user)
    assert (await current(a, b.bot.user)).devices


async def test_more_users_than_are_kept(pair: Pair) -> None:
    """All are found, also those that memory has no room for."""
    a, b = pair
    a.policy = Policy(loaded_users=3, query_batch=2)
    await a.restart()
    owners = await b.join(*(f"u{number}" for number in range(9)))
    found = await a.machine.devices.current([owner.user for owner in owners])
    assert all(len(keys.devices) == 1 for keys in found.values()) and len(found) == 9


async def test_too_many_devices(pair: Pair) -> None:
    """A user has as many devices as the policy allows; the rest is left out and counted."""
    a, _ = pair
    a.policy = Policy(devices_per_user=3)
    await a.restart()
    a.world.devices[EVE] = {f"D{number}": device_keys(EVE, f"D{number}", Account()) for number in range(5)}
    assert len((await current(a, EVE)).devices) == 3 and a.total("devices", "too_many") == 1


def lists(bridge: Bridge) -> DeviceLists:
    return bridge.machine.devices


async def test_changes_are_found_without_looking_at_members(pair: Pair) -> None:
    """Whether anything of some users has changed is told from the changes alone; too far back counts as changed."""
    a, b = pair
    await current(a, b.bot.user)
    version = lists(a).version
    some, others = frozenset([b.bot.user]), frozenset([EVE])
    assert not lists(a).changed_since(version, some)
    lists(a).outdated(lists(a).marks([EVE]))
    assert not lists(a).changed_since(version, some) and lists(a).changed_since(version, others)
    for _ in range(5000):
        lists(a).outdated(lists(a).marks([EVE]))
    assert lists(a).changed_since(version, some)
    assert not lists(a).changed_since(lists(a).version, others)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(EVE) | st.just("D"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["user_id", "device_id", "keys", "usage", "signatures", "ed25519:D", "key", EVE, "D"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_answer_is_read(value: Any) -> None:
    """Whatever a homeserver gives as keys is taken for none and never raises."""
    account = Account()
    device = read_device(device_keys(EVE, "D", account), EVE, "D", "")
    assert device is not None
    assert read_device(value, EVE, "D", "x") is None
    assert read_cross_key(value, EVE, "self_signing", account.ed25519) == ""
    assert read_cross_key(value, EVE, "master") == ""
    assert claimed_key(value, device) == ""
    assert claimed_key({"signed_curve25519:A": value}, device) == ""


async def test_a_query_answer_of_any_form(pair: Pair) -> None:
    """Objects of the wrong kind in an answer leave the user without devices, and nothing breaks."""
    a, _ = pair
    for value in ([], None, 5, {"D": None}, {"D": {"keys": []}}):
        a.world.devices[EVE] = value  # type: ignore[assignment]
        a.world.cross[EVE] = {"master_key": value, "self_signing_key": value}
        a.world.tell_changed(EVE)
        a.take()
        assert not (await current(a, EVE)).devices
