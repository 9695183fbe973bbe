"""IRC's part of `matrix-bridge demo`: a server, somebody on a channel, and the conversation with them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge_core.api.demo import DemoError, DemoUnavailableError, Place, Scene, Step
from bridges.irc.demo.script import Conversation
from bridges.irc.demo.servers import CHOICES, HOST, installed, prepare
from bridges.irc.demo.witness import Witness

_CHANNEL: Final = "#demo"
_NICK: Final = "bob"
_CAPS: Final = ("message-tags", "draft/message-redaction")


class IrcDemo:
    """A `bridge_core.api.demo.NetworkDemo` on InspIRCd, ngIRCd, or the small server of this folder."""

    portal_chat: str = _CHANNEL
    in_encrypted_rooms: bool = True

    def __init__(self, server: str | None = None) -> None:
        if server is not None and server not in CHOICES:
            raise ValueError(f"irc has no server {server}; there are: {', '.join(CHOICES)}")
        self._wanted = server
        self._port = 0
        self._witness: Witness | None = None
        self.server = ""

    async def start(self, place: Place) -> None:
        """Start the best server that works, and bob on it."""
        if self._wanted is not None and self._wanted not in installed():
            raise DemoUnavailableError(f"{self._wanted} is not installed: apt-get install {self._wanted}")
        choices = [self._wanted] if self._wanted is not None else installed()
        for number, name in enumerate(choices, 1):
            self._port = place.free_port()
            prepared = await asyncio.to_thread(prepare, name, place.directory, self._port)
            place.progress(f"starting {prepared.version}")
            try:
                await place.serve(name, prepared.command, port=self._port)
            except DemoError as error:
                if number == len(choices):
                    raise
                # An installed server may be configured away, too old or too new: the next one does as well.
                place.progress(f"{prepared.version} does not start here, trying {choices[number]}: {error}")
                continue
            self._witness = await Witness.connect(HOST, self._port, _NICK, real="Bob on IRC", caps=_CAPS)
            await self._witness.join(_CHANNEL)
            self.server = prepared.version
            return

    def config(self) -> Mapping[str, Any]:
        """A network without limits, on loopback."""
        return {
            "type": "irc",
            "displayname": "IRC",
            "server": HOST,
            "port": self._port,
            "tls": False,
            "rate": 0,
            "connect_rate": 0,
            "hybrid": {"puppet": "always"},  # who tries it out speaks once
            "grants": ["portals", "private_messages", "puppets"],
            "messages": {"merge": False},  # each line is counted
        }

    def script(self, scene: Scene) -> Sequence[Step]:
        """The conversation of `scene.name` and bob."""
        if self._witness is None:
            raise DemoError("the demo's IRC user is not connected")
        return Conversation(scene, self._witness, _CHANNEL).steps()

    def where(self) -> list[str]:
        """Where to point an IRC client."""
        return [
            f"IRC     {HOST} port {self._port} without TLS   channel {_CHANNEL}   ({_NICK} is there, and so is alice)"
        ]

    async def stop(self) -> None:
        """Say goodbye and close."""
        witness, self._witness = self._witness, None
        if witness is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await witness.quit(timeout=1)
            await witness.close()
