"""`matrix-bridge demo`: everything started, a conversation held and judged, everything stopped."""

import asyncio
import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge_core.api.demo import DemoError, NetworkDemo, Step
from bridge_core.demo.bridge import WriteFiles
from bridge_core.demo.conversation import hold, play
from bridge_core.demo.encrypted.echo import EchoDemo
from bridge_core.demo.networks import load_demos
from bridge_core.demo.peers.peer import ensure_nio
from bridge_core.demo.report import NetworkReport, Report
from bridge_core.demo.screen import Screen
from bridge_core.demo.stage import USER, Stage
from bridge_core.demo.synapse_venv import SetupError, ensure_synapse
from bridge_core.demo.watching import watch

__all__ = ["INTERRUPTED", "DemoOptions", "run_demo"]

LIMIT = 60.0
"""Seconds that a headless run may take once Synapse is installed; stopping included."""
_STOPPING = 6.0
ENCRYPTED_LIMIT = 120.0
"""The same for a demo of encryption, whose search reads all that is stored."""
STORED = "stored"
"""What the search is called among the networks."""
_ECHO = "echo"
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was asked for. Without `directory` a temporary folder is used, and removed unless something failed."""

    headless: bool = False
    json: bool = False
    directory: Path | None = None
    networks: Collection[str] = ()
    required: Collection[str] = ()
    servers: Mapping[str, str] = field(default_factory=dict)
    encrypted: bool = False
    """In encrypted rooms, with an encrypted client, and then a search for it in what is stored."""


async def run_demo(options: DemoOptions, write: WriteFiles, screen: Screen) -> int:
    """Run it; the exit status: 0, 1 when something failed, 130 when it was interrupted before it was judged.

    SIGINT and SIGTERM end it in good order. With `json` the report is the only thing on standard output.
    """
    report = Report(frozenset(options.required))
    if options.encrypted:
        demos, broken = _in_encrypted_rooms(options)
        report.stored = NetworkReport(STORED, "what is stored")
    else:
        demos, broken = load_demos(options.networks, options.servers)
    for name in sorted({*demos, *broken}):
        report.networks[name] = NetworkReport(name, error=broken.get(name, ""))
    interrupted = False
    missing = sorted(report.required - demos.keys())
    if missing:
        report.error = (
            f"there is no demo of {', '.join(missing)}, which is required; there is: {', '.join(sorted(demos))}"
        )
    elif broken or not demos:
        report.error = "nothing was started"
    else:
        with _folder(options.directory) as (directory, keep):
            stage = Stage(directory, demos, write, screen, encrypted=options.encrypted)
            interrupted = await _until_signal(_Demo(stage, report, options, screen))
            keep(not interrupted and not report.ok)
            if not interrupted and not report.ok:
                report.error = report.error or "not everything was seen as it should be"
                screen.failure(f"Logs and data are kept in {directory}")
    _tell(report, options, screen)
    if interrupted:
        return INTERRUPTED if options.headless else 0
    return 0 if report.ok else 1


class _Demo:
    """One run. The stage is always stopped."""

    def __init__(self, stage: Stage, report: Report, options: DemoOptions, screen: Screen) -> None:
        self._stage = stage
        self._report = report
        self._options = options
        self._screen = screen

    async def run(self) -> None:
        """Show it, until interrupted unless headless. Failures are in the report."""
        try:
            await ensure_synapse(self._screen.progress)
        except (SetupError, OSError) as error:
            self._report.error = f"Synapse cannot be installed: {error}"
            return
        if self._options.encrypted:
            try:
                await ensure_nio(self._screen.progress)
            except (SetupError, OSError) as error:
                self._report.error = f"matrix-nio, the encrypted client, cannot be installed: {error}"
                return
        began = time.monotonic()
        limit = ENCRYPTED_LIMIT if self._options.encrypted else LIMIT
        bound = asyncio.timeout(limit - _STOPPING)
        try:
            async with bound:
                await self._start()
                await self._converse()
                if not self._options.headless:
                    bound.reschedule(None)
                    await self._stay()
        except (DemoError, OSError) as error:  # a TimeoutError is an OSError
            late = isinstance(error, TimeoutError) and bound.expired()
            self._report.error = f"the demo did not end within {limit:g} s" if late else str(error)
        finally:
            await self._stage.stop()
            self._report.seconds = time.monotonic() - began

    async def _start(self) -> None:
        reports = self._report.networks
        await self._stage.start_networks(reports)
        for one in reports.values():
            if one.error:
                self._screen.failure(one.error)
        if not self._stage.demos:
            raise DemoError("no network could be started")
        await self._stage.start_bridge()

    async def _converse(self) -> None:
        self._screen.say()
        stored = self._report.stored
        if stored is None:
            await asyncio.gather(*(self._one(name) for name in self._stage.demos))
        else:
            proof = await self._stage.proof()
            await self._look(proof.before(), stored)
            if stored.ok:  # what cannot be found in the clear would not be found at all
                await asyncio.gather(*(self._one(name) for name in self._stage.demos))
                await self._look(proof.after(), stored)
        self._screen.say()

    async def _look(self, steps: list[Step], stored: NetworkReport) -> None:
        await play(steps, stored, lambda: _any_trouble(self._stage), lambda step: self._screen.step(STORED, step))

    async def _one(self, name: str) -> None:
        report = self._report.networks[name]
        try:
            scene = await self._stage.scene(name)
        except DemoError as error:
            report.error = self._stage.trouble(name) or str(error)
        else:
            await hold(
                self._stage.demos[name],
                scene,
                report,
                lambda: self._stage.trouble(name),
                lambda step: self._screen.step(name, step),
            )
        if report.error:
            self._screen.failure(f"{name}: {report.error}")
        elif not report.ok:
            self._screen.failure(f"{name}: the bridge's log is {self._stage.bridge.directory / 'bridge.log'}")

    async def _stay(self) -> None:
        stage, say = self._stage, self._screen.say
        say("Join in, from any client on this machine:")
        say(f"  Matrix  homeserver {stage.synapse.url}   user {USER}   password {stage.password}")
        for name, demo in stage.demos.items():
            say(f"          room {stage.alias(name)}  <->  {name} {demo.portal_chat}")
        for demo in stage.demos.values():
            for line in demo.where():
                say(f"  {line}")
        say("Everything runs until Ctrl-C; what is said in the rooms appears here.")
        say()
        if stage.matrix is not None:
            await watch(stage.matrix, self._screen, lambda: _any_trouble(stage))


def _any_trouble(stage: Stage) -> str | None:
    return next((words for name in stage.demos if (words := stage.trouble(name)) is not None), None)


def _in_encrypted_rooms(options: DemoOptions) -> tuple[dict[str, NetworkDemo], dict[str, str]]:
    """As `load_demos`: those that can be held there, the echo network's among them. Others are broken only if named."""
    others = set(options.networks) - {_ECHO}
    demos, broken = load_demos(others, options.servers) if others or not options.networks else ({}, {})
    for name in others & demos.keys():
        if not demos[name].in_encrypted_rooms:
            broken[name] = f"the demo of {name} is not held in encrypted rooms"
    demos = {name: demo for name, demo in demos.items() if demo.in_encrypted_rooms}
    if not options.networks or _ECHO in options.networks:
        demos[_ECHO] = EchoDemo()
    return demos, broken


async def _until_signal(demo: _Demo) -> bool:
    """Run it, or until SIGINT or SIGTERM ends it; whether one did. It stops in order either way."""
    loop = asyncio.get_running_loop()
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if not asked:  # a second Ctrl-C must not cut the stopping short
            asked = True
            work.cancel()

    async with asyncio.TaskGroup() as group:
        work = group.create_task(demo.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
    return asked


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[tuple[Path, "_Keep"]]:
    """The folder to use, and a function that says whether to keep it. A given one must be empty or new."""
    keep = _Keep()
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise FileExistsError(f"{given} is not empty: the demo begins with a folder of its own")
        yield given.resolve(), keep
        return
    path = Path(tempfile.mkdtemp(prefix="matrix-bridge-demo-"))
    try:
        yield path, keep
    finally:
        if not keep.wanted:
            shutil.rmtree(path, ignore_errors=True)


class _Keep:
    """Whether a temporary folder is still of use."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, wanted: bool) -> None:
        self.wanted = wanted


def _tell(report: Report, options: DemoOptions, screen: Screen) -> None:
    if options.json:
        print(json.dumps(report.as_json(), ensure_ascii=False), flush=True)
    for name in report.missing():
        screen.failure(f"{name} is required, and could not be started")
    if report.error:
        screen.failure(report.error)
    stored = {} if report.stored is None else {STORED: report.stored}
    for name, one in {**report.networks, **stored}.items():
        if one.steps:
            good = sum(step.ok for step in one.steps)
            screen.say(f"{name} ({one.server}): {good} of {len(one.steps)} steps went well")
        elif one.error:
            screen.failure(f"{name}: {one.error}")
    if options.headless:
        screen.say(f"{'ok' if report.ok else 'FAILED'} in {report.seconds:.1f} s")
