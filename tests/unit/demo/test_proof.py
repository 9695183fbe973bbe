"""When the search of a demo of encryption fails: at a leak, and where it would see none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from bridge_core.api.demo import DemoError, Event
from bridge_core.demo.encrypted.proof import Proof
from bridge_core.demo.encrypted.user import EncryptedUser
from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.demo.peers.peer import Peer, PeerEvent

ROOM, CONTROL, BOT, ALICE = "!secret:x", "!control:x", "@bot:x", "@alice:x"
SAID = "what nobody else may read"
CIPHER = "AwgAEvABKkALJF+gu9xebmFXodI75M83letL9UkjJd7tK+"


class _Homeserver:
    """The raw client, and what a homeserver would store of what it sends."""

    user_id = ALICE

    def __init__(self, folder: Path, *, blind: str = "") -> None:
        self._folder = folder
        self._blind = blind
        self.timeline: list[Event] = [_ciphertext()]
        (folder / "media").mkdir(parents=True)
        self._store("homeserver.db:event_json", CIPHER)

    async def send(self, room: str, content: Mapping[str, Any], txn_id: str = "") -> str:
        self._store("homeserver.db:event_json", str(content["body"]))
        self._store("homeserver.log", txn_id)
        return "$e"

    async def upload(self, data: bytes, mimetype: str, name: str) -> str:
        self._store("media/a", data.decode())
        return "mxc://x/a"

    async def wait_for(self, fits: Callable[[Event], bool], timeout: float, what: str) -> Event:
        return {}

    async def messages(self, room: str) -> list[Event]:
        return self.timeline

    def _store(self, name: str, text: str) -> None:
        if name != self._blind:
            with (self._folder / name).open("a") as file:
                file.write(text)


def _ciphertext() -> Event:
    return {"type": "m.room.encrypted", "sender": ALICE, "content": {"ciphertext": CIPHER}}


def _read(sender: str, body: str, event_id: str = "$1") -> PeerEvent:
    return PeerEvent(ROOM, event_id, sender, "m.room.message", {"body": body}, True, None, None)


def _proof(tmp_path: Path, blind: str = "") -> tuple[Proof, _Homeserver, EncryptedUser]:
    homeserver = _Homeserver(tmp_path / "hs", blind=blind)
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "bridge.db").write_text(f"room {ROOM}")
    alice = EncryptedUser(cast(MatrixClient, homeserver), Peer([], tmp_path / "nio"))
    alice.peer.events["$1"] = _read(ALICE, SAID)
    alice.rooms.add(ROOM)
    return Proof(tmp_path / "hs", tmp_path / "bridge", alice, CONTROL, BOT), homeserver, alice


async def test_all_is_well(tmp_path: Path) -> None:
    """With nothing stored in the clear but in the control room, every step goes well."""
    proof, _, _ = _proof(tmp_path)
    for step in [*proof.before(), *proof.after()]:
        await step.act()
    assert [step.name for step in proof.before()] == ["control_is_found"]
    assert [step.name for step in proof.after()] == ["only_ciphertext", "absent_from_homeserver", "absent_from_bridge"]


@pytest.mark.parametrize("place", ["homeserver.db:event_json", "media/a", "homeserver.log"])
async def test_a_search_that_does_not_find_the_control_room(tmp_path: Path, place: str) -> None:
    """What was said in the clear has to be found in database, media and log: else the search is blind."""
    proof, _, _ = _proof(tmp_path, blind=place)
    with pytest.raises(DemoError, match="the search is blind"):
        await proof.control_is_found()


@pytest.mark.parametrize("where", ["hs/homeserver.log", "hs/media/b", "bridge/spool", "bridge/bridge.log"])
async def test_a_leak_is_found(tmp_path: Path, where: str) -> None:
    """Words of an encrypted room that are stored or logged anywhere fail the step of whoever keeps them."""
    proof, _, _ = _proof(tmp_path)
    (tmp_path / where).write_text(f"so they said {SAID}!")
    steps = {"hs": proof.absent_from_homeserver, "bridge": proof.absent_from_bridge}
    who, _, name = where.partition("/")
    with pytest.raises(DemoError, match=f"in the clear.*{name}"):
        await steps.pop(who)()
    for other in steps.values():
        await other()


async def test_words_of_edits_and_files_are_looked_for(tmp_path: Path) -> None:
    """An edit's new text and what is in a file count as said; the bot's words do not: they may stand anywhere."""
    proof, _, alice = _proof(tmp_path)
    log = tmp_path / "bridge" / "bridge.log"
    log.write_text("words that the bot uses")
    alice.peer.events["$2"] = _read(BOT, "words that the bot uses", "$2")
    await proof.absent_from_bridge()
    await alice.upload(b"the inside of a file", "text/plain", "a.txt")
    log.write_text("the inside of a file")
    with pytest.raises(DemoError, match="the inside of a file"):
        await proof.absent_from_bridge()
    edit = PeerEvent(
        *(ROOM, "$3", ALICE, "m.room.message"),
        {"body": "* it", "m.new_content": {"body": "said in an edit"}},
        *(True, None, None),
    )
    alice.peer.events["$3"] = edit
    log.write_text("said in an edit")
    with pytest.raises(DemoError, match="said in an edit"):
        await proof.absent_from_bridge()


async def test_a_message_in_the_clear_is_found(tmp_path: Path) -> None:
    """A message that the homeserver tells in the clear, and a room where nothing was said, fail."""
    proof, homeserver, _ = _proof(tmp_path)
    homeserver.timeline.append({"type": "m.room.message", "sender": BOT, "content": {"body": "oh"}})
    with pytest.raises(DemoError, match="holds in the clear"):
        await proof.only_ciphertext()
    homeserver.timeline.clear()
    with pytest.raises(DemoError, match="nothing was said"):
        await proof.only_ciphertext()


async def test_nothing_to_look_for(tmp_path: Path) -> None:
    """Without words, or where not even the ciphertext is found, absence proves nothing."""
    proof, _, alice = _proof(tmp_path)
    (tmp_path / "hs" / "homeserver.db:event_json").unlink()
    with pytest.raises(DemoError, match="the search is blind"):
        await proof.absent_from_homeserver()
    alice.peer.events.clear()
    with pytest.raises(DemoError, match="nothing to look for"):
        await proof.absent_from_bridge()
