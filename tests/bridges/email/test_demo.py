"""Email's part of the demo without its servers: the same conversation on the fake homeserver."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bridge_core.api.demo import Event, Scene
from bridge_core.api.ids import ChatId, NetworkId
from bridge_core.demo.conversation import run_step
from bridge_core.demo.place import DemoPlace
from bridges.email.connector import EmailConnector
from bridges.email.demo.network import EmailDemo
from tests.harness import Harness


class Client:
    """What the conversation needs of a `bridge_core.api.demo.MatrixUser`."""

    def __init__(self, bridge: Harness, room: str) -> None:
        self.user_id = bridge.alice.id
        self._homeserver = bridge.homeserver
        self._alice = bridge.alice
        self._room = room

    async def wait_for(self, fits: Callable[[Event], bool], timeout: float = 60, what: str = "") -> Event:
        return await self._homeserver.wait_event(self._room, fits, 60)

    async def send(self, room: str, content: Mapping[str, Any], kind: str = "m.room.message") -> str:
        return self._alice.send_event(room, kind, dict(content))

    async def send_text(self, room: str, body: str) -> str:
        return self._alice.send(room, body)

    async def edit(self, room: str, event_id: str, body: str) -> str:
        return self._alice.edit(room, event_id, body)

    async def react(self, room: str, event_id: str, key: str) -> str:
        return self._alice.react(room, event_id, key)

    async def redact(self, room: str, event_id: str) -> str:
        return self._alice.redact(room, event_id)

    async def upload(self, data: bytes, content_type: str, filename: str) -> str:
        return self._alice.upload(data, content_type, filename)

    async def download(self, mxc: str) -> bytes:
        return self._homeserver.file(mxc) or b""


async def test_every_step_crosses_on_the_fake(tmp_path: Path) -> None:
    """The whole conversation of the demo goes well; what its `--json` says of a step is that it was seen."""
    demo = EmailDemo()
    await demo.start(DemoPlace("email", tmp_path, lambda _: None, "@alice:hs.test"))
    try:
        section = {**demo.config(), "portals": [{"chat": demo.portal_chat}]}
        async with Harness(tmp_path, {"email": section}, {"email": EmailConnector}) as bridge:
            engine = bridge.running.engine
            room = await engine.rooms.ensure(await engine.portals.ensure(NetworkId("email"), ChatId(demo.portal_chat)))
            bridge.alice.join(room)
            client: Any = Client(bridge, room)
            scene = Scene(client, room, "alice", _no_links)
            for step in demo.script(scene):
                done = (await run_step(step, 60)).as_json()
                assert done["ok"], done
    finally:
        await demo.stop()


async def _no_links(address: str) -> bytes:
    raise AssertionError(f"{address} is asked for")
