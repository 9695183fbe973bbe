"""What a channel refuses and shows to its operators only."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.events import RemoteReaction
from bridge_core.api.ids import ChatId
from bridge_core.content import to_plain
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.opmoderation import letter
from bridges.irc.survey import Survey
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

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


async def _refusing(rig: StartRig, serve: StartServer, **config: Any) -> tuple[Rig, Any, Any]:
    """A channel with +z that silences eve, in which the bot is an operator; an operator of it, and eve."""
    server = await serve(op_moderated_mark="")
    adapter = await rig(server.port, **config)
    op, eve = await adapter.witness("op", "#a"), await adapter.witness("eve", "#a")
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#a", "+o", "op")
    await op.wait_for(lambda line: line.command == "MODE" and "op" in line.params)
    op.raw("MODE #a +zq eve!*@*")
    state = adapter.connector._state
    await eventually(lambda: (regime := state.regimes.get(CHAT)) is not None and "z" in regime.flags)
    await eventually(lambda: state.lists.known(CHAT, "b") and bool(list(state.lists.rows(CHAT, "q"))))
    return adapter, op, eve


def _shown(adapter: Rig) -> list[str]:
    return [to_plain(one.content.text) for one in adapter.inbox.messages if one.least_power is None]


@pytest.mark.parametrize("unknown", ["modes", "lists"])
async def test_what_is_not_known_of_a_channel_hides(rig: StartRig, serve: StartServer, unknown: str) -> None:
    """Until its modes and lists are read, nobody but those with a mode is shown where we are an operator; then all."""
    adapter, op, eve = await _refusing(rig, serve)
    state = adapter.connector._state
    # As after a reconnect: the answers are still to come.
    state.regimes.forget(CHAT) if unknown == "modes" else state.lists.forget(CHAT)
    eve.privmsg("#a", "is refused")
    op.privmsg("#a", "has a mode")
    await adapter.inbox.text("has a mode")
    assert _shown(adapter) == ["has a mode"] and len(adapter.inbox.messages) == 2


async def test_a_refused_reaction_is_shown_to_nobody(rig: StartRig, serve: StartServer) -> None:
    """Whom the channel refuses does not react before everybody either."""
    adapter, _, _ = await _refusing(rig, serve)
    hearing = adapter.observer._hearing
    assert hearing is not None
    for nick in ("eve", "op"):
        hearing.heard([f"@+draft/reply=m1;+draft/react=:o :{nick}!{nick}@127.0.0.1 TAGMSG #a".encode()])
    await adapter.inbox.until(lambda: any(isinstance(event, RemoteReaction) for event in adapter.inbox.events))
    reactions = [event for event in adapter.inbox.events if isinstance(event, RemoteReaction)]
    assert [event.sender.name for event in reactions] == ["op"]


async def test_nobody_is_hidden_where_we_are_shown_no_more_than_all(rig: StartRig, serve: StartServer) -> None:
    """Who is no operator is not shown what the channel refuses: there all that comes is for everybody, in no doubt."""
    adapter, op, _ = await _refusing(rig, serve)
    bob = await adapter.witness("bob", "#a")
    state = adapter.connector._state
    op.raw("MODE #a -o relay")
    await op.wait_for(lambda line: line.command == "MODE" and "-o" in line.params)
    bob.privmsg("#a", "before")
    await adapter.inbox.text("before")
    state.regimes.forget(CHAT)
    state.lists.forget(CHAT)
    bob.privmsg("#a", "for all")
    await adapter.inbox.text("for all")
    assert _shown(adapter) == ["before", "for all"]


async def test_channels_in_doubt_are_asked_about_first(rig: StartRig, serve: StartServer) -> None:
    """Of many channels those in which we are an operator: what is said there is hidden until the answer is there."""
    adapter, _, _ = await _refusing(rig, serve)
    state, session = adapter.connector._state, adapter.observer._session
    assert session is not None
    survey = Survey(state, session)
    for chat in ("#x", "#y", CHAT):
        survey.entered(ChatId(chat))
    asked: list[ChatId] = []

    async def note(chat: ChatId, slow: Any, *, members: bool) -> None:
        asked.append(chat)

    survey._ask = note  # type: ignore[method-assign]
    running = asyncio.create_task(survey.run())
    await eventually(lambda: len(asked) == 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert asked == ["#a", "#x", "#y"]


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
