"""The primitives: known answers, a second implementation, and whatever is damaged."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.crypto.errors import DamagedKeyError, OlmError, Reason
from bridge_core.crypto.olm import (
    Account,
    GroupSession,
    InboundSession,
    OlmSession,
    decode,
    encode,
    is_signature,
    message_index,
)
from tests.unit.crypto.megolm import Ratchet

KEY = bytes(range(32))
# From the tests of libolm (test_group_session.cpp), which vodozemac shares.
SHARED = (
    "AgAAAAAwMTIzNDU2Nzg5QUJERUYwMTIzNDU2Nzg5QUJDREVGMDEyMzQ1Njc4OUFCREVGMDEyMzQ1Njc4OUFCQ0RFRjAxMjM0NTY3ODlBQkRFRjAx"
    "MjM0NTY3ODlBQkNERUYwMTIzNDU2Nzg5QUJERUYwMTIzNDU2Nzg5QUJDREVGMDEyMw0bdg1BDq4Px/slBow06q8n/B9WBfwWYyNOB8DlUmXGGwrF"
    "maSb9bR/eY8xgERrxmP07hFmD9uqA2p8PMHdnV5ysmgufE6oLZ5+8/mWQOW3VVTnDIlnwd8oHUYRuk8TCQ"
)
MESSAGE = (
    "AwgAEhAcbh6UpbByoyZxufQ+h2B+8XHMjhR69G8F4+qjMaFlnIXusJZX3r8LnRORG9T3DXFdbVuvIWrLyRfm4i8QRbe8VPwGRFG57B1CtmxanuP8"
    "bHtnnYqlwPsD"
)
# From libolm's test_olm_decrypt.cpp: once these made it read beyond the end.
FUZZED = ("41776f", "7fff6f0101346d671201", "ee776f41496f674177804177778041776f6716670a677d6f670a67c2677d", "e9e9c9c1")


def pair() -> tuple[OlmSession, OlmSession]:
    """Two ends of one session."""
    alice, bob = Account(), Account()
    bob.add_one_time_keys(1)
    ours = alice.outbound(bob.curve25519, *bob.one_time_keys().values())
    kind, body = ours.encrypt(b"first")
    assert kind == 0
    theirs, plain = bob.inbound(alice.curve25519, body)
    assert plain == b"first"
    return ours, theirs


def reason(call: object, *args: object) -> Reason:
    with pytest.raises(OlmError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.reason


def test_a_known_megolm_message_decrypts() -> None:
    """The vector of libolm gives its plaintext, with the library and with the specification's algorithm."""
    session = InboundSession.of_key(SHARED)
    assert session.decrypt(MESSAGE) == (b"Message", 0)
    assert Ratchet(SHARED).read(MESSAGE) == b"Message"
    assert InboundSession.exported(session.export(0) or "").decrypt(MESSAGE) == (b"Message", 0)


def test_megolm_is_what_the_specification_says() -> None:
    """Messages over a carry of the ratchet's lowest part decrypt with an implementation of its own."""
    speaks = GroupSession()
    speaks.skip_to(250)
    reads = Ratchet(speaks.key)
    for number in range(12):
        assert reads.read(speaks.encrypt(b"%d" % number)) == b"%d" % number


@pytest.mark.parametrize("message", FUZZED)
@pytest.mark.parametrize("kind", [0, 1])
def test_messages_that_broke_libolm_are_refused(message: str, kind: int) -> None:
    """They are not of the form, and say so."""
    _, session = pair()
    assert reason(session.decrypt, kind, encode(bytes.fromhex(message))) is Reason.BAD_MESSAGE


def test_a_session_is_the_same_after_a_restart() -> None:
    """Pickled at both ends between two messages, it goes on; with another key it does not open."""
    ours, theirs = pair()
    assert ours.decrypt(*theirs.encrypt(b"answer")) == b"answer"
    ours, theirs = OlmSession.unpickled(ours.pickle(KEY), KEY), OlmSession.unpickled(theirs.pickle(KEY), KEY)
    kind, body = ours.encrypt(b"more")
    assert (kind, theirs.decrypt(kind, body)) == (1, b"more")
    with pytest.raises(DamagedKeyError):
        OlmSession.unpickled(ours.pickle(KEY), bytes(32))
    with pytest.raises(DamagedKeyError):
        Account.unpickled(b"\xff", KEY)


def test_an_olm_message_is_read_once() -> None:
    """A second time it is a replay, by the session and by the account whose one-time key it used."""
    alice, bob = Account(), Account()
    bob.add_one_time_keys(1)
    ours = alice.outbound(bob.curve25519, *bob.one_time_keys().values())
    kind, body = ours.encrypt(b"first")
    theirs, _ = bob.inbound(alice.curve25519, body)
    assert theirs.matches(kind, body) and not theirs.matches(*pair()[0].encrypt(b""))
    assert reason(theirs.decrypt, kind, body) is Reason.REPLAY
    assert reason(bob.inbound, alice.curve25519, body) is Reason.REPLAY


def test_a_pre_key_message_is_bound_to_its_sender() -> None:
    """Said to be of another identity key it starts nothing, and costs no one-time key."""
    alice, bob = Account(), Account()
    bob.add_one_time_keys(1)
    ours = alice.outbound(bob.curve25519, *bob.one_time_keys().values())
    _, body = ours.encrypt(b"first")
    assert reason(bob.inbound, Account().curve25519, body) is Reason.BAD_MESSAGE
    assert bob.inbound(alice.curve25519, body)[1] == b"first"
    assert reason(bob.inbound, alice.curve25519, "") is Reason.BAD_MESSAGE
    assert reason(bob.inbound, "no key", body) is Reason.BAD_MESSAGE


def test_too_long_a_gap_is_refused() -> None:
    """Whoever lost thousands of messages needs a new session."""
    ours, theirs = pair()
    for _ in range(2002):
        kind, body = ours.encrypt(b"")
    assert reason(theirs.decrypt, kind, body) is Reason.BAD_MESSAGE


def test_an_index_before_the_known_is_unknown() -> None:
    """Who got the key later reads from then on."""
    speaks = GroupSession()
    early = speaks.encrypt(b"early")
    reads = InboundSession.of_key(speaks.key)
    assert message_index(early) == 0 and reads.first == 1
    assert reason(reads.decrypt, early) is Reason.UNKNOWN_INDEX
    assert reads.export(0) is None


def test_skipping_uses_no_index_twice() -> None:
    """After a skip the next message has the index skipped to, and decrypts."""
    speaks = GroupSession()
    reads = InboundSession.of_key(speaks.key)
    copy = GroupSession.unpickled(speaks.pickle(KEY), KEY)
    copy.skip_to(40)
    assert (copy.id, copy.index) == (speaks.id, 40)
    assert reads.decrypt(copy.encrypt(b"on")) == (b"on", 40)
    copy.skip_to(3)
    assert copy.index == 41


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_bit_is_noticed(data: st.DataObject) -> None:
    """With any one bit changed a message is refused with a reason or means the same; the next one still decrypts."""
    speaks = GroupSession()
    reads = InboundSession.of_key(speaks.key)
    ours, theirs = pair()
    text = data.draw(st.binary(max_size=50))
    group = bytearray(decode(speaks.encrypt(text)))
    kind, body = ours.encrypt(text)
    single = bytearray(decode(body))
    for raw in (group, single):
        at = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[at // 8] ^= 1 << at % 8
    try:
        # Not its bytes are signed but what they mean: a field that was renamed to an unknown one was 0 before.
        assert reads.decrypt(encode(bytes(group))) == (text, 0)
    except OlmError as error:
        assert error.reason in {Reason.BAD_MESSAGE, Reason.BAD_SIGNATURE, Reason.UNKNOWN_INDEX}
    try:
        # The base key and the identity key in a pre-key message name a session; an existing one need not look at them.
        assert theirs.decrypt(kind, encode(bytes(single))) == text
    except OlmError as error:
        assert error.reason in {Reason.BAD_MESSAGE, Reason.REPLAY}
    assert reads.decrypt(speaks.encrypt(b"next")) == (b"next", 1)
    assert theirs.decrypt(*ours.encrypt(b"next")) == b"next"


@given(st.one_of(st.text(max_size=60), st.binary(max_size=120).map(encode)), st.integers(-3, 300))
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused(body: str, kind: int) -> None:
    """Whatever text arrives as a message or a key raises OlmError and nothing else."""
    speaks = GroupSession()
    reads = InboundSession.of_key(speaks.key)
    _, theirs = pair()
    account = Account()
    for call, args in (
        (reads.decrypt, (body,)),
        (message_index, (body,)),
        (InboundSession.of_key, (body,)),
        (InboundSession.exported, (body,)),
        (theirs.decrypt, (kind, body)),
        (account.inbound, (account.curve25519, body)),
    ):
        with pytest.raises(OlmError):
            call(*args)
    try:
        account.outbound(body, body)
    except OlmError:
        return
    assert len(base64.b64decode(f"{body}=")) == 32  # which are somebody's key


def test_one_time_keys_are_published_once() -> None:
    """Marked as published they are not offered again, and still start sessions; so does the fallback key, twice."""
    account = Account()
    account.add_one_time_keys(3)
    account.add_fallback_key()
    keys, fallback = account.one_time_keys(), account.fallback_key()
    assert (len(keys), len(fallback)) == (3, 1) and account.most_one_time_keys >= 50
    account.published()
    assert (account.one_time_keys(), account.fallback_key()) == ({}, {})
    for key in (keys.popitem()[1], fallback.popitem()[1], *account.fallback_key().values()):
        peer = Account()
        session = peer.outbound(account.curve25519, key)
        assert account.inbound(peer.curve25519, session.encrypt(b"x")[1])[1] == b"x"


def test_signatures_of_others_and_garbage_are_none() -> None:
    """A signature counts for its own key and message only; whatever else is given is no signature, and no error."""
    account, other = Account(), Account()
    signature = account.sign(b"words")
    assert is_signature(account.ed25519, b"words", signature)
    assert is_signature(account.ed25519 + "=", b"words", signature + "==")
    assert not is_signature(account.ed25519, b"other", signature)
    assert not is_signature(other.ed25519, b"words", signature)
    assert not is_signature(account.ed25519, b"words", signature[:-4])
    for garbage in ("", "=", "\ud800", "AAAA", "A" * 43, "A" * 86, "not base64!", signature + "AAAA"):
        assert not is_signature(garbage, b"words", signature)
        assert not is_signature(account.ed25519, b"words", garbage)
