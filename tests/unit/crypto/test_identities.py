"""Our devices and identities: made, uploaded, lost, reset, rotated, restored."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.errors import TransientError
from bridge_core.crypto.crosssigning import recovery_from, recovery_text
from bridge_core.crypto.errors import IdentityFailedError, OlmError
from bridge_core.crypto.identities import Standing
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import SecretRow
from bridge_core.crypto.signing import verified
from bridge_core.engine.matrix_ports import MatrixRejectedError
from tests.unit.crypto.world import ROOM, Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]
KNOWN = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"


def keys_of(world: KeyWorld, user: str) -> tuple[dict[str, Any], str, str]:
    """A user's device keys, master key and self-signing key, as the homeserver has them."""
    (device,) = world.devices[user].values()
    (master,) = world.cross[user]["master_key"]["keys"].values()
    (signer,) = world.cross[user]["self_signing_key"]["keys"].values()
    return device, master, signer


async def test_a_new_device_costs_two_requests(pair: Pair) -> None:
    """Its keys go up in one request, signed by an identity that went up before; later messages cost none."""
    a, b = pair
    before = len(a.world.calls)
    (ann,) = await a.join("ann")
    assert [call[0] for call in a.world.calls[before:]] == ["upload_cross_signing", "upload_keys"]
    body = a.world.calls[-1][2]
    assert set(body) == {"device_keys", "one_time_keys", "fallback_keys"}
    assert len(body["one_time_keys"]) == a.policy.ghost_one_time_keys
    device, master, signer = keys_of(a.world, ann.user)
    assert verified(device, ann.user, ann.device, device["keys"][f"ed25519:{ann.device}"])
    assert verified(device, ann.user, signer, signer)
    assert verified(a.world.cross[ann.user]["self_signing_key"], ann.user, master, master)
    assert verified(a.world.cross[ann.user]["user_signing_key"], ann.user, master, master)
    await a.restart()
    await a.send(ann, "x", [b.bot])
    assert a.world.count("upload_keys") == 3 and a.world.count("upload_cross_signing") == 3


async def test_an_upload_that_failed_is_the_same_again(pair: Pair) -> None:
    """Keys were committed before, so that the second try gives the homeserver just the keys of the first."""
    a, _ = pair
    a.world.errors["upload_keys"] = [TransientError("away")]
    with pytest.raises(TransientError):
        await a.join("ann")
    await a.restart()
    await a.join("ann")
    first, second = [call[2] for call in a.world.calls if call[0] == "upload_keys"][-2:]
    assert first == second


async def test_what_the_homeserver_has_of_us(pair: Pair) -> None:
    """Right, gone (and uploaded again), another's, or not signed by us."""
    a, _ = pair
    (ann,) = await a.join("ann")
    look = a.machine.identities.standing
    assert await look(ann) is Standing.RIGHT
    cross = a.world.cross.pop(ann.user)
    assert await look(ann) is Standing.UNSIGNED
    a.world.cross[ann.user] = cross
    kept = a.world.devices[ann.user]
    a.world.devices[ann.user] = {}
    assert await look(ann) is Standing.ABSENT
    await a.machine.accounts.ready(ann)
    assert a.world.devices[ann.user] == kept and await look(ann) is Standing.RIGHT
    a.world.devices[ann.user] = a.world.devices[a.bot.user]
    assert await look(ann) is Standing.OTHER


async def test_a_reset_changes_one_user(pair: Pair) -> None:
    """Their identity is another, their device is signed by it, and nobody else's has changed; others see it."""
    a, b = pair
    (ann,) = await a.join("ann")
    event = await a.send(ann, "x", [b.bot])
    await b.hear()
    assert await b.read(event) == "x"
    before, bot = keys_of(a.world, ann.user), keys_of(a.world, a.bot.user)
    await a.machine.identities.reset(ann)
    after = keys_of(a.world, ann.user)
    assert after[0]["keys"] == before[0]["keys"] and after[1] != before[1]
    assert verified(after[0], ann.user, after[2], after[2])
    assert keys_of(a.world, a.bot.user) == bot
    await a.restart()
    assert await a.machine.identities.standing(ann) is Standing.RIGHT
    await b.hear()
    await b.decrypted(event)
    assert b.total("devices", "identity_changed") == 1


async def test_a_rotation_changes_all(pair: Pair) -> None:
    """The bot has another identity at once, a ghost with its next message; an old key brings back who had not."""
    a, b = pair
    (ann,) = await a.join("ann")
    old_key = await a.machine.cross.recovery_key()
    old = {owner: keys_of(a.world, owner.user)[1] for owner in (a.bot, ann)}
    new_key = await a.machine.identities.rotate(a.bot)
    assert new_key != old_key and keys_of(a.world, a.bot.user)[1] != old[a.bot]
    assert keys_of(a.world, ann.user)[1] == old[ann]
    await a.restart()
    await a.machine.identities.restore(a.bot, old_key)
    await a.send(ann, "x", [b.bot])
    assert keys_of(a.world, ann.user)[1] == old[ann]


async def test_an_identity_that_was_replaced_is_not_waited_for(pair: Pair) -> None:
    """Synapse takes back no identity it had before: another of the same recovery key is made, and all goes on."""
    a, b = pair
    (ann,) = await a.join("ann")
    old_key = await a.machine.cross.recovery_key()
    old = {owner: keys_of(a.world, owner.user)[1] for owner in (a.bot, ann)}
    await a.machine.identities.rotate(a.bot)
    await a.send(ann, "x", [b.bot])
    between = {owner: keys_of(a.world, owner.user)[1] for owner in (a.bot, ann)}
    await a.machine.identities.restore(a.bot, old_key)
    await a.send(ann, "y", [b.bot])
    for owner in (a.bot, ann):
        assert keys_of(a.world, owner.user)[1] not in (old[owner], between[owner])
        assert await a.machine.identities.standing(owner) is Standing.RIGHT
    await a.restart()
    calls = a.world.count("upload_cross_signing")
    await a.send(ann, "z", [b.bot])
    assert a.world.count("upload_cross_signing") == calls


async def test_a_forgotten_reset_is_found_again(pair: Pair) -> None:
    """Where the database that knew of resets is lost, the recovery key finds the identity that is in force."""
    a, _ = pair
    (ann,) = await a.join("ann")
    for _ in range(3):
        await a.machine.identities.reset(ann)
    in_force = keys_of(a.world, ann.user)[1]
    await a.store.commit([SecretRow(f"identity/{ann.user}", b'{"generation": 0, "master": ""}')])
    assert (await a.machine.cross.ensure(ann)).master.public == in_force
    assert keys_of(a.world, ann.user)[1] == in_force


async def test_trouble_of_the_homeserver_changes_no_identity(pair: Pair) -> None:
    """A 500 while it has no other identity of the user says nothing of this one: the same is uploaded later."""
    a, _ = pair
    await a.machine.accounts.ready(a.bot)
    a.world.errors["upload_cross_signing"] = [IdentityFailedError("500")]
    ann = a.ghost("ann")
    with pytest.raises(IdentityFailedError):
        await a.machine.accounts.ready(ann)
    await a.machine.accounts.ready(ann)
    sent = [what for name, owner, what in a.world.calls if name == "upload_cross_signing" and owner == ann]
    assert len(sent) == 2 and sent[0] == sent[1]


async def test_a_device_that_was_deleted_comes_back(pair: Pair) -> None:
    """When the homeserver no longer knows it, it is made again, with the keys it had, and the message is sent."""
    a, b = pair
    (ann,) = await a.join("ann")
    before = keys_of(a.world, ann.user)
    del a.world.devices[ann.user]
    a.world.errors["claim_keys"] = [MatrixRejectedError("M_UNKNOWN_DEVICE", "no such device", 400)]
    event = await a.send(ann, "x", [b.bot])
    assert a.made == [ann.user] and keys_of(a.world, ann.user) == before
    await b.hear()
    assert await b.read(event) == "x"


async def test_a_homeserver_that_takes_no_identity(pair: Pair) -> None:
    """What wants interactive authentication is refused: the device speaks unsigned, and that is seen."""
    a, b = pair
    b.policy = Policy(receive=Trust.UNKNOWN)
    a.policy = Policy()
    a.world.errors["upload_cross_signing"] = [MatrixRejectedError("M_FORBIDDEN", "log in", 401)]
    event = await a.send(a.ghost("ann"), "x", [b.bot])
    assert a.world.count("upload_cross_signing") == 3
    await a.send(a.ghost("ann"), "y", [b.bot])
    assert a.world.count("upload_cross_signing") == 3
    assert await a.machine.identities.standing(a.ghost("ann")) is Standing.UNSIGNED
    await b.hear()
    assert (await b.decrypted(event)).trust is Trust.NO_IDENTITY


async def test_without_cross_signing_nothing_is_signed(world: KeyWorld) -> None:
    """One request, one signature."""
    a = await Bridge(world, "a", Policy(cross_signing=False)).start()
    await a.join("bot")
    assert [call[0] for call in world.calls if "account_data" not in call[0]] == ["upload_keys"]
    assert len(world.devices[a.bot.user][a.bot.device]["signatures"][a.bot.user]) == 1
    assert await a.machine.identities.standing(a.bot) is Standing.RIGHT
    await a.kill()


async def test_a_damaged_account_is_said_to_be(pair: Pair) -> None:
    """Nothing is made anew in its place: another account under the same device would be believed by nobody."""
    a, b = pair
    await a.kill()
    for key, row in list(a.store.rows.items()):
        if key[0].__name__ == "AccountRow":
            a.store.rows[key] = type(row)(row.owner, b'{"pickle": "x"}')
    await a.start()
    with pytest.raises(TransientError):
        await a.send(a.bot, "x", [b.bot])
    assert a.machine.settings(ROOM) is not None


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=30, deadline=None)
def test_a_recovery_key_is_read_as_it_was_written(key: bytes) -> None:
    """With and without spaces; with one digit changed it is refused, unless by one in 256."""
    text = recovery_text(key)
    assert recovery_from(text) == recovery_from(text.replace(" ", "")) == key
    assert recovery_from(f" {text}\n") == key


@pytest.mark.parametrize(
    "text", ["", "1", "EsT", "0OIl", "Es" * 200, "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fx"]
)
def test_what_is_no_recovery_key(text: str) -> None:
    """Too short, too long, of other letters, with a slip: refused."""
    with pytest.raises(OlmError):
        recovery_from(text)


def test_the_recovery_key_of_other_clients() -> None:
    """The vector of matrix-js-sdk (the private key of RFC 7748, section 6.1) is read and written alike."""
    key = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    assert recovery_from(KNOWN) == key and recovery_text(key) == KNOWN
