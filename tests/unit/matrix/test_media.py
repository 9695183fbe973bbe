"""Uploads while things fail."""

from collections.abc import AsyncIterator

import pytest

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import UserId
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile
from tests.unit.matrix.doubles import Keys, side_of


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for part in parts:
        yield part


async def test_the_address_is_stored_before_the_bytes_go() -> None:
    """An upload that fails and is repeated, also by another process, is one file."""
    keys = Keys()
    async with FakeHomeserver() as fake:
        async with side_of(fake, keys) as side:
            bot = UserId(fake.bot)
            fake.faults.answer(500, match="PUT /_matrix/media")
            with pytest.raises(TransientError):
                await side.upload(bot, chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        stored = keys.known["k"].mxc
        async with side_of(fake, keys) as side:
            assert await side.upload(bot, chunks(b"abc"), mime="a/b", name="x", size=3, key="k") == stored
        assert (fake.files(), fake.file(stored)) == ([stored], b"abc")


async def test_an_answer_lost_after_the_upload_is_a_conflict_and_fine() -> None:
    """M_CANNOT_OVERWRITE_MEDIA means that it is there."""
    keys = Keys()
    async with FakeHomeserver() as fake, side_of(fake, keys) as side:
        fake.faults.lose_answer(times=1, match="PUT /_matrix/media")
        with pytest.raises(TransientError):
            await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        mxc = await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        assert fake.files() == [mxc]


async def test_an_address_that_expired_is_replaced() -> None:
    """The lane tries again and gets a new one."""
    keys = Keys()
    async with FakeHomeserver() as fake, side_of(fake, keys) as side:
        fake.faults.answer(500, match="PUT /_matrix/media")
        with pytest.raises(TransientError):
            await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        fake.lose_file(keys.known["k"].mxc)
        with pytest.raises(TransientError, match="expired"):
            await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        mxc = await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        assert fake.file(mxc) == b"abc"


async def test_without_reserved_addresses_a_plain_upload_is_made_once() -> None:
    """Older homeservers: one POST, remembered by its key."""
    keys = Keys()
    async with FakeHomeserver(profile=FakeProfile.basic()) as fake, side_of(fake, keys) as side:
        mxc = await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k")
        assert await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=3, key="k") == mxc
        assert fake.files() == [mxc]


async def gone() -> AsyncIterator[bytes]:
    """A file whose source disappears half-way."""
    yield b"ab"
    raise RejectedError("the blob is gone")


async def test_the_givers_error_is_told() -> None:
    """Not wrapped in one of the connection."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        with pytest.raises(RejectedError, match="the blob is gone"):
            await side.upload(UserId(fake.bot), gone(), mime="a/b", name="x", size=100, key="k")
        with pytest.raises(RejectedError, match="the blob is gone"):
            await side.upload(UserId(fake.bot), gone(), mime="a/b", name="x", size=None, key="k2")


@pytest.mark.parametrize("size", [2, 4])
async def test_a_wrong_size_uploads_nothing(size: int) -> None:
    """Neither a file cut short nor one with more than was said."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        with pytest.raises(TransientError):
            await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b", name="x", size=size, key="k")
        assert [fake.file(mxc) for mxc in fake.files()] == [None]


async def test_hostile_types_and_names_stay_inside_the_request() -> None:
    """Line breaks in a type make it application/octet-stream; names are encoded."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        name = "a\r\nX: y&b=ü?.png"
        mxc = await side.upload(UserId(fake.bot), chunks(b"abc"), mime="a/b\r\nX: y", name=name, size=3, key="k")
        stored = fake._world.file(mxc)
        assert (stored.mime, stored.name) == ("application/octet-stream", name)
