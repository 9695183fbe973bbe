"""`python -m bridge_core.app.reference`: print the page of all commands, from a bridge that is never started."""

import sys
import tempfile
from pathlib import Path

from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from bridge_core.engine.commands.reference import render_commands
from registration.generate import Wanted, generate, render

_CONFIG = """
homeserver: {address: "http://127.0.0.1:1", domain: example.org}
journal: {secret: "%s"}
health: {listen: null}
encryption: {mode: auto}
networks: {echo: {type: echo}}
"""


def render_reference() -> str:
    """The page."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted(
            id="matrix-bridge",
            url="http://127.0.0.1:1",
            domain="example.org",
            bot="bridgebot",
            networks=["echo"],
            user_template="_{network}_{id}",
            alias_template="_{network}_{id}",
        )
        path = Path(folder)
        (path / "registration.yaml").write_text(render(generate(wanted)))
        (path / "config.yaml").write_text(_CONFIG % "0123456789abcdefghijklmnopqrstuv")
        return render_commands(Bridge(load_config(path / "config.yaml", {})).engine.commands)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
