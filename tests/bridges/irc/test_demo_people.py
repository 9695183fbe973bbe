"""What the demo server tells of people, over real sockets: metadata, MONITOR, bots, accounts, ISUPPORT, UTF-8."""

from __future__ import annotations

import asyncio

from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.demo.witness import Predicate, Received, Witness
from tests.bridges.irc.demo_rig import Connect, Start, batch, failed, numeric

META = ("batch", "draft/metadata-2")


def told(key: str, value: str) -> Predicate:
    """Match a METADATA line."""
    return lambda line: line.command == "METADATA" and line.params[1] == key and line.params[3:] == (value,)


async def monitored(witness: Witness, code: str, since: int = 0) -> Received:
    """Wait for a MONITOR numeric."""
    return await witness.wait_for(numeric(code), since=since)


async def test_metadata_is_set_read_and_told(start: Start, connect: Connect) -> None:
    """SET answers its setter, GET and LIST read in a batch, subscribers who share a channel are told, others not."""
    server = await start()
    anna, bert = await connect(server, "anna", *META), await connect(server, "bert", *META)
    deaf = await connect(server, "deaf", *META)
    for witness in (anna, bert, deaf):
        await witness.join("#a")
    bert.raw("METADATA * SUB avatar display-name")
    assert (await bert.wait_for(numeric("770"))).text == "avatar display-name"
    anna.raw("METADATA * SET avatar :https://example.org/a.png")
    assert (await anna.wait_for(numeric("761"))).params[1:] == ("anna", "avatar", "*", "https://example.org/a.png")
    await bert.wait_for(told("avatar", "https://example.org/a.png"))
    bert.raw("METADATA anna GET avatar url %")
    _, lines = await batch(bert, "metadata")
    assert [line.command for line in lines] == ["761", "766", "FAIL"]
    anna.raw("METADATA * SET avatar")
    gone = await bert.wait_for(lambda r: r.command == "METADATA" and len(r.params) == 3)
    assert gone.params == ("anna", "avatar", "*")
    await deaf.sync()
    assert not any(line.command == "METADATA" for line in deaf.lines)
    assert not any(line.command == "METADATA" for line in anna.lines)


async def test_metadata_is_told_at_subscription_and_at_join(start: Start, connect: Connect) -> None:
    """Who subscribes or joins later gets what is there; who joins with values is told of to the members."""
    server = await start()
    anna, bert = await connect(server, "anna", *META), await connect(server, "bert", *META)
    await anna.join("#a")
    anna.raw("METADATA * SET display-name :Anna A.")
    await bert.join("#a")
    bert.raw("METADATA * SUB display-name")
    await bert.wait_for(told("display-name", "Anna A."))
    carl = await connect(server, "carl", *META)
    carl.raw("METADATA * SET display-name :Carl")
    carl.raw("METADATA * SUB display-name")
    await carl.join("#a")
    await bert.wait_for(told("display-name", "Carl"))
    await carl.wait_for(told("display-name", "Anna A."))
    mark = carl.mark()
    carl.raw("METADATA #a SYNC")
    _, lines = await batch(carl, "metadata", since=mark)
    assert sorted(line.params[0] for line in lines) == ["anna", "carl"]


async def test_metadata_is_refused_with_its_code(start: Start, connect: Connect) -> None:
    """Others' keys, bad keys, absent keys, absent people, and too many subscriptions fail; ops set a channel's."""
    server = await start(metadata_subs=1, metadata_keys=1)
    anna, bert = await connect(server, "anna", *META), await connect(server, "bert", *META)
    await anna.join("#a")
    await bert.join("#a")
    for request, code in (
        ("anna SET avatar :x", "KEY_NO_PERMISSION"),
        ("#a SET avatar :x", "KEY_NO_PERMISSION"),
        ("* SET %% :x", "KEY_INVALID"),
        ("* SET avatar", "KEY_NOT_SET"),
        ("nobody LIST", "INVALID_TARGET"),
        ("* FROB", "SUBCOMMAND_INVALID"),
        ("* SUB one two", "TOO_MANY_SUBS"),
    ):
        bert.raw(f"METADATA {request}")
        await bert.wait_for(failed("METADATA", code))
    bert.raw("METADATA * SET one :1")
    bert.raw("METADATA * SET two :2")
    await bert.wait_for(failed("METADATA", "LIMIT_REACHED"))
    anna.raw("METADATA #a SET one :of the channel")
    await bert.wait_for(told("one", "of the channel"))


async def test_monitor_tells_who_comes_and_goes(start: Start, connect: Connect) -> None:
    """730 and 731 follow sign-on, nick changes and ends; the list can be shown, shortened and is limited."""
    server = await start(monitor=2)
    anna = await connect(server, "anna")
    assert any("MONITOR=2" in line.params for line in anna.lines)
    anna.raw("MONITOR + bert,carl,dora")
    assert (await monitored(anna, "734")).params[1:3] == ("2", "dora")
    assert (await monitored(anna, "731")).text == "bert,carl"
    bert = await connect(server, "Bert")
    assert (await monitored(anna, "730")).text == "Bert!~Bert@127.0.0.1"
    mark = anna.mark()
    bert.raw("NICK carl")
    assert (await monitored(anna, "731", mark)).text == "Bert"
    assert (await monitored(anna, "730", mark)).text.startswith("carl!")
    mark = anna.mark()
    await bert.quit()
    assert (await monitored(anna, "731", mark)).text == "carl"
    anna.raw("MONITOR - bert")
    mark = anna.mark()
    anna.raw("MONITOR L")
    assert (await monitored(anna, "732", mark)).text == "carl"
    anna.raw("MONITOR C")
    await anna.sync()
    await connect(server, "bert")
    await anna.sync()
    assert sum(line.command == "730" for line in anna.lines) == 2
    off = await connect(await start(monitor=None), "anna")
    off.raw("MONITOR + bert")
    await off.wait_for(numeric("421"))


async def test_extended_monitor_tells_more_of_who_shares_no_channel(start: Start, connect: Connect) -> None:
    """AWAY, ACCOUNT, CHGHOST and SETNAME of a watched nick come with their capabilities."""
    caps = ("extended-monitor", "away-notify", "account-notify", "chghost", "setname")
    server = await start(accounts={"bert": "pw"})
    anna, plain = await connect(server, "anna", *caps), await connect(server, "plain", *caps[1:])
    bert = await connect(server, "bert", "setname")
    for witness in (anna, plain):
        witness.raw("MONITOR + bert")
        await witness.sync()
    bert.raw("AWAY :gone")
    assert (await anna.wait_for(numeric("AWAY"))).text == "gone"
    bert.raw("SETNAME :Bert B.")
    await anna.wait_for(numeric("SETNAME"))
    server.log_in("bert", "bert")
    assert (await anna.wait_for(numeric("ACCOUNT"))).text == "bert"
    server.set_host("bert", "u", "cloak")
    await anna.wait_for(numeric("CHGHOST"))
    assert (await bert.wait_for(numeric("396"))).params[1] == "cloak"
    await plain.sync()
    assert not {line.command for line in plain.lines} & {"AWAY", "ACCOUNT", "CHGHOST", "SETNAME"}


async def test_bots_are_marked(start: Start, connect: Connect) -> None:
    """The user mode of ISUPPORT BOT marks messages, WHO and WHOIS."""
    server = await start(bot_mode="b")
    bot, anna = await connect(server, "bot"), await connect(server, "anna", "message-tags")
    assert any("BOT=b" in line.params for line in anna.lines)
    await bot.join("#a")
    await anna.join("#a")
    bot.raw("MODE bot +b")
    bot.privmsg("#a", "beep")
    assert "bot" in (await anna.wait_text("beep")).tags
    anna.raw("WHO bot")
    assert "b" in (await anna.wait_for(numeric("352"))).params[6]
    anna.raw("WHOIS bot")
    await anna.wait_for(numeric("335"))


async def test_isupport_before_registration(start: Start, connect: Connect) -> None:
    """Who has draft/extended-isupport may ask before registration, and gets a batch; changes come the same way."""
    server = await start(further_isupport=("draft/ICON=https://example.org/icon.png",))
    anna = await connect(server, "anna", "batch", "draft/extended-isupport")
    _, lines = await batch(anna, "draft/isupport")
    assert any("CHANTYPES=#" in line.params for line in lines)
    assert any("draft/ICON=https://example.org/icon.png" in line.params for line in lines)
    mark = anna.mark()
    server.tell_isupport("NICKLEN=7", "-WHOX")
    _, lines = await batch(anna, "draft/isupport", since=mark)
    assert lines[0].params[1:-1] == ("NICKLEN=7", "-WHOX")
    assert server.port is not None
    early = Witness(*await asyncio.open_connection("127.0.0.1", server.port))
    early.raw("CAP LS 302")
    early.raw("CAP REQ :batch draft/extended-isupport")
    early.raw("ISUPPORT")
    _, lines = await batch(early, "draft/isupport")
    assert lines[0].params[0] == "*"
    await early.close()
    off = await connect(await start(capabilities=CAPABILITIES - {"draft/extended-isupport"}), "anna")
    off.raw("ISUPPORT")
    await off.wait_for(numeric("421"))


async def test_nickserv_logs_in_and_out_and_frees_nicks(start: Start, connect: Connect) -> None:
    """IDENTIFY and LOGOUT change the account mid-session, seen by account-notify; REGAIN frees a nick."""
    server = await start(accounts={"anna": "pw"})
    anna = await connect(server, "guest", "account-notify")
    watcher = await connect(server, "watcher", "account-notify", "account-tag")
    await anna.join("#a")
    await watcher.join("#a")
    anna.privmsg("NickServ", "IDENTIFY anna wrong")
    await anna.wait_text("Invalid password")
    anna.privmsg("NickServ", "IDENTIFY anna pw")
    await anna.wait_for(numeric("900"))
    assert (await watcher.wait_for(numeric("ACCOUNT"))).text == "anna"
    anna.privmsg("#a", "it is me")
    assert (await watcher.wait_text("it is me")).tags["account"] == "anna"
    thief = await connect(server, "anna")
    anna.privmsg("NickServ", "REGAIN anna")
    await thief.wait_closed()
    anna.privmsg("NickServ", "LOGOUT")
    await watcher.wait_for(lambda r: r.command == "ACCOUNT" and r.text == "*")
    await anna.wait_for(numeric("901"))


async def test_only_utf8_where_it_is_asked(start: Start, connect: Connect) -> None:
    """With UTF8ONLY another encoding is refused by FAIL; without it the bytes pass."""
    server = await start(utf8_only=True)
    anna = await connect(server, "anna", "standard-replies")
    await anna.join("#a")
    assert any("UTF8ONLY" in line.params for line in anna.lines)
    anna.raw(b"PRIVMSG #a :gr\xfc\xdfe")
    await anna.wait_for(failed("PRIVMSG", "INVALID_UTF8"))
    free = await start()
    bert, carl = await connect(free, "bert"), await connect(free, "carl")
    await bert.join("#a")
    await carl.join("#a")
    bert.raw(b"PRIVMSG #a :gr\xfc\xdfe")
    assert b"gr\xfc\xdfe" in (await carl.wait_text("gr")).raw
