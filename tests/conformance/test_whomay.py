"""Who may do what: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

from typing import Any
from urllib.parse import quote

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteConsent, RemoteEvent, RemoteJoinRequest, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from tests.conformance.bridged import ECHO, Bridged
from tests.conformance.homeservers import SERVER, Event, Human

pytestmark = pytest.mark.asyncio(loop_scope="module")

DORA = RemoteSender(RemoteUserId("dora"), "Dora")
BAN = "m.policy.rule.user"


async def hears(at: Bridged, *events: RemoteEvent) -> None:
    """The network says something, and the bridge is done with it."""
    assert at.script.inbox is not None
    await at.script.inbox.receive(list(events))
    await at.bridge.settled()


def says(chat: str, text: str) -> RemoteMessage:
    """Dora says something."""
    return RemoteMessage(ChatId(chat), DORA, Content((Plain(text),)))


async def by(at: Bridged, room: str, sender: str) -> list[str]:
    """What somebody said in a room."""
    return [body for who, body in await at.human.bodies(room) if who == sender]


async def guest_in(at: Bridged, room: str) -> Human:
    """Somebody else, who is in the room and may use the bridge."""
    guest = await at.homeserver.human()
    await guest.join(room)
    return guest


async def set_state(human: Human, room: str, key: str, content: dict[str, Any]) -> str:
    """Set a rule; its event's id."""
    return str((await human.call("PUT", f"rooms/{room}/state/{BAN}/{quote(key, safe='')}", content))["event_id"])


async def test_a_banned_user_is_not_bridged(at: Bridged) -> None:
    """`ban` keeps a user out and says so to them; `unban` lets them in again; who is no admin bans nobody."""
    room = await at.enter()
    guest = await guest_in(at, room)
    await guest.send(room, f"!bridge ban {at.human.id}")
    await at.told(room, "needs the level admin")
    await at.human.send(room, f"!bridge ban {guest.id} too loud")
    await at.told(room, f"{guest.id} is banned")
    await guest.send(room, "can you hear me?")
    await at.told(room, "you are banned from this bridge (too loud)")
    await at.human.send(room, f"!bridge unban {guest.id}")
    await at.told(room, "not banned any more")
    await guest.send(room, "and now?")
    await at.echoed(room, "and now?")
    assert await by(at, room, ECHO) == ["and now?"]


async def test_a_room_is_stopped_and_goes_on(at: Bridged) -> None:
    """Who may change a room stops it: nothing crosses in either direction, and its end is told with the gap."""
    chat = at.chat()
    room = await at.enter("net", chat)
    guest = await guest_in(at, room)
    await guest.send(room, "!bridge stop")
    await at.told(room, "you may not stop it")
    await at.human.send(room, "!bridge stop here raid")
    await at.told(room, "Bridging of this room is stopped: raid")
    await guest.send(room, "out")
    await at.told(room, "bridging of this room is stopped: raid")
    await hears(at, says(chat, "in"))
    await at.human.send(room, "!bridge start")
    await at.told(room, "are missing here: it was stopped: raid")
    await hears(at, says(chat, "back"))
    await at.human.sees(room, lambda e: e["content"].get("body") == "back")
    assert await by(at, room, f"@_net_dora:{SERVER}") == ["back"]
    assert "out" not in at.script.texts()


async def test_a_network_is_stopped_and_goes_on(at: Bridged) -> None:
    """An admin stops a network and lets it go on; both are said in rooms that missed something."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await at.human.send(room, "!bridge stop net")
    await at.told(room, "net is stopped. Say !bridge start net")
    await hears(at, says(chat, "unheard"))
    await at.told(room, "nothing crosses in either direction")
    await at.human.send(room, "!bridge start net")
    await at.told(room, "net goes on")
    await at.told(room, "are missing here: it was stopped")
    await hears(at, says(chat, "heard"))
    assert await by(at, room, f"@_net_dora:{SERVER}") == ["heard"]


async def test_a_policy_list_is_followed(at: Bridged) -> None:
    """Rules of a list count from the moment they are set, in both directions, and end when they are redacted."""
    chat = at.chat()
    room = await at.enter("net", chat)
    guest, keeper = await guest_in(at, room), await at.homeserver.human()
    rules = str((await keeper.call("POST", "createRoom", {"preset": "public_chat"}))["room_id"])
    ban = {"recommendation": "m.ban", "reason": "spam"}
    event = await set_state(keeper, rules, "g", {"entity": guest.id, **ban})
    await at.human.send(room, f"!bridge policy subscribe {rules}")
    await at.told(room, f"{rules} is followed: 1 rules")
    await guest.send(room, "buy")
    await at.told(room, "you are on a moderation list (spam)")
    await set_state(keeper, rules, "d", {"entity": f"@_net_d?ra:{SERVER}", **ban})
    await set_state(keeper, rules, "all", {"entity": "*", **ban})
    policies, permissions = at.bridge.running.whomay.policies, at.bridge.running.whomay.permissions
    await at.bridge.until(lambda: policies.rules() == 2)
    await hears(at, says(chat, "this"))
    await keeper.redact(rules, event)
    await at.bridge.until(lambda: not permissions.denied(guest.id))  # type: ignore[arg-type]
    await guest.send(room, "sorry")
    await at.bridge.until(lambda: "sorry" in at.script.texts())
    await at.human.send(room, f"!bridge policy unsubscribe {rules}")
    await at.told(room, f"{rules} is followed no more")
    await hears(at, says(chat, "that"))
    assert await by(at, room, f"@_net_dora:{SERVER}") == ["that"]


async def test_who_opts_out_is_left_alone(at: Bridged) -> None:
    """After `opt-out` nothing of a user crosses; `opt-in` ends it."""
    room = await at.enter()
    guest = await guest_in(at, room)
    await guest.send(room, "!bridge opt-out")
    await at.told(room, "Nothing of you is bridged")
    await guest.send(room, "private")
    await guest.send(room, "!bridge opt-in")
    await at.told(room, "What you say is bridged again")
    await guest.send(room, "public")
    await at.echoed(room, "public")
    assert await by(at, room, ECHO) == ["public"]


async def test_consent_is_asked_for_and_kept_to(at: Bridged) -> None:
    """When the other side takes its consent back, nothing crosses until it is given again; the room hears of it."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await hears(at, RemoteConsent(ChatId(chat), DORA, False), says(chat, "no"))
    await at.told(room, "Dora does not want this chat to be bridged")
    await at.human.send(room, "please?")
    await at.told(room, "the other side does not want")
    await hears(at, RemoteConsent(ChatId(chat), DORA, True), says(chat, "yes"))
    await at.told(room, "Dora allows that this chat is bridged")
    assert await by(at, room, f"@_net_dora:{SERVER}") == ["yes"]
    assert "please?" not in at.script.texts()


async def test_a_request_to_join_names_whom_to_invite(at: Bridged) -> None:
    """The ghost that is named exists and can be invited."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await hears(at, RemoteJoinRequest(ChatId(chat), RemoteSender(RemoteUserId("eve"), "Eve"), "let me in"))
    await at.told(room, f"Eve asks to be let in (let me in). To let them in, invite @_net_eve:{SERVER}")
    answer = await at.human.call("GET", f"profile/{quote(f'@_net_eve:{SERVER}')}/displayname")
    assert answer == {"displayname": "Eve"}


async def test_quotas_are_kept(at: Bridged) -> None:
    """What is over a user's quota is refused in words; the user sees what they have."""
    room = await at.enter()
    guest = await guest_in(at, room)
    await at.human.send(room, f"!bridge quota {guest.id} messages_per_minute 1")
    await at.told(room, "messages_per_minute: 1")
    await guest.send(room, "one")
    await at.echoed(room, "one")
    await guest.send(room, "two")
    await at.told(room, "you sent more than 1 messages within a minute")
    await guest.send(room, "!bridge quota")

    def is_answer(event: Event) -> bool:
        return "logins: 0 of no limit" in str(event["content"].get("body"))

    await at.human.sees(room, is_answer)
    assert await by(at, room, ECHO) == ["one"]
