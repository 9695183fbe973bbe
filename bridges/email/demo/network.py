"""Email's part of `matrix-bridge demo`: bob, who has his mail somewhere else, and the conversation with him."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge_core.api.demo import DemoError, Place, Scene, Step
from bridges.email.demo.elsewhere import BELIEVING, Elsewhere
from bridges.email.demo.script import Conversation

_BOX: Final = "hello@bridge.test"
BOB: Final = "bob@elsewhere.test"


class EmailDemo:
    """A `bridge_core.api.demo.NetworkDemo`: the bridge is the mail server of bridge.test, all on loopback."""

    portal_chat: str = _BOX
    in_encrypted_rooms: bool = False  # nearly all of its script is files and their links

    def __init__(self, server: str | None = None) -> None:
        if server is not None:
            raise ValueError(f"email has no server {server}: the bridge is the mail server itself")
        self.server = ""
        self._port = 0
        self._user = ""
        self._elsewhere: Elsewhere | None = None

    async def start(self, place: Place) -> None:
        """Start the mail server that bob uses."""
        self._port, self._user = place.free_port(), place.matrix_user
        self._elsewhere = Elsewhere(place.free_port())
        try:
            await self._elsewhere.start()
        except OSError as error:
            raise DemoError(f"no mail server could be started: {error}") from error
        self.server = "the bridge's own mail server"

    def config(self) -> Mapping[str, Any]:
        """One mailbox; what comes in is taken for verified as a mail server in front would have it."""
        assert self._elsewhere is not None
        return {
            "type": "email",
            "displayname": "Email",
            "hostname": "mail.bridge.test",
            "domains": ["bridge.test"],
            "mailboxes": {_BOX: {"name": "Hello", "members": [self._user]}},
            "receiving": {"doors": [{"kind": "smtp", "listen": f"127.0.0.1:{self._port}"}]},
            "trust": BELIEVING,
            "delivery": {
                "hold": 1,
                "smarthosts": [{"host": "127.0.0.1", "port": self._elsewhere.port, "tls": "none"}],
            },
        }

    def script(self, scene: Scene) -> Sequence[Step]:
        """The conversation of `scene.name` and bob."""
        if self._elsewhere is None:
            raise DemoError("bob has no mail server")
        return Conversation(scene, self._elsewhere, self._port, _BOX, BOB).steps()

    def where(self) -> list[str]:
        """Where to send mail to."""
        return [
            f"Email   SMTP 127.0.0.1 port {self._port} without TLS   to {_BOX}   (what is answered to it stays here)",
            f"        swaks --server 127.0.0.1:{self._port} --from you@elsewhere.test --to {_BOX}",
        ]

    async def stop(self) -> None:
        """Close bob's mail server."""
        if self._elsewhere is not None:
            await self._elsewhere.stop()
