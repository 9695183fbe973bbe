"""Addresses: what strangers choose stays one path segment."""

import pytest

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest
from bridge_core.matrix.addresses import Addresses, media_path, segment

HOSTILE = ["../../admin", "a/b", "a?b=c", "a#b", "a%2Fb", "ä b", "a\r\nHost: x", "#chan:hs", "\x00"]


@pytest.mark.parametrize("name", HOSTILE)
def test_segments_are_encoded(name: str) -> None:
    """No slash, question mark, hash or line break survives."""
    url = Addresses("http://hs/").of("client", "v3", "x", name, "y", user=name, query={"q": name})
    assert url.raw_parts[:4] == ("/", "_matrix", "client", "v3")
    assert url.parts[5] == name
    assert (url.query["user_id"], url.query["q"], url.fragment) == (name, name, "")


@pytest.mark.parametrize("name", [".", "..", "", "a\ud800"])
def test_segments_that_change_the_path_are_refused(name: str) -> None:
    """Dots, nothing, and half characters are no segment."""
    with pytest.raises(MatrixRejectedError):
        segment(name)


def test_a_send_goes_out_as_its_sender_and_device() -> None:
    """/send with user, device and time."""
    request = SendRequest(RoomId("!r/x:hs"), "m.room.message", "t/1", UserId("@a:hs"), "D E", b"{}", ts=5)
    assert str(Addresses("http://hs").send(request)) == (
        "http://hs/_matrix/client/v3/rooms/%21r%2Fx%3Ahs/send/m.room.message/t%2F1?user_id=%40a%3Ahs&device_id=D%20E&ts=5"
    )


def test_a_redaction_goes_to_its_own_endpoint() -> None:
    """/redact/EVENT/TXN, without a device where there is none."""
    request = SendRequest(RoomId("!r"), "m.room.redaction", "t", UserId("@a:hs"), None, b"{}", redacts=EventId("$a/b"))
    assert str(Addresses("http://hs").send(request)) == (
        "http://hs/_matrix/client/v3/rooms/%21r/redact/%24a%2Fb/t?user_id=%40a%3Ahs"
    )


@pytest.mark.parametrize(
    "mxc",
    [
        "",
        "mxc://",
        "mxc://hs",
        "mxc://hs/",
        "http://hs/a",
        "mxc://hs/a/b",
        "mxc://hs/../x",
        "mxc://../a",
        "mxc://hs/a?b",
    ],
)
def test_what_is_no_mxc_address_is_refused(mxc: str) -> None:
    """Only server and media id, nothing that leads elsewhere."""
    with pytest.raises(MatrixRejectedError):
        media_path(mxc)


def test_mxc_addresses_are_encoded() -> None:
    """Ports and IPv6 included."""
    assert media_path("mxc://[::1]:80/aB-_9") == "%5B%3A%3A1%5D%3A80/aB-_9"
