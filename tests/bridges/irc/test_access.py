"""Who our users are to a network: addresses and user names, the same for good."""

from ipaddress import IPv6Network, ip_address, ip_network
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridge_core.api.network import LoginStatus
from bridge_core.testing.memory import MemoryKV
from bridges.irc.access.addresses import AddressBook, AddressPlan, NoAddress
from bridges.irc.access.counsel import counsel
from bridges.irc.access.endpoints import FULL, Endpoint, Endpoints
from bridges.irc.access.usernames import Usernames
from bridges.irc.config import IrcConfig
from bridges.irc.config.addresses import Addresses
from tests.bridges.irc.rig import StartRig, StartServer

ANNA, BEN, CARA = UserId("@anna:one.test"), UserId("@ben:one.test"), UserId("@cara:two.test")


def book(kv: MemoryKV, prefix: str = "2001:db8:1::/48", **more: Any) -> AddressBook:
    return AddressBook(kv, AddressPlan(Addresses(prefix=ip_network(prefix), **more)))


async def test_each_user_has_an_address_within_the_block_of_their_homeserver() -> None:
    """Users of one homeserver share a block that nobody else is in, so that staff can ban them all at once."""
    addresses = book(MemoryKV(), block=64)
    anna, ben, cara = [await addresses.address(user) for user in (ANNA, BEN, CARA)]
    assert [str(anna), str(ben), str(cara)] == ["2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1"]
    assert await addresses.block("one.test") == "2001:db8:1:1::/64"
    assert cara not in IPv6Network("2001:db8:1:1::/64")
    assert await addresses.block("three.test") is None


async def test_addresses_and_user_names_survive_a_restart() -> None:
    """Whoever comes first after a restart, all have the address and user name that they had before."""
    kv = MemoryKV()
    users = [UserId(f"@user{number}:hs{number % 3}.test") for number in range(20)]
    names = Usernames(kv, "$LOCALPART", "matrix")
    before = [(await book(kv).address(user), await names.name(user, "")) for user in users]
    names = Usernames(kv, "$LOCALPART", "matrix")
    after = [(await book(kv).address(user), await names.name(user, "Somebody else")) for user in reversed(users)]
    assert after == before[::-1]
    assert len({address for address, _ in before}) == len({name for _, name in before}) == len(users)


async def test_addresses_that_are_used_up_are_given_to_nobody_twice() -> None:
    """Who finds the block of their homeserver full gets none, and other homeservers go on."""
    kv = MemoryKV()
    addresses = book(kv, "2001:db8:1::/120", block=126)
    given = [await addresses.address(UserId(f"@user{number}:one.test")) for number in range(3)]
    assert len(set(given)) == 3
    for _ in range(2):
        with pytest.raises(NoAddress, match="of this user's homeserver are taken"):
            await addresses.address(UserId("@late:one.test"))
    assert await addresses.address(CARA) not in given


async def test_a_damaged_mapping_gives_nobody_anothers_address() -> None:
    """What cannot be read is no address: fail closed."""
    kv = MemoryKV()
    await book(kv).address(ANNA)
    kv.values["address/user/@anna:one.test"] = b"-1"
    with pytest.raises(NoAddress, match="damaged"):
        await book(kv).address(ANNA)


async def test_user_names_are_different_for_each_user() -> None:
    """Names that are alike after cutting and cleaning get numbers, then digests; the bot's is nobody's."""
    names = Usernames(MemoryKV(), "$LOCALPART", "matrix")
    users = [UserId(f"@alexandra{number:03}:hs{number}.test") for number in range(60)]
    found = [await names.name(user, "") for user in users]
    assert found[:3] == ["alexandra", "alexandr2", "alexandr3"]
    assert len(set(found)) == 60
    assert all(len(name) <= 9 and name.isalnum() and name.islower() for name in found)
    assert await names.name(UserId("@matrix:hs.test"), "") == "matrix2"
    assert await names.name(UserId("@Ünï-Çode_7:hs.test"), "") == "unicode7"
    assert await names.name(UserId("@123:hs.test"), "") == "matrix3"


async def test_who_a_puppet_is(rig: StartRig, serve: StartServer) -> None:
    """The real name says which Matrix user it is, the user name is theirs alone."""
    server = await serve()
    adapter = await rig(server.port, realname_template="$REVERSED via example.org")
    await adapter.puppet("@anna:hs.test")
    await adapter.puppet("@anna:other.test", name="Other")
    anna, other = server.client("anna"), server.client("Other")
    assert (anna.user, anna.real) == ("~anna", "hs.test:@anna via example.org")
    assert (other.user, other.real) == ("~anna2", "other.test:@anna via example.org")


async def test_a_name_cannot_end_the_line(rig: StartRig, serve: StartServer) -> None:
    """Whatever somebody calls themselves, it stays within the real name (CVE-2022-29166's class)."""
    server = await serve()
    adapter = await rig(server.port, realname_template="$DISPLAY $USERID", username_template="$DISPLAY")
    await adapter.puppet("@anna:hs.test", name="Anna\r\nQUIT :x\0\u2028 :y")
    (anna,) = [client for client in server.world.clients.values() if client.nick != "relay"]
    assert anna.real == "AnnaQUIT :x :y @anna:hs.test"
    assert anna.user == "~annaquitx"


async def test_everybody_gives_the_servers_password(rig: StartRig, serve: StartServer) -> None:
    """PASS: the bot and each user."""
    server = await serve(password="open sesame")
    adapter = await rig(server.port, password="open sesame")
    await adapter.puppet("@anna:hs.test")
    assert server.client("anna").password == server.client("relay").password == "open sesame"


async def test_an_address_for_each_puppet(rig: StartRig, serve: StartServer) -> None:
    """Puppets come from addresses of their own, which no interface needs to have; the bot from ours."""
    server = await serve(host="127.0.0.1")
    adapter = await rig(server.port, addresses={"prefix": "127.16.0.0/12", "block": 24})
    await adapter.puppet("@anna:hs.test")
    await adapter.puppet("@ben:hs.test")
    await adapter.puppet("@cara:other.test")
    assert [server.client(nick).host for nick in ("anna", "ben", "cara", "relay")] == [
        "127.16.1.1",
        "127.16.1.2",
        "127.16.2.1",
        "127.0.0.1",
    ]


async def test_another_server_is_taken_while_one_is_out_of_reach(rig: StartRig, serve: StartServer) -> None:
    """A network of several servers is reached as long as one of them is."""
    gone, server = await serve(), await serve()
    await gone.stop()
    adapter = await rig(gone.port, fallback_servers=[f"127.0.0.1:{server.port}"])
    await adapter.puppet("@anna:hs.test")
    assert server.client("anna").nick == "anna"


async def test_admins_may_ask_who_somebody_is_to_the_network(rig: StartRig, serve: StartServer) -> None:
    """They read what the network's staff sees and may ban; asking gives nobody a name or an address."""
    server = await serve()
    adapter = await rig(server.port, addresses={"prefix": "127.16.0.0/12", "block": 24})
    await adapter.puppet("@anna:hs.test")
    (command,) = [one for one in adapter.connector.commands() if one.name == "origin"]
    assert command.level is CommandLevel.ADMIN

    async def ask(who: str) -> str:
        return await command.run(CommandCall(BEN, CommandLevel.ADMIN, {"who": who}))

    before = dict(adapter.host.kv.values)
    said = await ask("@anna:hs.test")
    assert said.startswith("@anna:hs.test has the user name anna and the address 127.16.1.1")
    assert "127.16.1.0/24" in said
    assert await ask("hs.test") == "hs.test has 127.16.1.0/24."
    assert await ask("@ben:hs.test") == "@ben:hs.test was never connected."
    assert await ask("two.test") == "No user of two.test has an address of their own."
    with pytest.raises(RejectedError):
        await ask("@a\r\nQUIT:hs.test")
    assert adapter.host.kv.values == before


def test_a_server_that_failed_comes_last_for_a_while() -> None:
    """The first one is preferred again later; when all failed, the one that failed first is tried first."""
    one, two = Endpoint("one.test", 1), Endpoint("two.test", 2)
    endpoints = Endpoints([one, two])
    assert endpoints.choose(100) == one
    endpoints.failed(one, 100, FULL)
    assert endpoints.choose(100) == endpoints.choose(100 + FULL - 1) == two
    endpoints.failed(two, 101, FULL)
    assert endpoints.choose(102) == one
    assert endpoints.choose(101 + FULL) == one


async def test_a_users_own_way_says_nothing_of_the_server(rig: StartRig, serve: StartServer) -> None:
    """A server that a user's own address finds no way to stays the first choice for all others."""
    server, other = await serve(), await serve()
    adapter = await rig(
        server.port,
        fallback_servers=[f"127.0.0.1:{other.port}"],
        addresses={"prefix": "2001:db8:1::/48"},  # the server has no IPv6
    )
    anna = await adapter.make_puppet("@anna:hs.test")
    await anna.connect(None)
    state = await adapter.inbox.status(LoginStatus.DISCONNECTED, "@anna:hs.test")
    assert "no address that can be reached from 2001:db8:" in state.reason
    endpoints = adapter.connector._state.access.endpoints
    assert endpoints.choose(adapter.host.clock.monotonic()).port == server.port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("irc.test", "irc.test", 6697),
        ("irc.test:7000", "irc.test", 7000),
        ("192.0.2.1:7000", "192.0.2.1", 7000),
        ("2001:db8::1", "2001:db8::1", 6697),
        ("[2001:db8::1]:7000", "2001:db8::1", 7000),
    ],
)
def test_servers_are_named_with_or_without_a_port(text: str, host: str, port: int) -> None:
    """As in other programs; an IPv6 address with a port stands in brackets."""
    assert Endpoint.parse(text, 6697) == Endpoint(host, port)


@pytest.mark.parametrize("text", ["", "a b", "irc.test:", "irc.test:0", "irc.test:70000", "irc.test:x", "a@b", "[::1"])
def test_servers_that_are_none_are_refused_with_the_configuration(text: str) -> None:
    """An admin reads of it at once, not when the first server fails."""
    with pytest.raises(ValueError):
        IrcConfig(server="irc.test", fallback_servers=[text])


@pytest.mark.parametrize(
    "settings",
    [
        {"addresses": {"prefix": "2001:db8::/64", "block": 64}},
        {"addresses": {"prefix": "2001:db8::/127"}},
        {"addresses": {"prefix": "2001:db8::1/64"}},
        {"webirc": {"password": "secret"}},
        {"webirc": {"password": "two words"}, "addresses": {"prefix": "2001:db8::/64"}},
        {"proxy": {"host": "tor.test"}, "ident": {}},
        {"proxy": {"host": "tor.test"}, "source_address": "192.0.2.1"},
        {"proxy": {"host": "tor.test", "unix": "/run/tor"}},
        {"proxy": {}},
        {"source_address": "example.org"},
        {"realname_template": "a\nb"},
    ],
)
def test_ways_that_cannot_be_are_refused_with_the_configuration(settings: dict[str, Any]) -> None:
    """What contradicts itself is said when the configuration is read."""
    with pytest.raises(ValueError):
        IrcConfig(server="irc.test", **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"tls": False}, ["connections are not encrypted"]),
        ({"tls": False, "server": "127.0.0.1"}, []),
        ({"tls": False, "server": "hidden.onion", "proxy": {"host": "127.0.0.1"}}, []),
        ({"tls_verify": False}, ["anybody can pass for the server"]),
        ({"tls_verify": False, "tls_fingerprint": "00" * 32}, []),
    ],
)
def test_what_is_open_to_others_is_said_by_check(settings: dict[str, Any], said: list[str]) -> None:
    """Plain text over a network and servers that nobody vouches for are named, what is safe is not."""
    config = IrcConfig(**{"server": "irc.test", **settings})
    assert [one.what for one in counsel(config)] == said


def test_blocks_of_homeservers_by_default() -> None:
    """Half of what the prefix leaves is for homeservers, half for their users."""
    assert Addresses(prefix=ip_network("2001:db8::/64")).block_length == 96
    plan = AddressPlan(Addresses(prefix=ip_network("2001:db8::/64")))
    assert plan.address(1, 1) == ip_address("2001:db8::1:0:1")
