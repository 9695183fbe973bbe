"""The grammar of SMTP: what is read, what is refused, and that nothing breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.email.codec.addresses import Address
from bridges.email.codec.data import BareLineEnd, ChunkDecoder, DataDecoder, LineCheck, LongLine
from bridges.email.codec.smtp import (
    Chunk,
    Command,
    SyntaxProblem,
    decode_base64,
    encode_reply,
    parse_bdat,
    parse_command,
    parse_helo,
    parse_mail,
    parse_plain,
    parse_rcpt,
    proper_name,
)

ANY_TEXT = st.text(max_size=80)
PIECES = st.integers(1, 9)


def test_commands_are_taken_apart() -> None:
    """Verbs in any case; the argument as it stands."""
    assert parse_command(b"mail FROM:<a@b.c>") == Command("MAIL", "FROM:<a@b.c>")
    assert parse_command(b"NOOP") == Command("NOOP")
    assert parse_command("RCPT TO:<ü@b.c>".encode()) == Command("RCPT", "TO:<ü@b.c>")


@pytest.mark.parametrize("line", [b"", b" MAIL", b"M\xffIL", b"MAIL\tFROM:<>", b"NOOP \x00", b"NOOP \xff", b"12 3"])
def test_what_is_no_command_is_refused(line: bytes) -> None:
    """With 500 5.5.2."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_command(line)
    assert (caught.value.code, caught.value.status) == (500, "5.5.2")


def test_mail_with_all_parameters() -> None:
    """SIZE, BODY, SMTPUTF8, AUTH, RET and ENVID, in any case and order."""
    found = parse_mail("from:<a+b@C.test> size=10 Body=8bitmime SMTPUTF8 AUTH=<> RET=hdrs ENVID=x+2By")
    assert found.sender == Address("a+b", "c.test")
    assert (found.size, found.eight_bit, found.utf8, found.auth) == (10, True, True, "<>")
    assert (found.ret, found.envid) == ("HDRS", "x+2By")
    assert parse_mail("FROM:<>").sender is None
    assert parse_mail('FROM: <"a > b"@c.test>').sender == Address('"a > b"', "c.test")


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", 501),
        ("FROM", 501),
        ("FROM:a@b.c", 501),
        ("FROM:<a@b.c", 501),
        ("FROM:<a@b.c>SIZE=1", 501),
        ("FROM:<a@b.c> SIZE=x", 501),
        ("FROM:<a@b.c> SIZE=٣", 501),
        ("FROM:<a@b.c> SIZE", 501),
        ("FROM:<a@b.c> SIZE=1 SIZE=2", 501),
        ("FROM:<a@b.c> SIZE=" + "9" * 30, 501),
        ("FROM:<a@b.c> =x", 501),
        ("FROM:<a@b.c> RET=SOME", 501),
        ("FROM:<a@b.c> SMTPUTF8=1", 501),
        ("FROM:<a@b.c> BODY=BINARYMIME", 555),
        ("FROM:<a@b.c> MT-PRIORITY=3", 555),
        ("FROM:<@x.test:a@b.c>", 553),
        ("FROM:<a b@b.c>", 501),
        ("FROM:<a@b..c>", 553),
        ("FROM:<ü@b.c>", 553),
        ("FROM:<" + "a" * 300 + "@b.c>", 553),
    ],
)
def test_malformed_mail_is_refused(argument: str, code: int) -> None:
    """Each with the code that says what is wrong."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_mail(argument)
    assert caught.value.code == code


def test_recipients() -> None:
    """Postmaster without a domain, NOTIFY and ORCPT."""
    assert parse_rcpt("TO:<PostMaster>").address == Address("PostMaster", "")
    found = parse_rcpt("to:<a@b.test> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c.test")
    assert (found.address, found.notify) == (Address("a", "b.test"), {"SUCCESS", "DELAY"})
    assert found.orcpt == "rfc822;a+2Bb@c.test"
    assert parse_rcpt("TO:<ü@b.test>", utf8=True).address.local == "ü"
    for wrong in ("TO:<>", "TO:<root>", "TO:<a@b.c> NOTIFY=NEVER,DELAY", "TO:<a@b.c> NOTIFY=X", "FROM:<a@b.c>"):
        with pytest.raises(SyntaxProblem):
            parse_rcpt(wrong)


def test_chunks() -> None:
    """BDAT wants a number, and LAST or nothing."""
    assert parse_bdat("86 LAST") == Chunk(86, True)
    assert parse_bdat("0") == Chunk(0, False)
    for wrong in ("", "-1", "x", "1 FIRST", "1  LAST x", "9" * 21, "²"):
        with pytest.raises(SyntaxProblem):
            parse_bdat(wrong)


def test_passwords() -> None:
    """PLAIN in its three parts; nobody speaks for others."""
    assert parse_plain(b"\0user\0pass") == ("user", "pass")
    assert parse_plain(b"user\0user\0") == ("user", "")
    for wrong in (b"", b"user", b"\0\0pass", b"admin\0user\0pass", b"\0a\0b\0c", b"\0\xff\0x"):
        with pytest.raises(SyntaxProblem):
            parse_plain(wrong)
    assert decode_base64(b"AHVzZXI=") == b"\0user"
    for text in (b"*", b"AHV zZXI=", b"A", b"\xff"):
        with pytest.raises(SyntaxProblem) as caught:
            decode_base64(text)
        assert caught.value.code == 501


def test_names_of_clients() -> None:
    """What is no domain is tolerated, and marked so that it gets into no header."""
    assert parse_helo("mail.test") == "mail.test"
    assert proper_name("mail.test")
    assert proper_name("[192.0.2.1]")
    for odd in ("under_score(x)", "ü.test", "a;b", "-x.test"):
        assert parse_helo(odd) == odd
        assert not proper_name(odd)
    for wrong in ("", "a b", "x" * 256):
        with pytest.raises(SyntaxProblem):
            parse_helo(wrong)


def test_replies() -> None:
    """Each line with code and status; long ones are cut; what is not ASCII is escaped."""
    assert encode_reply(250, "2.1.0", "ok") == b"250 2.1.0 ok\r\n"
    assert encode_reply(250, "", "a\nb") == b"250-a\r\n250 b\r\n"
    assert encode_reply(550, "5.1.1", "no jörg") == b"550 5.1.1 no j\\xf6rg\r\n"
    assert len(encode_reply(550, "5.1.1", "x" * 2000)) == 512


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        (250, "", "a\r\n250 b"),
        (250, "", "a\rb"),
        (250, "", "a\0b"),
        (250, "", "a\tb"),
        (99, "", "x"),
        (250, "2.0.0\r\n", "x"),
    ],
)
def test_a_reply_that_says_more_than_it_should_is_refused(code: int, status: str, text: str) -> None:
    """One serializer per wire: no CR, LF, NUL."""
    with pytest.raises(ValueError):
        encode_reply(code, status, text)


@given(line=st.binary(max_size=120))
def test_any_command_is_read_or_refused(line: bytes) -> None:
    """Whatever comes, there is a command or an answer, and the answer can be written."""
    try:
        command = parse_command(line)
        for parse in (parse_mail, parse_rcpt, parse_bdat, parse_helo):
            try:
                parse(command.argument)
            except SyntaxProblem as problem:
                assert encode_reply(problem.code, problem.status, problem.text)
    except SyntaxProblem as problem:
        assert encode_reply(problem.code, problem.status, problem.text)


@given(text=ANY_TEXT, word=st.sampled_from(["FROM:<", "TO:<", "FROM: <a@b.c> ", "TO:<a@b.c> "]), end=ANY_TEXT)
def test_any_path_is_read_or_refused(text: str, word: str, end: str) -> None:
    """Also what nearly is one; what is read holds no control character and no bracket outside quotes."""
    for parse in (parse_mail, parse_rcpt):
        try:
            found = parse(f"{word}{text}>{end}")
        except SyntaxProblem as problem:
            assert encode_reply(problem.code, problem.status, problem.text)
        else:
            address = found.sender if hasattr(found, "sender") else found.address
            assert address is None or not any(ord(one) < 32 or ord(one) == 127 for one in str(address))


def _decode(data: bytes, size: int, longest: int = 1000) -> tuple[bytes, bool, bytes]:
    decoder = DataDecoder(LineCheck(longest))
    found, at = b"", 0
    while not decoder.ended and at < len(data):
        found += decoder.feed(data[at : at + size])
        at += size
    return found, decoder.ended, decoder.rest + data[at:]


@given(lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\r", b".").replace(b"\n", b"."))), size=PIECES)
def test_what_is_stuffed_comes_out_the_same(lines: list[bytes], size: int) -> None:
    """In pieces of whatever size; what stands behind the end is kept apart."""
    mail = b"".join(line + b"\r\n" for line in lines)
    wire = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    assert _decode(wire + b".\r\nQUIT\r\n", size) == (mail, True, b"QUIT\r\n")


@given(data=st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=14).map(b"".join), size=PIECES)
def test_only_one_form_ends_a_mail(data: bytes, size: int) -> None:
    """Over all short sequences of CR, LF, dot and letters: bare ends are seen, and the only end is CRLF.CRLF."""
    stream = b"x\r\n" + data + b"\r\n.\r\nREST"
    before = stream[: stream.find(b"\r\n.\r\n") + 2]
    bare = before.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare:
        with pytest.raises(BareLineEnd):
            _decode(stream, size)
    else:
        found, ended, rest = _decode(stream, size)
        assert ended
        assert found == before.replace(b"\r\n.", b"\r\n")
        assert rest == stream[len(before) + 3 :]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_lines_are_bounded(size: int) -> None:
    """One byte over the limit is too much, however the bytes come."""
    assert _decode(b"a\r\n" + b"x" * 998 + b"\r\n.\r\n", size)[1]
    with pytest.raises(LongLine):
        _decode(b"a\r\n" + b"x" * 1002 + b"\r\nb\r\n.\r\n", size)


@given(data=st.lists(st.sampled_from([b"\r\n", b"ab", b".", b"\r", b"\n"]), max_size=12).map(b"".join), size=PIECES)
def test_chunks_are_looked_at_too(data: bytes, size: int) -> None:
    """BDAT takes dots as they are, and no bare line end."""
    decoder, found = ChunkDecoder(LineCheck(1000)), b""
    rest = data.replace(b"\r\n", b"")
    try:
        for at in range(0, len(data), size):
            found += decoder.feed(data[at : at + size])
        decoder.finish()
    except BareLineEnd:
        assert b"\r" in rest or b"\n" in rest
    else:
        assert b"\r" not in rest
        assert b"\n" not in rest
        assert found == data
