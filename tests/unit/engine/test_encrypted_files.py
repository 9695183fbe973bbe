"""Encrypted files: as other clients make them, and never handed out whole when they were changed."""

import json
from collections.abc import AsyncIterator

import pytest

from bridge_core.api.content import MediaKind
from bridge_core.content.attachments import parse_attachment
from bridge_core.engine.encrypted_files import DamagedFileError, EncryptingStream, decrypted

# From the tests of matrix-encrypt-attachment (Apache-2.0).
KEYS = json.dumps(
    {
        "v": "v2",
        "key": {"alg": "A256CTR", "kty": "oct", "k": "__________________________________________8"},
        "iv": "//////////8AAAAAAAAAAA",
        "hashes": {"sha256": "YzF08lARDdOCzJpzuSwsjTNlQc4pHxpdHcXiD/wpK6k"},
    }
)
SEALED = bytes.fromhex("e712594ede5c422726fbd7f8")


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    """All of it."""
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("size", [1, 5, 100])
async def test_what_other_clients_made_is_read(size: int) -> None:
    """A known vector, in pieces of any size."""
    assert await whole(decrypted(pieces(SEALED, size), KEYS)) == b"Hello, World"


@pytest.mark.parametrize("length", [0, 1, 15, 16, 100_000])
async def test_what_is_encrypted_is_decrypted(length: int) -> None:
    """The keys are those of an event's file, and the encrypted file is as long as the other."""
    plain = bytes(number % 251 for number in range(length))
    stream = EncryptingStream(pieces(plain, 4096))
    with pytest.raises(RuntimeError):
        stream.keys()
    sealed = await whole(aiter(stream))
    assert len(sealed) == length
    assert length < 15 or sealed != plain
    event = {"body": "a.bin", "file": {**stream.keys(), "url": "mxc://hs/a"}}
    keys = parse_attachment(event, MediaKind.FILE).keys
    assert keys is not None
    assert await whole(decrypted(pieces(sealed, 1000), keys)) == plain


@pytest.mark.parametrize("length", [0, 1, 100_000])
async def test_keys_are_known_with_the_last_byte(length: int) -> None:
    """Who sends so many bytes and no more (an upload of known length) has the keys then."""
    plain = bytes(number % 251 for number in range(length))
    stream = EncryptingStream(pieces(plain, 4096), length)
    chunks, sealed = aiter(stream), b""
    while len(sealed) < length:
        with pytest.raises(RuntimeError):
            stream.keys()
        sealed += await anext(chunks)
    assert await whole(decrypted(pieces(sealed, 1000), json.dumps(stream.keys()))) == plain


async def test_keys_are_never_used_twice() -> None:
    """Counter mode with one key and counter would show the difference of two files."""
    streams = [EncryptingStream(pieces(b"same", 10)) for _ in range(2)]
    assert await whole(aiter(streams[0])) != await whole(aiter(streams[1]))
    assert streams[0].keys()["key"] != streams[1].keys()["key"]


@pytest.mark.parametrize("size", [4, 100])
async def test_a_changed_file_is_never_whole(size: int) -> None:
    """The error comes before the last piece, and is one for the sender."""
    got = []
    with pytest.raises(DamagedFileError):
        async for chunk in decrypted(pieces(SEALED[:-1] + b"x", size), KEYS):
            got.append(chunk)
    assert len(b"".join(got)) < len(SEALED) - 1


@pytest.mark.parametrize(
    "keys",
    [
        "no json",
        "[]",
        "{}",
        KEYS.replace("v2", "v9"),
        KEYS.replace("____8", "8"),
        KEYS.replace("//////////8AAAAAAAAAAA", "AAAA"),
        KEYS.replace("__________________________________________8", "%" * 43),
    ],
)
async def test_unusable_keys_open_nothing(keys: str) -> None:
    """An error for the sender, not a crash."""
    with pytest.raises(DamagedFileError):
        await whole(decrypted(pieces(SEALED, 100), keys))
