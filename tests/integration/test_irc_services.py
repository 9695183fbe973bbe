"""InspIRCd with Atheme: accounts by SASL, people who keep theirs under every nick, bans, the staff's commands.

Operators are asked before a channel is bridged, as they are where nobody configures anything else.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bridges.irc.demo.witness import Witness
from tests.real import Ground, Place, Town, ghost
from tests.servers.atheme import Atheme
from tests.servers.inspircd import InspIRCd

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

NETWORK = "insps"
_ACCOUNTS = {"brdg": "bot-password", "wonder": "alice-password", "root": "root-password"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[InspIRCd]:
    """An IRC server with services, which know `_ACCOUNTS`; root may do everything."""
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    folder.chmod(0o755)
    services = Atheme(folder / "services", opers=("root",))
    server = services.irc_server(folder / "ircd")
    try:
        await server.start()
        await services.start()
        for account, password in _ACCOUNTS.items():
            await (await _registered(server, account, password)).close()
        yield server
    finally:
        services.kill()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def _registered(server: InspIRCd, account: str, password: str) -> Witness:
    """Somebody who has just made an account of their nick, and is logged in to it."""
    witness = await Witness.connect(server.host, server.port, account, caps=("message-tags", "account-tag"))
    witness.raw(f"PRIVMSG NickServ :REGISTER {password} {account}@x.test")
    await witness.wait_for(lambda line: line.command == "900")
    return witness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(ground: Ground, served: InspIRCd, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A bridge that is logged in to its account, asks operators, and obeys who is logged in as root."""
    sasl = {"mechanism": "plain", "user": "brdg", "password": _ACCOUNTS["brdg"]}
    people = {"who_rate": 50}
    settings = {
        "tls": True,
        "sasl": sasl,
        "people": people,
        "consent": {"required": True},
        "staff": {"accounts": ["root"]},
    }
    async with Town(ground, tmp_path_factory.mktemp("services"), {NETWORK: (served, settings)}) as town:
        yield town


async def _account(place: Place, nick: str) -> str | None:
    """The account that the server tells of a nick."""
    mark = place.witness.mark()
    place.witness.raw(f"WHOIS {nick}")
    await place.witness.wait_for(lambda line: line.command == "318" and line.params[1] == nick, since=mark)
    told = [line for line in place.witness.lines[mark:] if line.command == "330"]
    return told[-1].params[2] if told else None


async def test_the_bot_is_logged_in(town: Town) -> None:
    """SASL PLAIN over TLS: the server tells the bot's account to whoever asks."""
    place = await town.place(NETWORK)
    assert await _account(place, "brdg") == "brdg"


async def _bob(town: Town, *, wrong_first: bool = False) -> tuple[Place, str]:
    """A place, and the nick there of bob, who is logged in to the account wonder."""
    place = await town.place(NETWORK)
    nick = await town.puppet(place, town.bob)
    if await _account(place, nick) == "wonder":
        return place, nick
    office = await town.bob.create_room(preset="private_chat", invite=["@bridgebot:hs.test"])
    await town.notice(town.bob, office, "This is your management room")

    async def say(text: str, answer: str) -> None:
        event = await town.bob.send_text(office, text)
        await town.notice(town.bob, office, answer, about=event)

    await say(f"login {NETWORK} password", "account")
    await say("wonder", "password")
    if wrong_first:
        await say("wrong-password", "SASL")
        await say("wonder", "password")
    await say(_ACCOUNTS["wonder"], "wonder")
    place = await town.place(NETWORK)
    return place, await town.puppet(place, town.bob)


async def _root(town: Town) -> Witness:
    """Somebody of the network's staff, logged in to their account."""
    root = await town.witness(NETWORK, f"root{next(town.ground.numbers)}")
    root.raw(f"PRIVMSG NickServ :IDENTIFY root {_ACCOUNTS['root']}")
    await root.wait_for(lambda line: line.command == "900")
    return root


async def test_a_user_logs_in_to_their_account(town: Town) -> None:
    """A wrong password is refused in the services' words; with the right one their connection has the account."""
    place, nick = await _bob(town, wrong_first=True)
    assert await _account(place, nick) == "wonder"


async def test_a_person_is_the_same_under_every_nick(town: Town, served: InspIRCd) -> None:
    """Somebody with an account takes another nick: one ghost, with a new name. Who takes the old one is another."""
    place = await town.place(NETWORK)
    dora = await _registered(served, "dora", "dora-password")
    await dora.join(place.channel)
    dora.privmsg(place.channel, "as dora")
    first = await town.alice.wait_for_message(place.room, "as dora")
    assert first["sender"] == ghost(NETWORK, "=dora")
    dora.raw("NICK explorer")
    await dora.wait_for(lambda line: line.command == "NICK" and line.params[-1] == "explorer")
    dora.privmsg(place.channel, "as explorer")
    assert (await town.alice.wait_for_message(place.room, "as explorer"))["sender"] == first["sender"]
    other = await town.witness(NETWORK, "dora")
    await other.join(place.channel)
    other.privmsg(place.channel, "not dora")
    assert (await town.alice.wait_for_message(place.room, "not dora"))["sender"] == ghost(NETWORK, "dora")
    await dora.close()


async def test_a_channel_ban_of_the_account_stops_its_user(town: Town) -> None:
    """A ban by account (extban R:) is seen as one of the user whose connection has it, who is told."""
    place, nick = await _bob(town)
    assert await _account(place, nick) == "wonder"
    place.witness.raw(f"MODE {place.channel} +b R:wonder")
    place.witness.raw(f"KICK {place.channel} {nick} :enough")
    await place.witness.wait_for(lambda line: line.command == "KICK" and line.params[1] == nick)
    mark = place.witness.mark()
    await town.bob.send_text(place.room, "again")
    await town.notice(town.bob, place.room, "not delivered")
    assert "again" not in [line.text for line in place.witness.messages(place.channel, mark)]


async def test_staff_command_the_bridge(town: Town) -> None:
    """Who is logged in to an account of the staff blocks a Matrix user by one line; nobody else does."""
    place = await town.place(NETWORK)
    nick = await town.puppet(place, town.alice)
    root = await _root(town)

    async def ask(text: str, answer: str) -> None:
        mark = root.mark()
        root.privmsg("brdg", text)
        await root.wait_text(answer, since=mark)

    await ask(f"whois {nick}", f"{nick} is @alice:hs.test")
    liar = await town.witness(NETWORK, "rooot")
    liar.privmsg("brdg", "block @alice:hs.test")
    await liar.sync()
    await ask("blocks", "None.")
    assert not [line for line in liar.lines if line.nick == "brdg" and "blocked" in line.text]
    await ask("block @alice:hs.test enough", "1 of them had a connection")
    await place.witness.wait_for(lambda line: line.command == "QUIT" and line.nick == nick)
    mark = place.witness.mark()
    event = await town.alice.send_text(place.room, "am I heard?")
    await town.notice(town.alice, place.room, "enough", about=event)
    await town.carol.join(place.room)
    await town.carol.send_text(place.room, "I am")
    await place.witness.wait_for(lambda line: "I am" in line.text, since=mark)
    assert not [line for line in place.witness.messages(place.channel, mark) if "am I heard?" in line.text]
    await ask("unblock @alice:hs.test", "not blocked any more")
    await town.alice.send_text(place.room, "and now?")
    await place.witness.wait_text("and now?", place.channel, since=mark)
    await root.quit("done")


async def test_an_akill_ends_a_users_connection_for_good(town: Town, served: InspIRCd) -> None:
    """The network's staff bans one Matrix user: they are told, the relay does not speak for them, others go on."""
    place = await town.place(NETWORK)
    alice = await town.puppet(place, town.alice)
    root = await _root(town)
    root.raw("OPER op oppw")
    await root.wait_for(lambda line: line.command == "381")
    place.witness.raw(f"WHO {alice}")
    who = await place.witness.wait_for(lambda line: line.command == "352" and line.params[5] == alice)
    root.raw(f"PRIVMSG OperServ :AKILL ADD {who.params[2]}@* !T 60 no bridging for you")
    await root.wait_text("Timed AKILL on")
    await place.witness.wait_for(lambda line: line.command == "QUIT" and line.nick == alice)
    mark = place.witness.mark()
    await town.alice.send_text(place.room, "am I heard?")
    await town.notice(town.alice, place.room, "banned from this network")
    await town.carol.join(place.room)
    await town.carol.send_text(place.room, "I am")
    await place.witness.wait_for(lambda line: "I am" in line.text, since=mark)
    assert not [line for line in place.witness.messages(place.channel, mark) if "am I heard?" in line.text]
