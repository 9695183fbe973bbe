"""Negotiation, login and requests without a connection."""

import base64

import pytest

from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.ctcp import action, ctcp, parse_ctcp
from bridges.irc.codec.labels import LabelBook, LabelsFull
from bridges.irc.codec.message import parse
from bridges.irc.codec.prefilter import boring, own_mark
from bridges.irc.codec.sasl import External, Plain, SaslSession, SaslState, authenticate_lines
from bridges.irc.codec.scram import SaslError, Scram


def test_capabilities_over_several_lines() -> None:
    """Nothing is requested before the list is whole; what was granted is enabled; then negotiation can end."""
    caps = CapNegotiation(["batch", "sasl", "draft/unknown"])
    assert caps.start() == [b"CAP LS 302\r\n"]
    assert caps.receive(parse(b":s CAP * LS * :batch sasl=PLAIN,EXTERNAL")) == []
    assert not caps.settled
    assert caps.receive(parse(b":s CAP * LS :server-time")) == [b"CAP REQ :batch sasl\r\n"]
    assert not caps.settled
    assert caps.receive(parse(b":s CAP me ACK :batch sasl ")) == []
    assert caps.settled
    assert caps.enabled == {"batch", "sasl"}
    assert caps.available["sasl"] == "PLAIN,EXTERNAL"
    assert caps.end() == b"CAP END\r\n"


def test_alternatives_and_needs() -> None:
    """The first offered name of a group is requested; a capability whose companion is missing is not."""
    caps = CapNegotiation(
        [("no-implicit-names", "draft/no-implicit-names"), "echo-message", "sts"], {"echo-message": "labeled-response"}
    )
    assert caps.receive(parse(b"CAP * LS :draft/no-implicit-names echo-message sts=port=6697")) == [
        b"CAP REQ draft/no-implicit-names\r\n"
    ]
    caps.receive(parse(b"CAP * ACK draft/no-implicit-names"))
    assert caps.receive(parse(b"CAP me NEW :labeled-response no-implicit-names")) == [b"CAP REQ echo-message\r\n"]


def test_refused_lists_are_asked_one_by_one() -> None:
    """One refused capability does not take the others with it."""
    caps = CapNegotiation(["a", "b"])
    assert caps.receive(parse(b"CAP * LS :a b")) == [b"CAP REQ :a b\r\n"]
    assert caps.receive(parse(b"CAP * NAK :a b")) == [b"CAP REQ a\r\n", b"CAP REQ b\r\n"]
    caps.receive(parse(b"CAP * ACK :a"))
    assert caps.receive(parse(b"CAP * NAK :b")) == []
    assert caps.settled
    assert (caps.enabled, caps.refused) == ({"a"}, {"b"})


def test_late_capabilities() -> None:
    """NEW is requested, DEL is dropped, and what nobody asked for stays off."""
    caps = CapNegotiation(["sasl", "batch"])
    caps.receive(parse(b"CAP * LS :batch"))
    caps.receive(parse(b"CAP * ACK :batch evil"))
    assert caps.enabled == {"batch"}
    assert caps.receive(parse(b"CAP me NEW :sasl=PLAIN")) == [b"CAP REQ sasl\r\n"]
    caps.receive(parse(b"CAP me ACK :sasl"))
    caps.receive(parse(b"CAP me DEL :batch sasl"))
    assert caps.enabled == set()
    assert caps.settled


def test_long_requests_are_several_lines() -> None:
    """No request is longer than a line, and none is lost."""
    names = [f"vendor.example/capability-{number}" for number in range(60)]
    caps = CapNegotiation(names)
    lines = [line for name in names for line in caps.receive(parse(f"CAP * LS * :{name}".encode()))]
    lines += caps.receive(parse(b"CAP * LS :"))
    assert all(len(line) <= 512 for line in lines)
    assert [name for line in lines for name in parse(line).params[-1].split()] == names


def test_servers_without_cap() -> None:
    """A server that knows no CAP ends negotiation with nothing enabled."""
    caps = CapNegotiation(["sasl"])
    caps.unsupported()
    assert caps.settled
    assert not caps.enabled


def test_plain() -> None:
    """PLAIN answers the empty challenge with its credentials; 900 tells the account, 903 the end."""
    login = SaslSession([Plain("alice", "pass word")], "PLAIN,EXTERNAL")
    assert login.start() == [b"AUTHENTICATE PLAIN\r\n"]
    assert login.receive(parse(b"AUTHENTICATE +")) == authenticate_lines(b"\0alice\0pass word")
    login.receive(parse(b":s 900 me me!u@h Alice :You are logged in"))
    login.receive(parse(b":s 903 me :ok"))
    assert (login.state, login.account) == (SaslState.DONE, "Alice")


def test_plain_refuses_nul() -> None:
    """A NUL cannot move the border between name and password."""
    with pytest.raises(ValueError, match="NUL"):
        Plain("a\0b", "c")


def test_next_mechanism_after_refusal() -> None:
    """A refused mechanism is followed by the next one that the server lists, then by failure with its reason."""
    login = SaslSession([External(), Scram("a", "b"), Plain("a", "b")])
    assert login.start() == [b"AUTHENTICATE EXTERNAL\r\n"]
    assert login.receive(parse(b"AUTHENTICATE +")) == [b"AUTHENTICATE +\r\n"]
    assert login.receive(parse(b":s 908 me PLAIN,EXTERNAL :are available")) == []
    assert login.receive(parse(b":s 904 me :no certificate")) == [b"AUTHENTICATE PLAIN\r\n"]
    assert login.receive(parse(b":s 904 me :wrong password")) == []
    assert (login.state, login.reason) == (SaslState.FAILED, "wrong password")


def test_no_common_mechanism() -> None:
    """When the server lists none of ours, the login fails before it starts."""
    login = SaslSession([Plain("a", "b")], "EXTERNAL")
    assert login.start() == []
    assert login.state is SaslState.FAILED


@pytest.mark.parametrize("size", [0, 1, 299, 300, 301, 600, 1000])
def test_chunks_of_400(size: int) -> None:
    """Answers are cut every 400 characters; a full last line is followed by a plus."""
    answer = bytes(size)
    params = [parse(line).params[0] for line in authenticate_lines(answer)]
    assert all(len(param) <= 400 for param in params)
    assert len(params[-1]) < 400
    assert base64.b64decode("".join(param for param in params if param != "+")) == answer


def test_long_challenges_are_put_together() -> None:
    """A challenge over several lines reaches the mechanism whole; an endless one ends the login."""
    seen: list[bytes] = []

    class Recorder:
        name = "TEST"
        verified = True

        def step(self, challenge: bytes) -> bytes:
            seen.append(challenge)
            return b""

    login = SaslSession([Recorder()])
    login.start()
    for line in authenticate_lines(b"x" * 600):
        login.receive(parse(line))
    assert seen == [b"x" * 600]
    for _ in range(41):
        login.receive(parse(b"AUTHENTICATE " + b"A" * 400))
    assert login.state is SaslState.FAILED


def test_scram_sha_256_vector() -> None:
    """The exchange of RFC 7677 section 3."""
    scram = Scram("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert scram.step(b"") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    answer = scram.step(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert answer == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not scram.verified
    assert scram.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert scram.verified


@pytest.mark.parametrize(
    "challenge",
    [
        b"r=other,s=YQ==,i=4096",
        b"r=nonce,s=YQ==,i=4096",
        b"r=nonceX,s=YQ==,i=1",
        b"r=nonceX,s=YQ==,i=999999999",
        b"r=nonceX,s=YQ==,i=-5000",
        b"r=nonceX,s=!,i=4096",
        b"m=x,r=nonceX,s=YQ==,i=4096",
        b"\xff",
        b"",
    ],
)
def test_scram_refuses_unsafe_challenges(challenge: bytes) -> None:
    """A foreign nonce, too few or too many rounds, and nonsense end the exchange."""
    scram = Scram("user", "pencil", nonce="nonce")
    scram.step(b"")
    with pytest.raises(SaslError):
        scram.step(challenge)


def test_scram_server_must_prove_itself() -> None:
    """A server that says success without its signature, or with a wrong one, is not believed."""
    login = SaslSession([Scram("user", "pencil", nonce="nonce"), Plain("user", "pencil")])
    login.start()
    login.receive(parse(b"AUTHENTICATE +"))
    challenge = base64.b64encode(b"r=nonceX,s=YQ==,i=4096")
    assert login.receive(parse(b"AUTHENTICATE " + challenge))
    login.receive(parse(b":s 903 me :ok"))
    assert login.state is SaslState.FAILED
    other = Scram("user", "pencil", nonce="nonce")
    other.step(b"")
    other.step(b"r=nonceX,s=YQ==,i=4096")
    with pytest.raises(SaslError):
        other.step(b"v=YQ==")


def test_labels() -> None:
    """Labels are answered once, expire in order, and are bounded."""
    book: LabelBook[str] = LabelBook(capacity=2)
    first, second = book.add("one", 1.0), book.add("two", 2.0)
    assert first != second
    with pytest.raises(LabelsFull):
        book.add("three", 3.0)
    assert (book.peek(first), book.take(first), book.take(first)) == ("one", "one", None)
    assert book.expire(1.5) == []
    assert book.expire(2.0) == ["two"]
    assert book.add("four", 4.0) not in (first, second)
    assert (book.clear(), len(book)) == (["four"], 0)


def test_ctcp() -> None:
    """Requests and emotes are recognised, even without end mark; delimiters inside are dropped."""
    assert parse_ctcp("\x01ACTION waves at you\x01") == ("ACTION", "waves at you")
    assert parse_ctcp("\x01version") == ("VERSION", "")
    assert parse_ctcp("text \x01ACTION\x01") is None
    assert parse_ctcp("\x01") is None
    assert parse_ctcp("\x01\x01") is None
    assert action("a\x01b") == "\x01ACTION ab\x01"
    assert ctcp("PING", "1") == "\x01PING 1\x01"
    assert ctcp("VERSION") == "\x01VERSION\x01"


OWN = own_mark("me")


@pytest.mark.parametrize(
    "line",
    [
        b":a!u@h PRIVMSG #c :hello",
        b"@time=x;msgid=y :a!u@h PRIVMSG #c :me: hello",
        b":a!u@h NOTICE #c :hello",
        b":a!u@h JOIN #c",
        b":a!u@h JOIN :#c",
        b":a!u@h PART #c :bye",
        b":a!u@h QUIT :bye",
        b":a!u@h NICK b",
        b":meme!u@h PRIVMSG #c :hello",
        b"@batch=5 :a!u@h PRIVMSG #c :hello",
        b"@batch=5 :a!u@h QUIT :a.irc b.irc",
        b"@msgid=5 :a!u@h BATCH +x draft/multiline #c",
    ],
)
def test_channel_traffic_of_others_is_boring(line: bytes) -> None:
    """What others do in channels is dropped unparsed."""
    assert boring(line, OWN)


@pytest.mark.parametrize(
    "line",
    [
        b":a!u@h PRIVMSG me :hello",
        b":me!u@h PRIVMSG #c :my echo",
        b":me!u@h JOIN #c",
        b"@time=x :me!u@h NICK you",
        b"@label=5 :a!u@h PRIVMSG #c :hello",
        b"@batch=5 :me!u@h PRIVMSG #c :my echo",
        b"@batch=5 :a!u@h PRIVMSG me :hello",
        b":a!u@h BATCH +x draft/multiline me",
        b":a!u@h KICK #c me :out",
        b":a!u@h MODE #c +v me",
        b":a!u@h PRIVMSG @#c :for ops",
        b":s 433 me you :in use",
        b"PING :x",
        b"ERROR :Closing Link",
        b":s BATCH +x netsplit a b",
        b"",
        b"@",
        b" ",
    ],
)
def test_what_may_concern_us_is_parsed(line: bytes) -> None:
    """In doubt a line is parsed."""
    assert not boring(line, OWN)
