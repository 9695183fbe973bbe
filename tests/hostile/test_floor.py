"""Whatever strangers write to the bot, and in channels, decides nothing and breaks nothing."""

import pytest

from bridge_core.api.events import RemoteConsent
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import Consent
from bridges.irc.demo.server import DemoIrcServer
from tests.bridges.irc.rig import Rig

WORDS = (
    "!bridge",
    "!bridge allow allow",
    "!bridge \x02allow\x02",
    "!bridgeallow",
    "allow #x #y",
    "allow",
    "allow nobody",
    "allow #x\x07",
    "allow " + "#" * 300,
    "leave #x,#a",
    "leave *",
    "\x01!bridge leave\x01",
    "\x01ACTION !bridge leave\x01",
    "block *",
    "stop",
    "revoke @alice:hs.test",
    "!bridge leave \u202e#x",
    "!BRIDGE \uff4c\uff45\uff41\uff56\uff45",
)


@pytest.mark.parametrize("staff", [{}, {"accounts": ["oper"], "masks": ["*!*@staff.test"]}], ids=["none", "some"])
async def test_strangers_decide_nothing(staff: dict[str, list[str]]) -> None:
    """No word of somebody who is neither operator nor staff changes what is bridged, and the observer goes on."""
    server = DemoIrcServer()
    await server.start()
    adapter = Rig(server.port or 0, ("#x",), staff=staff)
    try:
        op = await adapter.witness("op", "#x")
        await adapter.start()
        bob = await adapter.witness("bob", "#x")
        for words in WORDS:
            bob.privmsg("#x", words)
            bob.privmsg("relay", words)
        bob.raw(b"PRIVMSG relay :allow #\xff\xfe")
        bob.raw("INVITE relay #y")
        bob.privmsg("#x", "the end")
        await adapter.inbox.text("the end", 30)
        assert adapter.observer.joined(ChatId("#x")) and adapter.host.staff.acts == []
        assert not [event for event in adapter.inbox.events if isinstance(event, RemoteConsent)]
        assert await adapter.connector.consent(ChatId("#new"), UserId("@a:hs.test"), None) is Consent.ASKED
        await op.sync()
    finally:
        await adapter.stop()
        await server.stop()
