"""Logins in the management room: asked, answered, erased, preferred, ended; on a real Synapse and on the fake."""

import pytest

from tests.conformance.bridged import BOT, Bridged

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _management_room(at: Bridged, preset: str) -> str:
    await at.leave_desk()
    body = {"preset": preset, "invite": [BOT], "is_direct": True}
    room = str((await at.human.call("POST", "createRoom", body))["room_id"])
    await at.told(room, "This is your management room")
    return room


async def _answered(at: Bridged, room: str, text: str, words: str) -> str:
    """Say something and wait for the answer to that very message; the message's id."""
    event = await at.human.send(room, text)

    def answers(candidate: dict[str, object]) -> bool:
        content = candidate["content"]
        assert isinstance(content, dict)
        about = (content.get("m.relates_to") or {}).get("m.in_reply_to", {}).get("event_id")
        return candidate["sender"] == BOT and about == event

    answer = await at.human.sees(room, answers)
    assert words in answer["content"]["body"]
    return event


async def test_a_password_login(at: Bridged) -> None:
    """A login asks one thing after the other; the message with the password is erased; wrong ones are asked again."""
    room = await _management_room(at, "trusted_private_chat")
    await _answered(at, room, "login net", "That did not work: say how: password")
    await _answered(at, room, "login net password", "Who are you?\nName? Say cancel to give up.")
    await _answered(at, room, "work", "Password?")
    guess = await _answered(at, room, "guess", "the password is wrong\nName?")
    await _answered(at, room, "work", "Password?")
    secret = await _answered(at, room, "secret", "Which code do you see?\nCode (1234, 5678)?")
    await _answered(at, room, "4321", "Code: say one of 1234, 5678")
    await _answered(at, room, "1234", "You are logged in to net as Work.")
    for event in (guess, secret):
        erased = await at.human.sees(
            room, lambda e, wanted=event: e["event_id"] == wanted and "body" not in e["content"]
        )
        assert erased["unsigned"]["redacted_because"]["sender"] == BOT
    await _answered(at, room, "logins", "net: Work (work, speaks for you): connected")
    hall = await at.enter("net")
    await at.human.send(hall, "from work")
    await at.bridge.until(lambda: "from work" in at.script.texts())
    assert at.script.sent[at.script.texts().index("from work")][0] == "work"
    await _answered(at, room, "logout net", "Work is logged out of net.")
    await _answered(at, room, "logins", "You have no logins.")


async def test_where_the_bot_may_not_erase(at: Bridged) -> None:
    """In a room where the bot has no power the user is told to delete the password themselves."""
    room = await _management_room(at, "private_chat")
    await _answered(at, room, "login net password", "Name?")
    await _answered(at, room, "home", "Password?")
    await _answered(at, room, "secret", "please delete what you just wrote")
    await _answered(at, room, "cancel", "Cancelled.")
    await _answered(at, room, "1234", "I do not know that command")


async def test_a_scanned_login_and_a_preferred_one(at: Bridged) -> None:
    """What is shown is waited for and told when it worked; the preferred login speaks."""
    room = await _management_room(at, "trusted_private_chat")
    at.script.scanned.clear()
    await _answered(at, room, "login net code", "Scan this with your phone.\ncode-1\nI wait for the network.")
    await _answered(at, room, "what now", "I still wait for the network.")
    at.script.scanned.set()
    await at.told(room, "You are logged in to net as Phone.")
    await _answered(at, room, "login net password", "Name?")
    for text, words in (("tablet", "Password?"), ("secret", "Code"), ("5678", "logged in to net as Tablet")):
        await _answered(at, room, text, words)
    await _answered(at, room, "logout net", "say which: phone, tablet")
    await _answered(at, room, "prefer net tablet", "Tablet speaks for you on net from now on.")
    hall = await at.enter("net")
    await at.human.send(hall, "from the tablet")
    await at.bridge.until(lambda: "from the tablet" in at.script.texts())
    assert at.script.sent[at.script.texts().index("from the tablet")][0] == "tablet"
    await _answered(at, room, "prefer net nobody", "say which: tablet, phone")
    for login in ("tablet", "phone"):
        await _answered(at, room, f"logout net {login}", "is logged out of net")


async def test_a_password_is_not_asked_for_in_public(at: Bridged) -> None:
    """Outside the management room a login is not begun."""
    hall = await at.enter("net")
    await at.human.send(hall, "!bridge login net password")
    await at.told(hall, "in your management room")
