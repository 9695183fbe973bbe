"""The conversation with the echo network in an encrypted room: whatever is said comes back from a ghost."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge_core.api.demo import Crossing, DemoError, Event, Place, Scene, Step, Way
from bridge_core.demo.encrypted.user import EncryptedUser

__all__ = ["EchoDemo"]

_WAIT = 15.0


class EchoDemo:
    """A `bridge_core.api.demo.NetworkDemo` of the adapter that says everything again. It needs no server."""

    portal_chat = "demo"
    server = "echo built-in"
    in_encrypted_rooms = True

    async def start(self, place: Place) -> None:
        """Nothing to start."""

    def config(self) -> Mapping[str, Any]:
        """The network as it is."""
        return {"type": "echo"}

    def script(self, scene: Scene) -> Sequence[Step]:
        """The conversation with Echo."""
        if not isinstance(scene.matrix, EncryptedUser):
            raise DemoError("the echo conversation is held with an encrypted client")
        return _Conversation(scene.matrix, scene.room).steps()

    def where(self) -> list[str]:
        """Nothing but the room."""
        return []

    async def stop(self) -> None:
        """Nothing to close."""


class _Conversation:
    """One run. Each text and file holds words of its own that nobody else can have written."""

    def __init__(self, alice: EncryptedUser, room: str) -> None:
        self._alice = alice
        self._room = room
        self._first = ""
        self._echo: Event = {}

    def steps(self) -> list[Step]:
        """All steps, in order."""
        back = Way.TO_MATRIX
        acts = (self.text, self.own_device, self.reply, self.edit, self.reaction, self.file, self.redaction)
        return [Step(act.__name__, back, act) for act in acts]

    async def text(self) -> Crossing:
        """A text comes back, encrypted."""
        said = _words("text")
        self._first = await self._alice.send_text(self._room, said)
        self._echo = await self._seen(lambda e: _body(e) == said, "the echo of the text")
        return Crossing(said, f"{self._echo['sender']}: {said}")

    async def own_device(self) -> Crossing:
        """The ghost spoke by a device of its own, which is no device of the bot."""
        ghost = str(self._the_echo()["sender"])
        devices = await self._alice.peer.devices(ghost)
        if len(devices) != 1:
            raise DemoError(f"{ghost} has {len(devices)} devices with keys")
        ((name, keys),) = devices.items()
        for other in await self._alice.members(self._room):
            if other != ghost and keys in (await self._alice.peer.devices(other)).values():
                raise DemoError(f"the device of {ghost} is that of {other}")
        return Crossing("(whose device is it?)", f"{ghost} has device {name}, ed25519 {keys['ed25519'][:12]}…")

    async def reply(self) -> Crossing:
        """An answer is an answer to the same on both sides."""
        said = _words("reply")
        await self._alice.reply(self._room, self._the_echo()["event_id"], said)
        seen = await self._seen(lambda e: said in _body(e), "the echo of the reply")
        if not seen["content"].get("m.relates_to", {}).get("m.in_reply_to"):
            raise DemoError(f"it answers nothing: {seen['content']}")
        return Crossing(said, f"{seen['sender']}: {_body(seen)}")

    async def edit(self) -> Crossing:
        """An edit changes the echo."""
        said = _words("edit")
        await self._alice.edit(self._room, self._first, said)
        seen = await self._seen(lambda e: _new(e).get("body") == said, "the echo of the edit")
        if seen["content"].get("m.relates_to", {}).get("event_id") != self._the_echo()["event_id"]:
            raise DemoError(f"it changes something else: {seen['content']}")
        return Crossing(said, f"{seen['sender']}: {said} (in place of the first text)")

    async def reaction(self) -> Crossing:
        """A reaction comes back; clients do not encrypt these."""
        await self._alice.react(self._room, self._the_echo()["event_id"], "👍")
        seen = await self._alice.wait_for(
            lambda e: self._others(e) and e["type"] == "m.reaction", _WAIT, "the echo of the reaction"
        )
        return Crossing("👍", f"{seen['sender']}: {seen['content']['m.relates_to']['key']}")

    async def file(self) -> Crossing:
        """A file comes back as an encrypted file with the same bytes."""
        name = f"{_words('file').replace(' ', '-')}.txt"
        data = "\n".join(_words("inside") for _ in range(200)).encode()
        address = await self._alice.upload(data, "text/plain", name)
        await self._alice.send(self._room, {"msgtype": "m.file", "body": name, "url": address})
        seen = await self._seen(lambda e: _body(e) == name, "the echo of the file")
        if "url" in seen["content"] or await self._alice.opened(seen["event_id"]) != data:
            raise DemoError(f"it is another file, or not encrypted: {seen['content']}")
        return Crossing(f"{name}, {len(data)} bytes", f"{seen['sender']}: {name} (encrypted, the same bytes)")

    async def redaction(self) -> Crossing:
        """What is taken back is taken back on both sides."""
        said = _words("taken back")
        mine = await self._alice.send_text(self._room, said)
        echo = await self._seen(lambda e: _body(e) == said, "the echo")
        await self._alice.redact(self._room, mine)
        await self._alice.wait_for(lambda e: e.get("redacts") == echo["event_id"], _WAIT, "the echo's redaction")
        return Crossing("(redacts a message)", f"{echo['sender']} redacts the echo")

    async def _seen(self, fits: Callable[[Event], bool], what: str) -> Event:
        seen = await self._alice.wait_for(lambda e: self._others(e) and fits(e), _WAIT, what)
        if not seen["encrypted"]:
            raise DemoError(f"{what} came in the clear")
        return seen

    def _others(self, event: Event) -> bool:
        return bool(event["room_id"] == self._room and event["sender"] != self._alice.user_id)

    def _the_echo(self) -> Event:
        if not self._echo:
            raise DemoError("there is no echo of the first text")
        return self._echo


def _words(what: str) -> str:
    return f"echo {what} {secrets.token_hex(10)}"


def _body(event: Event) -> str:
    return str(event["content"].get("body", "")) if event["type"] == "m.room.message" else ""


def _new(event: Event) -> Mapping[str, Any]:
    return event["content"].get("m.new_content") or {}
