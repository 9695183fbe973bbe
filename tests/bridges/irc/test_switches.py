"""What everybody relies on is the same on every server, whatever it offers or lacks."""

from typing import Any

import pytest

from bridge_core.api.events import RemoteRename
from bridges.irc.demo.options import CAPABILITIES
from tests.bridges.irc.rig import Rig, StartRig, StartServer

#: Offered only with accounts, which these servers do not have.
_OFFERED = sorted(CAPABILITIES - {"sasl"})
_SWITCHES: dict[str, dict[str, Any]] = {
    "all statuses": {"prefix": "(qaohv)~&@%+", "founder": "qo"},
    "ascii casemapping": {"casemapping": "ascii"},
    "long lines": {"line_length": 2048},
    "many kinds of channels": {"chantypes": "#&+!"},
    "no extbans": {"extbans": None},
    "no history": {"history": 0},
    "no lists but bans": {"channel_lists": "b"},
    "no message ids": {"msgid": False},
    "no monitor": {"monitor": None},
    "nobody is a bot": {"bot_mode": None},
    "one join a line": {"join_targets": 1},
    "only UTF-8": {"utf8_only": True},
    "short multilines": {"multiline_bytes": 40, "multiline_lines": 2},
    "tags are denied": {"client_tag_deny": ("*",)},
}


async def _converse(adapter: Rig) -> None:
    """Speak by a puppet and by the relay, hear a person who changes its nick, and lose and double nothing."""
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.say(anna, "one")
    await adapter.say(anna, "two\nthree")
    await adapter.relay("four", user="@carl:hs.test", name="Carl")
    await bob.wait_text("four", "#a")
    heard = [(line.nick, line.text) for line in bob.messages("#a")]
    assert heard[:3] == [("Anna", "one"), ("Anna", "two"), ("Anna", "three")]
    assert len(heard) == 4
    assert heard[3][0] == "relay"
    bob.privmsg("#a", "five")
    bob.raw("NICK Rob")
    bob.action("#a", "nods")
    await adapter.inbox.text("nods")
    assert adapter.inbox.texts == ["five", "nods"]
    assert [message.sender.name for message in adapter.inbox.messages] == ["Bob", "Rob"]
    assert any(isinstance(event, RemoteRename) for event in adapter.inbox.events)


@pytest.mark.parametrize("missing", _OFFERED)
async def test_without_one_capability(rig: StartRig, serve: StartServer, missing: str) -> None:
    """No single capability is needed: a conversation is the same without it."""
    server = await serve(capabilities=CAPABILITIES - {missing})
    await _converse(await rig(server.port))


@pytest.mark.parametrize("alone", _OFFERED)
async def test_with_one_capability_only(rig: StartRig, serve: StartServer, alone: str) -> None:
    """No capability needs another one that a server may lack."""
    server = await serve(capabilities=frozenset({alone}))
    await _converse(await rig(server.port))


@pytest.mark.parametrize("switch", sorted(_SWITCHES))
async def test_with_one_switch_turned(rig: StartRig, serve: StartServer, switch: str) -> None:
    """Other limits, signs and rules of a server change nothing of it either."""
    server = await serve(**_SWITCHES[switch])
    await _converse(await rig(server.port))
