"""Links end with the message they went out with, and when an admin says so."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from bridge_core.api.content import Attachment, Content, MediaKind
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, EventId, MessageId, NetworkId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixSender, MessageRef
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.links import USERS, LinkLedger
from bridge_core.engine.longtexts import LongTexts

ROOM = RoomId("!room:hs.test")
ALICE = MatrixSender(UserId("@alice:hs.test"), "Alice")


@dataclass
class Kept:
    """Values and revocations in memory."""

    values: dict[tuple[str, str], bytes] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)

    async def get(self, namespace: str, key: str) -> bytes | None:
        return self.values.get((namespace, key))

    async def put(self, namespace: str, key: str, value: bytes) -> None:
        self.values[namespace, key] = value

    async def items(self, namespace: str, prefix: str) -> dict[str, bytes]:
        return {
            key: value
            for (name, key), value in self.values.items()
            if name == namespace and key.startswith(prefix) and value is not None
        }

    async def revoke(self, link: str, at: int) -> None:
        self.revoked.add(link)


@pytest.fixture
def kept() -> Kept:
    """What is kept."""
    return Kept()


@pytest.fixture
def ledger(kept: Kept) -> LinkLedger:
    """A ledger over it."""
    return LinkLedger(cast(Any, kept), kept, SystemClock())


def _files(*names: str) -> Content:
    return Content(attachments=tuple(Attachment(MediaKind.FILE, name, f"mxc://hs.test/{name}") for name in names))


def _message(event: str, *names: str) -> MatrixMessage:
    return MatrixMessage(ROOM, EventId(event), ChatId("c"), ALICE, _files(*names), 0)


def _edit(event: str, target: str, *names: str) -> MatrixEdit:
    ref = MessageRef(MessageId("m"), EventId(target))
    return MatrixEdit(ROOM, EventId(event), ChatId("c"), ALICE, ref, _files(*names), 0)


async def test_a_message_takes_what_it_was_changed_into_along(kept: Kept, ledger: LinkLedger) -> None:
    """Redacting the message ends the links of its edits too; redacting an edit ends that edit's."""
    await ledger.remember(NetworkId("net"), _message("$first", "a", "b"))
    await ledger.remember(NetworkId("net"), _edit("$second", "$first", "c"))
    await ledger.remember(NetworkId("net"), _edit("$third", "$first", "d"))
    await ledger.revoke(ROOM, EventId("$third"))
    assert kept.revoked == {"mxc://hs.test/d"}
    await ledger.revoke(ROOM, EventId("$first"))
    assert kept.revoked == {f"mxc://hs.test/{name}" for name in "abcd"}


async def test_an_admin_ends_links(kept: Kept, ledger: LinkLedger) -> None:
    """By the file's address, or by the event; what is no address is refused in words."""
    await ledger.remember(NetworkId("net"), _message("$first", "a"))
    assert await ledger.revoke_event(ROOM, EventId("$first")) == 1
    assert await ledger.revoke_event(ROOM, EventId("$unknown")) == 0
    await ledger.revoke_file("mxc://hs.test/z")
    assert kept.revoked == {"mxc://hs.test/a", "mxc://hs.test/z"}
    with pytest.raises(RejectedError, match="no mxc"):
        await ledger.revoke_file("https://hs.test/z")


class Homeserver:
    """Takes files."""

    bot = UserId("@bot:hs.test")

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def upload(self, user: UserId, chunks: Any, *, mime: str, name: str, size: int, key: str) -> str:
        assert (user, mime, name) == (self.bot, "text/plain", "message.txt")
        data = b"".join([chunk async for chunk in chunks])
        assert len(data) == size
        self.files.setdefault(key, data)
        return f"mxc://hs.test/{list(self.files).index(key)}"


async def test_a_long_text_ends_with_its_message(kept: Kept, ledger: LinkLedger) -> None:
    """A text is put up once for each event, its link revoked with it; without links, and of secret rooms, none is."""
    homeserver = Homeserver()
    made = lambda attachment: f"https://links.test/{attachment.source[6:]}"  # noqa: E731
    texts = LongTexts(NetworkId("net"), cast(Any, homeserver), ledger, made)
    await ledger.remember(NetworkId("net"), _message("$1", "picture"))
    url = await texts.url(_message("$1"), "a very long té\ud800xt")
    assert url == "https://links.test/hs.test/0"
    assert await texts.url(_message("$1"), "a very long té\ud800xt") == url
    assert await texts.url(_message("$2"), "a very long té\ud800xt") == "https://links.test/hs.test/1"
    assert list(homeserver.files.values()) == ["a very long té?xt".encode()] * 2
    await ledger.revoke(ROOM, EventId("$1"))
    assert kept.revoked == {"mxc://hs.test/picture", "mxc://hs.test/0"}
    of_user = [value for (namespace, _), value in kept.values.items() if namespace == USERS]
    assert any(b"mxc://hs.test/0" in value for value in of_user)  # found when all of a user's links are revoked
    off = LongTexts(NetworkId("net"), cast(Any, homeserver), ledger, lambda attachment: None)
    assert await off.url(_message("$3"), "text") is None and len(homeserver.files) == 2
    hidden = LongTexts(NetworkId("net"), cast(Any, homeserver), ledger, made, lambda room: room == ROOM)
    assert await hidden.url(_message("$3"), "text") is None and len(homeserver.files) == 2
