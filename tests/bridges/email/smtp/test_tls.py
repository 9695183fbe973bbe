"""TLS and passwords."""

import base64
from pathlib import Path

import pytest

from bridges.email.mail import Door
from tests.bridges.email.smtp.rig import MAIL, TO_ALICE, Caller, open_doors
from tests.servers.certificate import Certificate, make_certificate

PLAIN = "AUTH PLAIN " + base64.b64encode(b"\0alice\0right").decode()
WRONG = "AUTH PLAIN " + base64.b64encode(b"\0alice\0wrong").decode()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def files(certificate: Certificate) -> dict[str, str]:
    """The settings that name it."""
    return {"certificate": str(certificate.chain), "key": str(certificate.key)}


async def test_starttls(tmp_path: Path, certificate: Certificate) -> None:
    """Offered, done once, and nothing of before is known behind it."""
    async with open_doors(tmp_path, **files(certificate)) as stage, await Caller.call(stage.port) as client:
        await client.hear()
        assert "STARTTLS" in await client.say("EHLO before.test")
        await client.say(*TO_ALICE)
        assert (await client.say("STARTTLS")).startswith("220 2.0.0")
        await client.start_tls(certificate.client_context())
        assert (await client.say("MAIL FROM:<x@far.test>")).startswith("503")
        assert "STARTTLS" not in await client.say("EHLO after.test")
        assert (await client.say("DATA")).startswith("503")
        assert (await client.say("STARTTLS")).startswith("503")
        await client.say(*TO_ALICE, "DATA")
        client.send(MAIL + b".\r\n")
        assert (await client.hear()).startswith("250")
    [(envelope, raw)] = stage.mails
    assert (envelope.tls, envelope.helo) == (True, "after.test")
    assert b"with ESMTPS id" in raw


async def test_nothing_said_before_counts_under_tls(tmp_path: Path, certificate: Certificate) -> None:
    """Commands sent behind STARTTLS in plain text (injection) are not run: the connection ends."""
    async with open_doors(tmp_path, **files(certificate)) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        client.send(b"STARTTLS\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<alice@bridge.test>\r\n")
        assert (await client.hear()).startswith("503 5.5.0")
        assert await client.ended()
        assert stage.backstage.asked == []


async def test_implicit_tls(tmp_path: Path, certificate: Certificate) -> None:
    """As on port 465; plain text there is hung up on."""
    async with open_doors(tmp_path, tls="implicit", **files(certificate)) as stage:
        async with await Caller.call(stage.port, certificate.client_context()) as client:
            await client.ready()
            await client.say(*TO_ALICE, "DATA")
            client.send(MAIL + b".\r\n")
            assert (await client.hear()).startswith("250")
        async with await Caller.call(stage.port) as client:
            client.send(b"EHLO plain.test\r\n")
            assert b"250" not in await client.reader.read()


async def test_a_new_certificate_drops_nobody(tmp_path: Path, certificate: Certificate) -> None:
    """Who is connected stays; who comes gets the new one. One that cannot be read leaves the old one."""
    own = make_certificate(tmp_path / "own")
    async with open_doors(tmp_path, **files(own)) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x", "STARTTLS")
        await client.start_tls(own.client_context())
        assert stage.doors.certificate is not None
        own.chain.write_text("nonsense")
        assert not await stage.doors.certificate.reload()
        async with await Caller.call(stage.port) as second:
            await second.ready("EHLO x", "STARTTLS")
            await second.start_tls(own.client_context())
        for name in ("chain", "key"):
            _copy(getattr(certificate, name), tmp_path / name).replace(getattr(own, name))
        assert await stage.doors.certificate.reload()
        async with await Caller.call(stage.port) as third:
            await third.ready("EHLO x", "STARTTLS")
            await third.start_tls(certificate.client_context())
        assert (await client.say("EHLO still.there")).startswith("250")


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


async def test_submission_wants_tls_and_a_password(tmp_path: Path, certificate: Certificate) -> None:
    """In this order; then a login may write elsewhere, as itself only."""
    async with (
        open_doors(tmp_path, Door.SUBMISSION, **files(certificate)) as stage,
        await Caller.call(stage.port) as client,
    ):
        await client.hear()
        assert "AUTH" not in await client.say("EHLO x")
        assert (await client.say(PLAIN)).startswith("538 5.7.11")
        assert (await client.say("MAIL FROM:<alice@bridge.test>")).startswith("530 5.7.0")
        assert stage.backstage.asked == []
        await client.say("STARTTLS")
        await client.start_tls(certificate.client_context())
        assert "AUTH PLAIN LOGIN" in await client.say("EHLO x")
        assert (await client.say("MAIL FROM:<alice@bridge.test>")).startswith("530 5.7.0")
        assert (await client.say(WRONG)).startswith("535 5.7.8")
        assert (await client.say(PLAIN)).startswith("235 2.7.0")
        assert (await client.say(PLAIN)).startswith("503")
        assert (await client.say("MAIL FROM:<bob@bridge.test>")).startswith("553 5.7.1")
        assert (await client.say("MAIL FROM:<alice@bridge.test>", "RCPT TO:<x@far.test>")).startswith("250")
        await client.say("DATA")
        client.send(MAIL + b".\r\n")
        assert (await client.hear()).startswith("250")
    [(envelope, raw)] = stage.mails
    assert envelope.login == "login-alice"
    assert b"127.0.0.1" not in raw.split(b"From:")[0]
    assert b"with ESMTPSA id" in raw


async def test_passwords_by_login_and_by_continuation(tmp_path: Path) -> None:
    """All forms of PLAIN and LOGIN; `*` cancels."""
    user, password = (base64.b64encode(word).decode() for word in (b"alice", b"right"))
    async with open_doors(tmp_path, Door.SUBMISSION, plain_passwords=True) as stage:
        for steps, code in (
            (["AUTH LOGIN", user, password], "235"),
            ([f"auth login {user}", password], "235"),
            (["AUTH PLAIN", base64.b64encode(b"\0alice\0right").decode()], "235"),
            (["AUTH PLAIN", "*"], "501"),
            (["AUTH LOGIN", user, "*"], "501"),
            (["AUTH PLAIN", "!"], "501"),
            (["AUTH PLAIN ="], "501"),
            (["AUTH CRAM-MD5"], "504"),
            (["AUTH"], "504"),
        ):
            async with await Caller.call(stage.port) as client:
                await client.ready()
                assert (await client.say(*steps)).startswith(code), steps


async def test_guessing_gets_slow(tmp_path: Path) -> None:
    """After five wrong ones a peer has to wait, over all connections, also with the right one; then it may."""
    async with open_doors(tmp_path, Door.SUBMISSION, plain_passwords=True) as stage:
        for _ in range(5):
            async with await Caller.call(stage.port) as client:
                await client.ready()
                assert (await client.say(WRONG)).startswith("535")
        async with await Caller.call(stage.port) as client:
            await client.ready()
            asked = len(stage.backstage.asked)
            assert (await client.say(PLAIN)).startswith("454 4.7.0")
            assert len(stage.backstage.asked) == asked
            stage.clock.ahead += 11
            assert (await client.say(PLAIN)).startswith("235")


async def test_no_passwords_where_none_belong(tmp_path: Path, certificate: Certificate) -> None:
    """On port 25 there is no AUTH at all, also under TLS."""
    async with (
        open_doors(tmp_path, tls="implicit", **files(certificate)) as stage,
        await Caller.call(stage.port, certificate.client_context()) as client,
    ):
        await client.hear()
        assert "AUTH" not in await client.say("EHLO x")
        assert (await client.say(PLAIN)).startswith("502")
        assert stage.backstage.asked == []
