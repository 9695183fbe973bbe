"""What of an encrypted room homeservers can read: every request that the bridge makes is searched for it."""

from pathlib import Path

import pytest

from bridge_core.api.events import Membership, RemoteMember, RemoteRedaction, RemoteSender
from bridge_core.api.ids import MessageId, RemoteUserId, RoomId, UserId
from bridge_core.crypto.policy import Trust
from bridge_core.crypto.shares import Skipped
from tests.unit.app.test_encryption import ANNA, GHOST, HALL, SECRET, bridged, received, said

CARL = RemoteSender(RemoteUserId("carl"), "Carl")
GONE = "@_net_carl:hs.test"


@pytest.mark.parametrize("encryption", ["default", "allow"])
async def test_reasons_are_not_given_in_encrypted_rooms(tmp_path: Path, encryption: str) -> None:
    """Why people left, were removed or took back a message stands in rooms that are not encrypted, in no other."""
    async with bridged(tmp_path, network={"encryption": encryption, "leave_grace": "0s"}) as (harness, script):
        harness.homeserver.bodies = bodies = []
        room = await harness.portal_room("net", "hall")
        await said(script, "hello")
        await received(script, RemoteRedaction(HALL, ANNA, MessageId("m1"), reason=f"{SECRET} redaction"))
        await received(script, RemoteMember(HALL, ANNA, Membership.LEAVE, None, f"{SECRET} leave"))
        await received(script, RemoteMember(HALL, CARL, Membership.KNOCK, None, f"{SECRET} knock"))
        await received(script, RemoteMember(HALL, CARL, Membership.INVITE, ANNA, f"{SECRET} invite"))
        await received(script, RemoteMember(HALL, CARL, Membership.KICK, ANNA, f"{SECRET} kick"))
        await received(script, RemoteMember(HALL, CARL, Membership.BAN, ANNA, f"{SECRET} ban"))
        there = harness.homeserver.room(room)
        await harness.until(lambda: there.membership(GONE) == "ban" and there.membership(GHOST) == "leave")
        await harness.until(lambda: any(one["type"] == "m.room.redaction" for one in there.timeline))
        said_openly = b"".join(bodies)
        if encryption == "default":
            assert SECRET.encode() not in said_openly
        else:
            assert all(f"{SECRET} {kind}".encode() in said_openly for kind in ("redaction", "leave", "ban"))


async def test_a_key_that_was_heard_is_to_be_replaced(tmp_path: Path) -> None:
    """Who gives the recovery key in a room that is not encrypted is told that it is known now; the key is taken."""
    async with bridged(tmp_path) as (harness, _):
        admin, bot = harness.homeserver.user("admin"), harness.homeserver.bot
        desk = admin.create_room(invite=[bot])
        await harness.homeserver.wait_for(lambda: harness.homeserver.room(desk).membership(bot) == "join")
        assert harness.running.encryption is not None
        admin.send(desk, f"encryption restore {await harness.running.encryption.recovery_key()}")
        told = await harness.homeserver.wait_event(desk, lambda e: "key is taken" in str(e["content"].get("body")))
        assert "say encryption rotate" in told["content"]["body"]


async def test_who_is_skipped_while_the_bridge_stops_costs_no_message(tmp_path: Path) -> None:
    """A lane that still encrypts when nothing new may begin is not stopped by a notice that cannot be given."""
    async with bridged(tmp_path) as (harness, _):
        encryption = harness.running.encryption
    assert encryption is not None
    encryption._skipped(RoomId("!r:hs"), [Skipped(UserId("@a:hs"), "DEVICE", Trust.UNSIGNED, False)])
