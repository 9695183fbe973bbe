"""What an admin reads when homeserver and bridge do not fit."""

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import UserId
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.startup import SetupProblemError
from bridge_core.testing.homeserver import FakeHomeserver, FakeProfile
from tests.unit.matrix.doubles import GHOST, Sink, fake_with_side, side_of

ID = "matrix-bridge"


async def test_devices_are_found_out() -> None:
    """With them ghosts have one, without them none; a homeserver that ignores the parameter has none."""
    for profile, device in (
        (FakeProfile(), "MATRIXBRIDGE"),
        (FakeProfile.basic(), None),
        (FakeProfile(masquerading=False), None),
        (FakeProfile(devices=False), None),
    ):
        async with fake_with_side(profile) as (_, side):
            assert await side.ensure_registered(GHOST) == device


async def test_a_ping_reaches_the_bridge() -> None:
    """And brings what the homeserver held back, at once."""
    async with FakeHomeserver(profile=FakeProfile(first_retry=3600)) as fake, side_of(fake) as side:
        fake.appservice.url = "http://127.0.0.1:9"
        human = fake.user("human")
        room = human.create_room(preset="public_chat")
        await side.join(room, UserId(fake.bot))  # type: ignore[arg-type]
        await fake.wait_for(lambda: fake.push_attempts >= 1)
        sink = Sink()
        listener = Listener(AppserviceHttp(fake.appservice.hs_token, sink).application())
        await listener.start()
        fake.appservice.url = listener.url
        assert await side.ping(ID) is not None
        await fake.wait_pushed()
        assert sink.accepted
        await listener.stop()


@pytest.mark.parametrize(
    ("url", "status", "advice"),
    [
        (None, None, "no url"),
        ("http://127.0.0.1:9", None, "cannot connect"),
        ("closed", 502, "hs_token"),
    ],
)
async def test_each_way_a_ping_fails_is_explained(url: str | None, status: int | None, advice: str) -> None:
    """M_URL_NOT_SET, M_CONNECTION_FAILED, M_BAD_STATUS."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        listener = Listener(AppserviceHttp("another-token", Sink()).application())
        await listener.start()
        fake.appservice.url = listener.url if url == "closed" else url
        with pytest.raises(SetupProblemError, match=advice):
            await side.ping(ID)
        await listener.stop()


async def test_a_ping_over_a_connection_to_the_former_process_is_made_again() -> None:
    """What a homeserver has kept open from before the start is no reason to look for a firewall."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        listener = Listener(AppserviceHttp(fake.appservice.hs_token, Sink()).application())
        await listener.start()
        fake.appservice.url = listener.url
        fake.faults.answer(502, times=3, errcode="M_CONNECTION_FAILED", match="ping")
        assert await side.ping(ID) is not None
        fake.faults.answer(502, times=1_000, errcode="M_CONNECTION_FAILED", match="ping")
        with pytest.raises(SetupProblemError, match="cannot connect"):
            await side.ping(ID)
        await listener.stop()


async def test_a_ping_that_times_out_is_explained() -> None:
    """M_CONNECTION_TIMEOUT."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        fake.faults.answer(504, errcode="M_CONNECTION_TIMEOUT", match="ping")
        with pytest.raises(SetupProblemError, match="firewall"):
            await side.ping(ID)
        fake.faults.answer(500, match="ping")
        with pytest.raises(TransientError):
            await side.ping(ID)


async def test_something_that_is_no_homeserver_is_told() -> None:
    """The address may lead to a web server."""
    async with FakeHomeserver() as fake, side_of(fake) as side:
        fake.faults.answer(200, match="versions", errcode="")
        with pytest.raises(SetupProblemError, match="no Matrix homeserver"):
            await side.check()
