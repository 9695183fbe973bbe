"""matrix-js-sdk with the Rust crypto, under node: a client that judges senders and shows shields.

Its packages are fixed by `js/package-lock.json` and installed by `npm ci` into `.cache/rust-peer`, once.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from bridge_core.demo.locked_venv import SetupError, cache_directory, only_one, run_step
from bridge_core.demo.peers.peer import Peer, PeerEvent, Shield

UNSHIELDED = Shield("none")
_SOURCES = Path(__file__).with_name("js")
_PACKAGES = ("package.json", "package-lock.json")
_STAMP = "installed-from"
_NEW_ENOUGH = "if (parseInt(process.versions.node) < 20) throw new Error(`this is ${process.version}`)"


class RustPeer(Peer):
    """A matrix-js-sdk client: what `Peer` can do, and what only this client can."""

    async def wait_unshielded(self, event_id: str) -> PeerEvent:
        """Returns the event of this id once it is read and shown without a shield.

        What comes before the client has looked at its sender's devices has one until it has.
        """
        return await self.wait_for(
            lambda event: event.event_id == event_id and event.shield == UNSHIELDED, f"{event_id} without a shield"
        )

    async def identity(self, user: str) -> dict[str, bool]:
        """Returns whether a user `exists` as a cross-signing identity, is `verified`, or `changed` theirs."""
        return dict(await self.call("identity", user=user))

    async def isolate(self, on: bool) -> None:
        """Makes the client ignore devices that their owner did not sign, both ways (MSC4153)."""
        await self.call("isolate", on=on)

    async def withhold(self, on: bool) -> None:
        """Makes the client tell unverified devices m.room_key.withheld instead of giving them keys."""
        await self.call("withhold", on=on)

    async def restore(self, key: str, version: str) -> dict[str, int]:
        """Reads the user's backup of keys with its key as people write it; how many are in it (`total`, `imported`)."""
        found = await self.call("restore", key=key, version=version)
        return {name: int(found[name]) for name in ("total", "imported")}

    async def save(self) -> None:
        """Writes the client's store to its folder now: what a `kill` from here on finds again."""
        await self.call("save")


async def rust_peer(url: str, folder: Path) -> RustPeer:
    """Returns a client of the homeserver at `url`, not started; installs its packages when they are missing.

    Its `start` makes the user's cross-signing identity and signs the device, unless given `cross_sign=False`.
    """
    script = await ensure_rust()
    return RustPeer(["node", str(script), url, str(folder)], folder)


async def ensure_rust(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Returns the client's script beside its packages, installed first when needed; raises SetupError."""
    place = cache_directory() / "rust-peer"
    files = {path.name: path.read_bytes() for path in sorted(_SOURCES.iterdir())}
    script = place / "client.mjs"
    packages = _digest({name: files[name] for name in _PACKAGES})
    if _is_ready(place, packages, files):
        return script
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            raise SetupError(f"no such command: {command}; install nodejs (20 or newer) and npm")
    async with only_one(place.with_name(place.name + ".lock")):
        if _is_ready(place, packages, files):
            return script
        installed = _stamp(place) == packages
        if not installed:
            await run_step(
                "node 20 or newer", "node", "-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"
            )
            progress("installing matrix-js-sdk for tests (once; some seconds)")
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        for name, content in files.items():
            new = place / (name + ".new")
            new.write_bytes(content)
            new.rename(place / name)
        if not installed:
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
            await run_step("npm ci", "npm", "ci", *options, f"--cache={place / '.npm'}", directory=place)
            shutil.rmtree(place / ".npm", ignore_errors=True)
            (place / _STAMP).write_text(packages)
    return script


def _is_ready(place: Path, packages: str, files: dict[str, bytes]) -> bool:
    try:
        return _stamp(place) == packages and all((place / name).read_bytes() == data for name, data in files.items())
    except FileNotFoundError:
        return False


def _stamp(place: Path) -> str:
    try:
        return (place / _STAMP).read_text()
    except FileNotFoundError:
        return ""


def _digest(files: dict[str, bytes]) -> str:
    return hashlib.sha256(b"\0".join(files[name] for name in sorted(files))).hexdigest()
