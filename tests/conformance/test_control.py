"""Status, commands and the HTTP API: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge_core.api.errors import RejectedError
from bridge_core.api.network import Sent
from bridge_core.engine.status import DONE_KEY, STATUS_EVENT
from tests.apicalls import SECRET, ApiClient
from tests.conformance.bridged import BOT, Bridged
from tests.conformance.homeservers import Homeserver
from tests.harness import InProcess
from tests.scripted import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(homeserver: Homeserver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridged]:
    """One bridge on it for all tests of this file: everything is told, and the API is on."""
    script, human = Script(), await homeserver.human()
    bridge = InProcess(
        tmp_path_factory.mktemp("bridge"),
        {"net": {"type": "scripted", "portals": [f"hall{number}" for number in range(30)]}},
        address=homeserver.url,
        port=homeserver.port,
        tokens=(homeserver.as_token, homeserver.hs_token),
        adapters={"scripted": script},
        permissions={human.id: "admin"},
        status={"success": "reaction", "failure": "both"},
        api={"enabled": True, "secret": SECRET},
    )
    await bridge.start_bridge()
    yield Bridged(homeserver, bridge, script, human)
    await bridge.stop_bridge()


async def test_delivery_and_failure_are_told(at: Bridged) -> None:
    """A reaction of the bot follows a delivery; a notice and a status event follow a failure, each about its event."""
    room = await at.enter("net")
    good = await at.human.send(room, "good")
    done = await at.human.sees(room, lambda e: e["type"] == "m.reaction" and e["sender"] == BOT)
    assert done["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": good, "key": DONE_KEY}

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("moderated")

    at.script.answer = refuse
    bad = await at.human.send(room, "bad")
    status = await at.human.sees(room, lambda e: e["type"] == STATUS_EVENT)
    at.script.answer = lambda message, attempt: Sent()
    assert status["content"]["m.relates_to"] == {"rel_type": "m.reference", "event_id": bad}
    assert status["content"]["status"] == "FAIL_PERMANENT"
    await at.told(room, "was not delivered to net: moderated")


async def test_a_replayed_message_corrects_its_notice(at: Bridged) -> None:
    """What an admin replays in the management room arrives, and the notice about it is edited."""
    desk = await at.private_room(BOT)
    await at.told(desk, "This is your management room")
    room = await at.enter("net")

    def broken(message: Any, attempt: Any) -> Sent:
        raise RuntimeError("a bug of the adapter")

    at.script.answer = broken
    await at.human.send(room, "lost and found")
    told = await at.told(room, "was not delivered to net")
    at.script.answer = lambda message, attempt: Sent()
    await at.human.send(desk, "journal replay all")
    await at.told(desk, "1 entries are tried again")
    fixed = await at.told(room, "was delivered to net after all")
    assert fixed["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": told["event_id"]}
    assert "lost and found" in at.script.texts()


async def test_a_user_commands_by_openid(at: Bridged) -> None:
    """An OpenID token of the homeserver lets its user give commands by HTTP; a token that it does not know, nobody."""
    api = ApiClient(at.homeserver.port)
    answer = await at.human.call("POST", f"user/{quote(at.human.id)}/openid/request_token", {})
    token = f"openid:{answer['access_token']}"
    assert await api.call("GET", "/whoami", token) == (200, {"user_id": at.human.id, "level": "admin"})
    status, answer = await api.call("POST", "/commands/status", token, {})
    assert (status, answer["data"]["networks"][0]["network"]) == (200, "net")
    assert (await api.call("GET", "/whoami", "openid:nothing"))[0] == 403


async def test_members_only_name_a_room(at: Bridged) -> None:
    """By HTTP as in the room: a member with the power to change it may end its bridging, a stranger may not."""
    api = ApiClient(at.homeserver.port)
    guest = await at.homeserver.human()
    room = await at.enter("net")
    body = {"room": room, "arguments": {}}
    assert (await api.call("POST", "/commands/unbridge", SECRET, body, user_id=guest.id))[0] == 403
    await guest.join(room)
    await at.human.send(room, "settle")
    await at.human.sees(room, lambda e: e["type"] == "m.reaction")
    status, answer = await api.call("POST", "/commands/unbridge", SECRET, body, user_id=guest.id)
    assert (status, answer["errcode"]) == (409, "M_BAD_STATE")


async def test_everyday_commands(at: Bridged) -> None:
    """`ping` answers, `join` invites to a chat's room, `leave` takes out of it."""
    guest = await at.homeserver.human()
    api = ApiClient(at.homeserver.port)
    status, answer = await api.call("POST", "/commands/ping", SECRET, {}, user_id=guest.id)
    assert (status, "homeserver_ms" in answer["data"]) == (200, True)
    chat = at.chat()
    room = await at.enter("net", chat)
    body = {"arguments": {"network": "net", "chat": chat}}
    status, answer = await api.call("POST", "/commands/join", SECRET, body, user_id=guest.id)
    assert (status, answer["data"]) == (200, {"room": room})
    await guest.join(room)
    await guest.send(room, "!bridge leave")
    await at.human.sees(room, lambda e: e.get("state_key") == guest.id and e["content"].get("membership") == "leave")
