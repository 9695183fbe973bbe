"""What `check` finds out about mail before the bridge is started."""

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import NetworkId
from bridge_core.api.optional import Advises, NamesUsers, Rehearses
from bridge_core.config.problems import Sources
from bridge_core.demo.ports import free_port
from bridges.email.config.network import EmailConfig
from bridges.email.config.receiving import Receiving
from bridges.email.connector import EmailConnector
from bridges.email.smtp.server import Doors
from registration.document import parse_document
from tests.bridges.email.sink import Sink
from tests.servers.certificate import make_certificate

BOX = "support@example.org"


def network(**settings: Any) -> EmailConnector:
    """A network of which only what is given may be wrong."""
    sections = {
        "hostname": "mail.example.org",
        "domains": ["example.org"],
        "mailboxes": {BOX: {"members": ["@alice:hs.test"]}},
        "delivery": {"direct": True},
        "receiving": {"doors": [{"listen": "127.0.0.1:0"}]},
    }
    return EmailConnector(NetworkId("mail"), EmailConfig.model_validate(sections | settings))


def advised(**settings: Any) -> list[str]:
    """What is said without the network being tried, with an ! where it cannot start."""
    connector = network(**settings)
    assert isinstance(connector, Advises)
    return [("!" if one.grave else "") + one.what for one in connector.advise()]


async def wrong(**settings: Any) -> list[str]:
    """What a try finds."""
    connector = network(**settings)
    assert isinstance(connector, Rehearses)
    found = await connector.wrong()
    assert all(one.advice for one in found)
    return [one.what for one in found]


async def test_what_is_well_is_not_told_of() -> None:
    """Nothing is wrong with a network that has all it needs; its members are known for their permissions."""
    assert advised() == [] == await wrong()
    connector = network()
    assert isinstance(connector, NamesUsers)
    assert connector.named() == {"@alice:hs.test": f"mailboxes.{BOX}.members"}


async def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Certificate and key, by the key of the settings, the file and why; the start says the same."""
    made = await asyncio.to_thread(make_certificate, tmp_path)
    away, bad = tmp_path / "away.pem", tmp_path / "bad.pem"
    bad.write_text("nonsense")
    for files, words in (
        ({"certificate": str(away)}, f"receiving.certificate: {away} cannot be read: No such file"),
        ({"certificate": str(made.chain), "key": str(away)}, f"receiving.key: {away} cannot be read: No such file"),
        ({"certificate": str(bad)}, f"receiving.certificate: {bad} is no certificate with its key"),
    ):
        (said,) = advised(receiving={"doors": [{"listen": "127.0.0.1:0"}], **files})
        assert said.startswith("!" + words)
        settings = Receiving.model_validate({"doors": [{"listen": "127.0.0.1:0"}], **files})
        parts: Any = SimpleNamespace(settings=settings, clock=None, tasks=None)
        with pytest.raises(TransientError, match=r"cannot be read: No such|is no certificate with its key"):
            await Doors(parts).start()
    files = {"certificate": str(made.chain), "key": str(made.key)}
    assert advised(receiving={"doors": [{"listen": "127.0.0.1:0"}], **files}) == []


async def test_a_door_that_is_taken_is_told_of() -> None:
    """By another program; not by the running bridge, which greets by our name. Two doors cannot share one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        (said,) = await wrong(receiving={"doors": [{"listen": listen}]})
        assert listen in said and "another program" in said

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()

    bridge = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with bridge:
        listen = f"127.0.0.1:{bridge.sockets[0].getsockname()[1]}"
        assert await wrong(receiving={"doors": [{"listen": listen}]}) == []
    doors = [{"listen": listen}, {"listen": listen, "kind": "lmtp"}]
    with pytest.raises(ValidationError, match="two doors listen on"):
        network(receiving={"doors": doors})
    (said,) = await wrong(receiving={"doors": [{"kind": "lmtp", "listen": "unix:/nowhere/lmtp"}]})
    assert "no folder /nowhere" in said


def test_mail_without_a_way_out_is_told_of() -> None:
    """Neither a smarthost of the domain nor `direct`; and mails that are accepted but never read."""
    (said,) = advised(delivery={"smarthosts": [{"host": "x.net", "domains": ["example.net"]}]})
    assert "mail from example.org has no way out" in said
    (said,) = advised(parsing={"largest_mib": 1})
    assert "parsing.largest_mib: 1" in said and "receiving.largest" in said


async def test_smarthosts_are_tried() -> None:
    """One that is away, has no TLS, or refuses the login, each in words; no mail is begun, and no secret told."""
    async with Sink(extensions=("AUTH PLAIN",)) as sink:

        def by(port: int, **more: Any) -> dict[str, Any]:
            return {"smarthosts": [{"host": "127.0.0.1", "port": port, "tls": "none", **more}]}

        assert await wrong(delivery=by(sink.port)) == []
        login = {"user": "bridge", "password": "s3cret"}
        sink.say("auth", "535 5.7.8 wrong")
        (said,) = await wrong(delivery=by(sink.port, **login))
        assert "refuses our login" in said and "s3cret" not in said
        (said,) = await wrong(delivery=by(sink.port, tls="starttls"))
        assert "offers no TLS" in said
        port = free_port()
        (said,) = await wrong(delivery=by(port))
        assert f"delivery.smarthosts.0: 127.0.0.1 port {port}" in said
        (said,) = await wrong(delivery=by(sink.port, ca="/nowhere/ca.pem"))
        assert "smarthosts.0.ca: /nowhere/ca.pem cannot be read" in said
        assert not any(one.upper().startswith(("MAIL", "RCPT", "DATA")) for one in sink.commands)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"doors": [{"listen": "0.0.0.0"}]}, ["'0.0.0.0' is no address with a port, such as 0.0.0.0:25"]),
        ({"doors": [{"kind": "import"}]}, ["'import' is not allowed", "Allowed: one of smtp, submission, lmtp."]),
        ({"doors": ["kind=smtp"]}, ["doors.0", "Allowed: a mapping."]),
        ({"doors": [{"kind": "submission"}]}, ["the door 0.0.0.0:25 needs a certificate."]),
    ],
)
def test_what_is_wrong_with_doors_is_said_in_words(section: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    """Neither a pattern nor the name of a class of ours: what would be right."""
    document = parse_document(tmp_path / "config.yaml", "{}")
    with pytest.raises(ValidationError) as caught:
        Receiving.model_validate(section)
    said = "\n".join(str(one) for one in Sources(document, {}).problems(caught.value, Receiving))
    assert all(one in said for one in words), said
    assert not any(one in said for one in ("pattern", "DoorConfig", "local", "Allowed: a mapping.\n")), said
