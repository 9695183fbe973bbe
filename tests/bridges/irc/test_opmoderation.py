"""What a channel refuses and shows to its operators only."""

import pytest

from bridge_core.api.ids import ChatId
from bridge_core.content import to_plain
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.opmoderation import letter
from tests.bridges.irc.rig import StartRig, StartServer, eventually

CHAT = ChatId("#a")


@pytest.mark.parametrize("mark", ["@", ""])
async def test_what_a_channel_refuses_is_for_its_operators(rig: StartRig, serve: StartServer, mark: str) -> None:
    """With +z of solanum operators are shown what the channel refuses, marked or not: a room is not, and counts it."""
    server = await serve(op_moderated_mark=mark)
    adapter = await rig(server.port)
    op = await adapter.witness("op", "#a")
    eve, bob = await adapter.witness("eve", "#a"), await adapter.witness("bob", "#a")
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#a", "+o", "op")
    await op.wait_for(lambda line: line.command == "MODE" and "op" in line.params)
    state = adapter.connector._state
    op.raw("MODE #a +zm")
    await eventually(lambda: (regime := state.regimes.get(CHAT)) is not None and {"z", "m"} <= regime.flags)
    eve.privmsg("#a", "may I speak")
    await op.wait_text("may I speak")
    op.raw("MODE #a -m+q eve!*@*")
    await op.sync()
    eve.privmsg("#a", "and now")
    bob.privmsg("#a", "everybody hears")
    await adapter.inbox.text("everybody hears")
    shown = [message for message in adapter.inbox.messages if message.least_power is None]
    hidden = [message for message in adapter.inbox.messages if message.least_power is not None]
    assert [to_plain(message.content.text) for message in shown] == ["everybody hears"]
    assert [to_plain(message.content.text) for message in hidden] == ["[@#a] may I speak", "[@#a] and now"]


@pytest.mark.parametrize(
    ("tokens", "chosen", "mode"),
    [
        ({"EXTBAN": "$,ajrxz", "CHANMODES": "eIbq,k,flj,CFLMPQScgimnprstuz"}, None, "z"),
        ({"EXTBAN": "$,ajrxz", "CHANMODES": "eIbq,k,flj,CFLMPQScgimnprstuz"}, "", ""),
        ({"EXTBAN": ",ajr", "CHANMODES": "Ibe,k,l,imnpstz"}, None, ""),
        ({"EXTBAN": "~,qnjr", "CHANMODES": "beI,fkL,lH,imnprstz"}, None, ""),
        ({"CHANMODES": "beI,k,l,imnprstzU"}, "U", "U"),
    ],
)
def test_the_letter_is_known_on_solanum_only(tokens: dict[str, str], chosen: str | None, mode: str) -> None:
    """Elsewhere z asks for TLS; an admin may name another letter."""
    assert letter(from_tokens(tokens), chosen) == mode
