"""The conformance kit on the adapters of this distribution: the same tests on FakeHomeserver and on a real Synapse."""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bridge_core.demo.ports import free_port
from bridge_core.testing.conformance import (
    AdapterConformance,
    Bench,
    ConsentTests,
    EditTests,
    FileTests,
    HistoryTests,
    InfoTests,
    LoginTests,
    MemberTests,
    ModerationTests,
    PollTests,
    PublicHistoryTests,
    ReactionRemovalTests,
    ReactionTests,
    ReceiptTests,
    RedactionTests,
    ReplyTests,
    TypingTests,
)
from tests.conformance.echo_subject import EchoSubject
from tests.conformance.homeservers import Homeserver
from tests.conformance.irc_subject import DemoSubject, InspircdSubject, NgircdSubject
from tests.harness import InProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="class", loop_scope="module")
async def bench(
    homeserver: Homeserver, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """A bridge with the subject's network for all tests of a class."""
    subject = request.cls.subject()
    place = Path(tempfile.mkdtemp(prefix="mb-"))
    place.chmod(0o755)  # servers that drop their rights read their configuration there
    await subject.open(place)
    human = await homeserver.human()
    port = free_port()
    media = {"enabled": True, "listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}"}
    bridge = InProcess(
        tmp_path_factory.mktemp("bridge"),
        {subject.network: subject.section()},
        address=homeserver.url,
        port=homeserver.port,
        tokens=(homeserver.as_token, homeserver.hs_token),
        adapters=subject.adapters,
        permissions={human.id: "admin"},
        media={**media, "secret": secrets.token_hex(32)},
    )
    try:
        await bridge.start_bridge()
        yield Bench(bridge, human, subject, homeserver)
    finally:
        await bridge.stop_bridge()
        await subject.close()
        shutil.rmtree(place, ignore_errors=True)


class TestEcho(
    AdapterConformance,
    ReplyTests,
    EditTests,
    RedactionTests,
    ReactionTests,
    ReactionRemovalTests,
    FileTests,
    PollTests,
    MemberTests,
    ModerationTests,
    InfoTests,
    TypingTests,
    ReceiptTests,
    HistoryTests,
    PublicHistoryTests,
    ConsentTests,
    LoginTests,
):
    """The network that has everything."""

    subject = EchoSubject


class TestIrcDemo(
    AdapterConformance,
    HistoryTests,
    RedactionTests,
    ReplyTests,
    ReactionTests,
    ReactionRemovalTests,
    FileTests,
    MemberTests,
    ModerationTests,
    InfoTests,
    TypingTests,
    LoginTests,
    ConsentTests,
):
    """IRC with message tags, on the server of the demo."""

    subject = DemoSubject


@pytest.mark.server
class TestNgircd(AdapterConformance, FileTests, MemberTests, ModerationTests, InfoTests, ConsentTests):
    """Plain IRC."""

    subject = NgircdSubject


@pytest.mark.server
class TestInspircd(
    AdapterConformance,
    ReplyTests,
    ReactionTests,
    ReactionRemovalTests,
    FileTests,
    MemberTests,
    ModerationTests,
    InfoTests,
    TypingTests,
    ConsentTests,
):
    """IRC with message tags."""

    subject = InspircdSubject
