"""Files from everywhere: opened, measured, uploaded once."""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import UserId
from bridge_core.engine.encrypted_files import DamagedFileError, EncryptingStream
from bridge_core.engine.faults import NoFaults
from bridge_core.engine.matrix_ports import TooLargeError
from bridge_core.engine.media import MediaCarrier
from bridge_core.engine.sources import Sources
from bridge_core.store.blobs import BlobSpool

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480) + bytes(100_000)
GHOST = UserId("@_irc_ann:hs.test")
LIMIT = 1 << 20


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for part in parts:
        yield part


class Matrix:
    """Files on a homeserver; uploads are remembered with what was said of them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.said: list[dict[str, Any]] = []

    async def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        if mxc not in self.files:
            raise RejectedError("not there")
        yield self.files[mxc]

    async def upload(self, user: UserId, chunks: AsyncIterator[bytes], **said: Any) -> str:
        mxc = f"mxc://hs.test/{len(self.files)}"
        self.files[mxc] = b"".join([chunk async for chunk in chunks])
        self.said.append(said)
        return mxc


class Web:
    """Strangers' web servers."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked = 0

    async def stream(self, url: str, limit: int) -> AsyncIterator[bytes]:
        self.asked += 1
        if url not in self.files:
            raise RejectedError("not there")
        for start in range(0, len(self.files[url]), 1000):
            yield self.files[url][start : start + 1000]


class Place:
    """A carrier with all that it needs."""

    def __init__(self, folder: Path) -> None:
        self.matrix, self.web = Matrix(), Web()
        self.folder = folder
        self.blobs = BlobSpool(folder, b"s" * 32, 10 * LIMIT)
        self.sources = Sources(cast(Any, self.matrix), self.blobs, self.web, LIMIT)
        self.carrier = MediaCarrier(cast(Any, self.matrix), self.blobs, self.sources, NoFaults())

    def spooled(self) -> int:
        """How many files are in the spool."""
        return len(list(self.folder.iterdir()))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A place of its own for each test."""
    found = Place(tmp_path / "spool")
    await found.blobs.start()
    return found


async def test_a_spooled_image_is_measured(place: Place) -> None:
    """Type, bytes and pixels are those of the file, whatever was said or not."""
    blob = await place.blobs.put(pieces(PNG[:10], PNG[10:]), LIMIT)
    carried = await place.carrier.to_matrix(Attachment(MediaKind.IMAGE, "a.jpg", blob, "image/jpeg"), GHOST, "k")
    assert (carried.mime, carried.size, carried.width, carried.height) == ("image/png", len(PNG), 640, 480)
    assert carried.kind is MediaKind.IMAGE
    assert place.matrix.files[carried.source] == PNG
    assert place.matrix.said[0]["key"] == f"{blob}:k"


async def test_what_an_image_says_of_itself_stays(place: Place) -> None:
    """Sizes that the network told are kept."""
    blob = await place.blobs.put(pieces(PNG), LIMIT)
    given = Attachment(MediaKind.IMAGE, "a.png", blob, "image/png", len(PNG), 64, 48)
    carried = await place.carrier.to_matrix(given, GHOST, "k")
    assert (carried.width, carried.height) == (64, 48)


async def test_a_web_page_is_no_image(place: Place) -> None:
    """It arrives as a file of bytes."""
    blob = await place.blobs.put(pieces(b"<html>"), LIMIT)
    carried = await place.carrier.to_matrix(Attachment(MediaKind.IMAGE, "a.png", blob, "image/png"), GHOST, "k")
    assert (carried.kind, carried.mime) == (MediaKind.FILE, "application/octet-stream")


async def test_a_file_of_the_web_is_fetched_and_leaves_the_spool(place: Place) -> None:
    """An `https:` address becomes an upload; nothing stays behind, also when the upload fails."""
    place.web.files["https://a.example/x"] = PNG
    carried = await place.carrier.to_matrix(Attachment(MediaKind.IMAGE, "x", "https://a.example/x"), GHOST, "k")
    assert (carried.size, carried.width) == (len(PNG), 640)
    assert place.matrix.files[carried.source] == PNG
    assert place.spooled() == 0

    async def broken(user: UserId, chunks: AsyncIterator[bytes], **said: Any) -> str:
        raise TransientError("away")

    place.matrix.upload = broken  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        await place.carrier.to_matrix(Attachment(MediaKind.IMAGE, "x", "https://a.example/x"), GHOST, "k")
    assert place.spooled() == 0


async def test_what_is_on_matrix_stays_there(place: Place) -> None:
    """With its keys."""
    given = Attachment(MediaKind.FILE, "a", "mxc://hs.test/a", keys="{}")
    assert await place.carrier.to_matrix(given, GHOST, "k") == given


async def test_an_encrypted_file_is_opened_in_the_clear(place: Place) -> None:
    """Adapters read it as any other; one that was changed is refused."""
    stream = EncryptingStream(pieces(b"secret ", b"plans"))
    place.matrix.files["mxc://hs.test/e"] = b"".join([chunk async for chunk in stream])
    keys = json.dumps(stream.keys())
    given = Attachment(MediaKind.FILE, "plans", "mxc://hs.test/e", keys=keys)
    assert b"".join([chunk async for chunk in place.sources.open_attachment(given)]) == b"secret plans"
    place.matrix.files["mxc://hs.test/e"] += b"!"
    with pytest.raises(DamagedFileError):
        _ = [chunk async for chunk in place.sources.open_attachment(given)]


@pytest.mark.parametrize(
    "source",
    ["http://a.example/x", "file:///etc/passwd", "ftp://a/b", "data:text/plain,x", "", "blob", "https:" + "x" * 5000],
)
async def test_other_addresses_are_not_opened(place: Place, source: str) -> None:
    """Neither files of this machine nor anything unguarded."""
    with pytest.raises(RejectedError):
        _ = [chunk async for chunk in place.sources.open(source)]
    with pytest.raises(RejectedError):
        await place.carrier.to_matrix(Attachment(MediaKind.FILE, "x", source), GHOST, "k")
    assert place.web.asked == 0


async def test_too_large_a_file_is_not_begun(place: Place) -> None:
    """When it says so itself."""
    with pytest.raises(TooLargeError):
        place.sources.open_attachment(Attachment(MediaKind.FILE, "x", "https://a.example/x", size=LIMIT + 1))
    assert place.web.asked == 0
