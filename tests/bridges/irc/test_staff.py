"""The network's staff command the bridge by private messages; nobody who only looks like staff does."""

import pytest
from pydantic import ValidationError

from bridge_core.api.events import RemoteConsent
from bridge_core.api.ids import ChatId
from bridges.irc.codec.wildcard import wild_match
from bridges.irc.config.staff import StaffSettings
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Rig, StartRig, StartServer

STAFF = {"accounts": ["Oper"]}


async def _oper(adapter: Rig, nick: str = "bob", account: str = "oper") -> Witness:
    """Somebody logged in to an account."""
    witness = await Witness.connect("127.0.0.1", adapter.port, nick, sasl=(account, "secret"))
    adapter.witnesses.append(witness)
    return witness


async def _asked(witness: Witness, text: str, answer: str) -> str:
    mark = witness.mark()
    witness.privmsg("relay", text)
    return (await witness.wait_text(answer, since=mark)).text


async def test_staff_command_the_bridge(rig: StartRig, serve: StartServer) -> None:
    """Every command reaches the core with who gave it, and is answered in private."""
    server = await serve(accounts={"oper": "secret", "bob": "secret"})
    adapter = await rig(server.port, staff=STAFF, contact="admin@example.org")
    oper = await _oper(adapter)
    await adapter.puppet("@anna:hs.test", name="anna")
    assert "admin@example.org" in await _asked(oper, "status", "1 channels, 2 Matrix users")
    assert "evil.test (1)" in await _asked(oper, "users", "hs.test (1)")
    assert await _asked(oper, "users *.test", "@anna:hs.test") == (
        "@anna:hs.test (anna), @ben:evil.test (not connected)"
    )
    await _asked(oper, "whois anna", "anna is @anna:hs.test")
    await _asked(oper, "channels", "#a")
    await _asked(oper, "block evil.test spam and more", "evil.test is blocked")
    await _asked(oper, "blocks", "evil.test, by oper: spam")
    await _asked(oper, "unblock evil.test", "not blocked any more")
    await _asked(oper, "kick anna out", "removed from 2 rooms. In 1 rooms they still are")
    await _asked(oper, "block *", "That did not work")
    acts = [tuple(part for part in act if not part.startswith("oper (")) for act in adapter.host.staff.acts]
    assert acts == [
        ("block", "evil.test", "spam and more"),
        ("unblock", "evil.test"),
        ("kick", "@anna:hs.test", "out"),
    ]
    assert all(any(part.startswith("oper (bob!") for part in act) for act in adapter.host.staff.acts)


async def test_staff_take_the_bridge_out_of_a_channel_and_stop_it(rig: StartRig, serve: StartServer) -> None:
    """`leave` ends the bridging of a channel as its operators could, and is written down; `stop` is the core's."""
    server = await serve(accounts={"oper": "secret"})
    adapter = await rig(server.port, staff=STAFF)
    oper = await _oper(adapter)
    await _asked(oper, "leave #a no consent", "#a is bridged no more")
    await adapter.inbox.until(
        lambda: any(isinstance(event, RemoteConsent) and not event.granted for event in adapter.inbox.events)
    )
    (said,) = [event for event in adapter.inbox.events if isinstance(event, RemoteConsent)]
    assert said.by.name == "oper of the network's staff" and "@" not in said.by.id
    assert said.evidence is not None and "no consent" in said.evidence
    assert not adapter.observer.joined(ChatId("#a"))
    await _asked(oper, "stop a raid", "Nothing crosses")
    await _asked(oper, "start", "It goes on")
    await _asked(oper, "revoke https://media.test/x", "work no more")
    assert [act[0] for act in adapter.host.staff.acts] == ["note", "stop", "start", "revoke"]


async def test_only_an_account_of_staff_counts(rig: StartRig, serve: StartServer) -> None:
    """Neither the nick of staff, nor another account, nor a network that tells no accounts makes anybody staff."""
    server = await serve(accounts={"oper": "secret", "bob": "secret"})
    adapter = await rig(server.port, staff=STAFF)
    fake = await adapter.witness("oper")
    other = await _oper(adapter, "bob", "bob")
    for witness in (fake, other):
        witness.privmsg("relay", "block hs.test")
        await witness.wait_text("I am a bridge to Matrix")
    bare = await serve(accounts={"oper": "secret"}, capabilities=frozenset({"sasl"}))
    plain = await rig(bare.port, staff=STAFF)
    staff = await _oper(plain)
    staff.privmsg("relay", "block hs.test")
    await staff.wait_text("I am a bridge to Matrix")
    assert adapter.host.staff.acts == plain.host.staff.acts == []


async def test_masks_are_of_hosts(rig: StartRig, serve: StartServer) -> None:
    """On networks without accounts a host that only staff have will do; what would name everybody is refused."""
    server = await serve(capabilities=frozenset())
    adapter = await rig(server.port, staff={"masks": ["*!*@127.0.0.?"]})
    anybody = await adapter.witness("bob")
    await _asked(anybody, "BLOCKS", "evil.test")
    for mask in ("*", "oper", "oper!*@*", "!@host", "oper!*@*.*"):
        with pytest.raises(ValidationError):
            StaffSettings(masks=[mask])


async def test_staff_cannot_make_the_bot_flood(rig: StartRig, serve: StartServer) -> None:
    """Commands come at a bounded rate; what is beyond is not done."""
    server = await serve(accounts={"oper": "secret"})
    adapter = await rig(server.port, staff=STAFF)
    oper = await _oper(adapter)
    for number in range(60):
        oper.privmsg("relay", f"unblock u{number}.test")
    await oper.sync()
    await _sync(adapter)
    assert 10 <= len(adapter.host.staff.acts) < 20


async def _sync(adapter: Rig) -> None:
    """The observer has read what was said before."""
    anna = await adapter.witness("anna", "#a")
    anna.privmsg("#a", "read")
    await adapter.inbox.text("read")


@pytest.mark.parametrize(
    ("mask", "text", "named"),
    [
        ("*", "", True),
        ("", "", True),
        ("", "a", False),
        ("a*b?d", "axxbcd", True),
        ("a*b?d", "axxbd", False),
        ("*a*a*a*a*a*a*a*a*a*a*b", "a" * 200, False),
        ("*!*@staff.net", "x!y@staff.net", True),
        ("*!*@staff.net", "x!y@staff.net.evil", False),
    ],
)
def test_masks_match_whole_texts(mask: str, text: str, named: bool) -> None:
    """Stars and question marks stand for what they always do, in bounded time."""
    assert wild_match(mask, text) is named
