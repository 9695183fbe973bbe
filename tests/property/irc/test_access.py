"""What strangers say to the ident server, what a proxy and a server say to us, and who our users are."""

from collections.abc import Generator
from ipaddress import IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.ids import UserId
from bridge_core.testing.memory import MemoryKV
from bridges.irc.access.addresses import AddressBook, AddressPlan
from bridges.irc.access.sts import read_offer
from bridges.irc.access.usernames import Usernames, candidates
from bridges.irc.access.webirc import webirc_line
from bridges.irc.codec.identd import answer, read_query
from bridges.irc.codec.socks import SocksError, connect
from bridges.irc.config.addresses import Addresses
from bridges.irc.config.webirc import WebIrc

digits = st.sampled_from([b"0", b"1", b"6697", b"65535", b"65536", b"99999", b"-1", b"+1", "１".encode()])
questions = st.one_of(
    st.binary(max_size=70),
    st.lists(st.one_of(digits, st.sampled_from([b",", b" ", b"\t", b"\r", b"\0", b":"])), max_size=12).map(b"".join),
)
users = st.builds(
    lambda local, server: UserId(f"@{local}:{server}"),
    st.text(min_size=1, max_size=40),
    st.text(st.sampled_from("abc.-1"), min_size=1, max_size=12),
)


@settings(max_examples=300)
@given(questions)
def test_questions_are_ports_or_nothing(line: bytes) -> None:
    """Whatever is asked, it is two ports or no question, and the answer repeats nothing else of it."""
    ports = read_query(line)
    if ports is None:
        return
    ours, theirs = ports
    assert 0 < ours < 65536 > theirs > 0
    assert answer(ours, theirs, None) == f"{ours}, {theirs} : ERROR : NO-USER\r\n".encode()


@given(st.text(max_size=40))
def test_answers_hold_user_names_only(name: str) -> None:
    """A name that could end the line, or is none at all, is never said."""
    try:
        said = answer(1, 2, name)
    except ValueError:
        return
    assert said.count(b"\n") == said.count(b"\r") == 1 and said.endswith(b"\r\n")
    assert said.count(b":") == 3


def _drive(steps: Generator[tuple[bytes, int], bytes, None], data: bytes) -> list[bytes]:
    """The conversation with a proxy that says `data`; what we sent."""
    sent, place = [], 0
    try:
        send, count = next(steps)
        while True:
            sent.append(send)
            assert 0 < count <= 257
            if place + count > len(data):
                return sent
            place += count
            send, count = steps.send(data[place - count : place])
    except (SocksError, StopIteration):
        return sent


@settings(max_examples=300)
@given(
    st.text(max_size=300),
    st.integers(1, 65535),
    st.none() | st.tuples(st.binary(min_size=1, max_size=255), st.binary(min_size=1, max_size=255)),
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([b"\5\0", b"\5\2", b"\1\0", b"\5\0\0\1", b"\5\0\0\3", b"\5\0\0\4", b"\5\5\0\1", bytes(20)])
        ).map(b"".join),
    ),
)
def test_a_proxy_says_what_it_likes(host: str, port: int, login: tuple[bytes, bytes] | None, data: bytes) -> None:
    """Any answers end in a connection or a SocksError, with bounded reads; no name is sent cut."""
    for part in _drive(connect(host, port, login), data)[1:]:
        if part[:3] == b"\5\1\0" and part[3] == 3:
            assert len(part) == 4 + 1 + part[4] + 2
            assert part[-2:] == port.to_bytes(2, "big")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "irc.example.org", "bücher.example"])
def test_a_proxy_that_works(host: str) -> None:
    """Every kind of address is asked for in its own way, and the conversation ends."""
    sent = _drive(connect(host, 6697, None), b"\5\0" + b"\5\0\0\4" + bytes(18))
    kinds = {"192.0.2.1": 1, "2001:db8::1": 4}
    assert sent[1][3] == kinds.get(host, 3)
    assert sent[2] == b""


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=100),
        st.lists(
            st.sampled_from(["port", "duration", "=", ",", "0", "6697", "-", "99999999999999999999", "preload", "１"])
        ).map("".join),
    )
)
def test_policies_are_numbers_in_range(value: str) -> None:
    """Whatever a server offers, a port is a port and a duration is bounded."""
    offer = read_offer(value)
    assert offer.port is None or 0 < offer.port < 65536
    assert offer.duration is None or 0 <= offer.duration <= 315360000


@given(st.ip_addresses(), st.booleans())
def test_addresses_stay_in_their_place(address: object, tls: bool) -> None:
    """Any address makes a line of exactly its parts."""
    line = webirc_line(WebIrc(password="secret"), address, "anna", tls=tls)  # type: ignore[arg-type]
    assert line.count(b" ") == (5 if tls else 4)
    assert b" :" not in line and line.startswith(b"WEBIRC secret matrix ")


@given(st.text(max_size=60), users)
def test_candidates_are_user_names(text: str, user: UserId) -> None:
    """Whatever a template makes of a user, what is tried are nine small letters and digits at most."""
    tried = list(candidates(text, user))
    assert len(tried) == 119
    for name in tried:
        assert 0 < len(name) <= 9 and name.isascii() and name.isalnum() and name == name.lower()
        assert not name[0].isdigit()


@settings(max_examples=60)
@given(st.lists(users, min_size=1, max_size=30, unique=True))
async def test_no_two_users_are_one(some: list[UserId]) -> None:
    """Different users have different names and addresses, and those of one homeserver are in its block alone."""
    kv = MemoryKV()
    addresses = AddressBook(kv, AddressPlan(Addresses(prefix=ip_network("2001:db8::/64"))))
    names = Usernames(kv, "$LOCALPART", "matrix")
    found = {user: (await addresses.address(user), await names.name(user, "")) for user in some}
    assert len({address for address, _ in found.values()}) == len({name for _, name in found.values()}) == len(some)
    for user in some:
        server = user.partition(":")[2]
        block = IPv6Network(await addresses.block(server) or "")
        inside = {other for other, (address, _) in found.items() if address in block}
        assert inside == {other for other in some if other.partition(":")[2] == server}
