"""Quotas: what is over them is refused in words and counted, for whom they hold and nobody else."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.quotas import Quotas
from tests.harness import Harness
from tests.invariants.scenes import balances, notices
from tests.scripted import Script

ALICE, ADMIN = UserId("@alice:hs.test"), UserId("@admin:hs.test")


@pytest.fixture
def sections() -> dict[str, Any]:
    """Little of everything."""
    return {"quotas": {"messages_per_minute": 3, "media_per_day": "1 KiB", "portals": 1, "logins": 0}}


def _quotas(bridge: Harness) -> Quotas:
    return bridge.running.whomay.quotas


async def _ask(bridge: Harness, user: Any, room: str, text: str) -> str:
    before = len(notices(bridge, room))
    user.send(room, f"!bridge {text}")
    await bridge.until(lambda: len(notices(bridge, room)) > before)
    await bridge.settled()
    return "\n".join(notices(bridge, room)[before:])


async def test_too_many_messages_are_refused(bridge: Harness, script: Script) -> None:
    """The fourth within a minute is rejected in words; taking back is not counted; admins have no limit."""
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    sent = [bridge.alice.send(room, f"a{number}") for number in range(5)]
    for number in range(5):
        admin.send(room, f"b{number}")
    await bridge.settled()
    assert [text for text in script.texts() if text[0] == "a"] == ["a0", "a1", "a2"]
    assert [text for text in script.texts() if text[0] == "b"] == [f"b{number}" for number in range(5)]
    assert (await balances(bridge))["net", 0].rejected == 2
    assert any("you sent more than 3 messages within a minute" in text for text in notices(bridge, room))
    assert b'quota_exceeded_total{quota="messages_per_minute"} 2.0' in bridge.running.metrics.render()
    bridge.alice.redact(room, sent[0])
    await bridge.settled()
    assert not any("quota" in text for text in notices(bridge, room))


async def test_messages_count_when_they_were_sent(bridge: Harness) -> None:
    """Trying again, or a second network, counts nothing; after an outage, what was sent over an hour is no flood."""
    quotas, alice = _quotas(bridge), MatrixSender(ALICE, "Alice")

    def spend(event: str, at: int) -> None:
        quotas.spend(alice, {"type": "m.room.message", "event_id": event}, at)

    for number in range(100):
        spend(f"$slow{number}", 1_000_000 + number * 20_001)
    for _ in range(5):
        spend("$again", 9_000_000)
    spend("$second", 9_000_000)
    spend("$third", 9_059_999)
    with pytest.raises(RejectedError, match="more than 3 messages"):
        spend("$fourth", 9_059_999)
    spend("$fourth", 9_060_000)


async def test_another_limit_for_one_user(bridge: Harness, script: Script) -> None:
    """An admin gives a user another limit, none, or the common one again; it is kept over a restart."""
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    assert "Only admins set" in await _ask(bridge, bridge.alice, room, f"quota {ALICE} logins 5")
    assert "messages_per_minute: 9" in await _ask(bridge, admin, room, f"quota {ALICE} messages_per_minute 9")
    assert "media_per_day: no limit" in await _ask(bridge, admin, room, f"quota {ALICE} media_per_day none")
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert _quotas(bridge).limits(ALICE) == {
        "portals": 1, "logins": 0, "messages_per_minute": 9, "media_per_day": None
    }  # fmt: skip
    assert "messages_per_minute: 9" in await _ask(bridge, bridge.alice, room, "quota")
    assert "messages_per_minute: 3" in await _ask(bridge, admin, room, f"quota {ALICE} messages_per_minute default")
    for mistake in ("quota nobody", f"quota {ALICE} nonsense 1", f"quota {ALICE} logins -1", f"quota {ALICE} logins"):
        answer = await _ask(bridge, admin, room, mistake)
        assert "no user" in answer or "no quota" in answer or "he value is" in answer
    assert _quotas(bridge).limit(ADMIN, "logins") is None


async def test_files_count_by_the_day(bridge: Harness, script: Script) -> None:
    """Files up to the limit cross, the one that is over it does not; a size that is not told counts as the largest."""
    room = await bridge.portal_room("net", "lobby")
    mxc = bridge.alice.upload(b"x" * 600, "image/png")

    def send(size: int | None) -> None:
        info = {"mimetype": "image/png"} if size is None else {"mimetype": "image/png", "size": size}
        bridge.alice.send(room, "pic", "m.image", url=mxc, info=info)

    send(600)
    send(600)
    send(None)
    await bridge.settled()
    assert len(script.sent) == 1
    assert sum("your files of today would be more than 1024 bytes" in text for text in notices(bridge, room)) == 2
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await _quotas(bridge).set(ALICE, "messages_per_minute", None)
    send(500)
    send(400)
    await bridge.settled()
    assert len(script.sent) == 2


async def test_portals_and_logins_are_counted(bridge: Harness, script: Script) -> None:
    """A user makes as many portals, and logs in as often, as they may."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.settled()
    assert "now bridged" in await _ask(bridge, bridge.alice, room, "bridge net attic")
    assert "made 1 portals already" in await _ask(bridge, bridge.alice, room, "bridge net cellar")
    assert "now bridged" in await _ask(bridge, bridge.alice, room, "bridge net lobby"), "it is there already"
    with pytest.raises(RejectedError, match="0 logins already"):
        await bridge.running.engine.logins.begin(ALICE, NetworkId("net"), "password")
    _quotas(bridge).new_portal(ADMIN, NetworkId("net"), ChatId("x"))


@pytest.mark.parametrize("sections", [{"quotas": {"server_messages_per_minute": 3}}], ids=["server"])
async def test_one_homeserver_has_a_limit_together(bridge: Harness, script: Script) -> None:
    """Users of another homeserver share one limit, however many they are; our own server and admins have none."""
    quotas = bridge.running.whomay.quotas

    def spend(user: str, number: int, at: int = 0) -> None:
        event = {"type": "m.room.message", "event_id": f"${user}{number}"}
        quotas.spend(MatrixSender(UserId(user), "x"), event, at)

    for number in range(3):
        spend(f"@spam{number}:evil.test", number)
    spend("@spam0:evil.test", 0)  # tried again
    with pytest.raises(RejectedError, match=r"users of evil.test sent more than 3"):
        spend("@spam9:evil.test", 9)
    for number in range(10):
        spend("@alice:hs.test", number)
        spend("@other:good.test", number, number * 60_000)
    spend("@spam9:evil.test", 10, 61_000)
