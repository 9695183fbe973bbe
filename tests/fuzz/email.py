"""Breaks mails on purpose and reads them: ``python -m tests.fuzz.email SECONDS [SEED]``.

Structure-aware: mails of the corpus are damaged byte by byte and piece by piece, put into one another and joined.
Exit status 1 with the mail in base64 when one is not read as promised; the same seed gives the same mails.
"""

import base64
import random
import sys
import time
from collections.abc import Sequence

from bridge_core.api.content import CodeBlock, Link, Node, Picture, Plain
from bridge_core.content import to_html, to_plain
from bridge_core.content.tree import nodes_of
from bridges.email.mail import Mail
from bridges.email.parsing import form
from bridges.email.parsing.reader import read_mail
from tests.bridges.email.parsing import bombs, corpus_headers, corpus_parts, corpus_reports, corpus_texts
from tests.bridges.email.parsing.mails import CONTEXT

LARGEST = 60_000
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"--b", b"--b--\r\n", b"--b0\r\n", b"--b0--", b"=?utf-8?q?", b"?=", b"=?", b"=\r\n",
    b"Content-Type: ", b"multipart/mixed; boundary=b\r\n", b"multipart/alternative; boundary=b0\r\n", b"text/html\r\n",
    b"message/rfc822\r\n", b"message/delivery-status\r\n", b"text/calendar\r\n", b"application/ms-tnef\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"charset=utf-7", b"charset=utf-16",
    b"charset=iso-2022-kr", b"; name*0*=", b"''", b"\"", b"\\", b"(", b")", b"<", b">", b"@", b":", b";", b",", b"&#x", b"&amp;",
    b"<div class=gmail_quote>", b"<blockquote>", b"</div>", b"<table><tr><td>", b"<a href='", b"<img src='cid:", b"<!--", b"-->",
    b"style='display:none'", b"<p hidden>", b"> ", b"-- \r\n", b"On 1.1.2026 a@b wrote:\r\n", b"begin 644 a\r\n", b"end\r\n",
    b"\xff", b"\xc3", b"\xe2\x80\xae", b"\xef\xb7\x90", b"\xef\xb7\x94" + b"0\xef\xb7\x95", b"\x1b$B", b"+2AA-", b"BEGIN:VEVENT\r\n",
    b"DTSTART:20260101T100000\r\n", b"RRULE:FREQ=DAILY\r\n", b"From: a@b.c\r\n", b"In-Reply-To: <1@x>\r\n", b"Chat-Version: 1\r\n",
)  # fmt: skip


def corpus() -> list[bytes]:
    """Mails to begin with."""
    cases = [*corpus_headers.CASES, *corpus_parts.CASES, *corpus_texts.CASES, *corpus_reports.CASES]
    return [one for one in (*(case.data for case in cases), *bombs.SMALL.values()) if len(one) <= LARGEST]


def damaged(choose: random.Random, mails: Sequence[bytes]) -> bytes:
    """A mail like those, with some things wrong."""
    data = bytearray(choose.choice(mails))
    for _ in range(choose.choice((1, 1, 2, 3, 5, 8, 20))):
        at = choose.randint(0, len(data))
        to = min(len(data), at + choose.choice((1, 2, 8, 40, 400)))
        match choose.randrange(9):
            case 0 | 1:
                data[at:at] = choose.choice(_TOKENS)
            case 2:
                data[at:to] = b""
            case 3:
                data[at:at] = bytes(data[at:to]) * choose.choice((1, 2, 10))
            case 4 if at < len(data):
                data[at] = choose.randrange(256)
            case 5:
                other = choose.choice(mails)
                start = choose.randint(0, len(other))
                data[at:to] = other[start : start + choose.choice((20, 200, 2000))]
            case 6:
                data[:] = b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n" + data + b"\r\n--q--\r\n"
            case 7:
                data[:] = b"Content-Type: message/rfc822\r\n\r\n" + data
            case _:
                data[at:] = b""
        if len(data) > LARGEST:
            del data[LARGEST:]
    return bytes(data)


def check(data: bytes) -> Mail:
    """Read it; AssertionError where the mail is not as promised, or whatever else is raised."""
    found = read_mail(data, CONTEXT)
    mail = found.mail
    assert mail.id
    assert to_plain(mail.text).strip() or mail.files or mail.reaction is not None or mail.text
    inline = [f"cid:{file.cid}" for file in mail.files if file.inline]
    assert len(set(inline)) == len(inline)
    for node in (*nodes_of(mail.text), *nodes_of(mail.quoting)):
        _check_node(node, inline)
    for words in (
        mail.subject,
        mail.whole,
        *mail.remarks,
        *(one.name for one in (*mail.files, *mail.authors, *mail.to)),
    ):
        _check_words(words, lines=words is mail.whole)
    assert all(file.name and "/" not in file.name and "\\" not in file.name for file in mail.files)
    assert [len(give()) for give in found.files] == [file.size for file in mail.files]
    assert form.load(form.dump(mail)) == mail
    rendered = to_html(mail.text)
    assert rendered.html is None or "<img" not in rendered.html
    return mail


def _check_node(node: Node, inline: Sequence[str]) -> None:
    if isinstance(node, Picture):
        assert node.source is None or node.source in inline, node
    elif isinstance(node, Link):
        assert node.url.partition(":")[0].lower() in ("http", "https", "mailto", "matrix"), node
        _check_words(node.url, lines=False)
    elif isinstance(node, Plain | CodeBlock):
        _check_words(node.text, lines=True)


def _check_words(words: str, *, lines: bool) -> None:
    words.encode()
    for character in words:
        if character < " ":
            assert lines and character in "\n\t", ascii(words)[:200]
        assert not "\ufdd0" <= character <= "\ufdef", ascii(words)[:200]
        assert character not in "\x7f\u202e\u2066", ascii(words)[:200]


def main(arguments: Sequence[str]) -> int:
    """Run for so many seconds."""
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1 << 32)
    choose, mails, end, count = random.Random(seed), corpus(), time.monotonic() + seconds, 0
    sys.stdout.write(f"seed {seed}, {len(mails)} mails to begin with\n")
    slowest = 0.0
    while time.monotonic() < end:
        data = damaged(choose, mails)
        used = time.process_time()
        try:
            check(data)
            cost = time.process_time() - used
            slowest = max(slowest, cost)
            assert cost < 1, f"{cost:.1f} s for {len(data)} bytes"
        except Exception as error:
            sys.stdout.write(f"{type(error).__name__}: {error}\n{base64.b64encode(data).decode()}\n")
            sys.stdout.write(f"after {count} mails of seed {seed}\n")
            raise
        count += 1
        if count % 50 == 0:
            mails.append(data)
    sys.stdout.write(f"{count} mails read as promised; the slowest took {slowest:.3f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
