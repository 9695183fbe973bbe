"""A bridge as a process of its own between real servers: started, killed at will, and its books read at the end."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from ruamel.yaml import YAML
from sqlalchemy import create_engine, delete, func, select

from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, http_answers
from bridge_core.engine.ports import Direction
from bridge_core.journal.audit import Audit, audit
from bridge_core.store.engines import parse
from bridge_core.store.tables import ENTRY_PENDING, journal_dedupe, journal_entry, txn
from bridge_core.testing.faults import KILL_AT
from registration.namespaces import Template
from tests.crash.forked import ForkedProcess
from tests.crash.gates import FaultyProxy, Gate
from tests.crash.report import Books, Outage, Verdict, read_notices
from tests.crash.site import TOKENS, Ircd, Site
from tests.crash.talk import IrcSpeaker, Load, MatrixSpeaker
from tests.harness import write_config

BOT_NICK = "brdg"


class Rig:
    """One bridge with a folder, a channel and a room of its own. `network` is irc, or echo where no server is needed.

    `gate` puts a TCP gate between the bridge and the IRC server, `faulty` a proxy that makes faults before Synapse.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        network: str = "irc",
        unknown: str = "report",
        database: str | None = None,
        gate: bool = False,
        faulty: bool = False,
        server: str = "inspircd",
        busy_timeout: str = "10s",
        members: str = "lazy",
    ) -> None:
        number = next(site.numbers)
        self.site = site
        self.folder = folder / f"bridge{number}"
        self.folder.mkdir()
        self.network = network
        self.unknown = unknown
        self.members = members
        self.channel = f"#c{number}" if network == "irc" else f"c{number}"
        self.nick = f"talker{number}"
        self.ircd: Ircd = site.ngircd if server == "ngircd" else site.ircd
        self.gate = Gate(self.ircd.port) if gate else None
        self.proxy = FaultyProxy(site.synapse.url) if faulty else None
        self.health_port = free_port()
        self.kills = 0
        self.verdicts: list[Verdict] = []
        self.outages: list[Outage] = []
        self.database = database or f"sqlite:///{self.folder / 'bridge.db'}"
        self._write(busy_timeout)
        self.child: ChildProcess = ForkedProcess(
            ["bridge_core.cli.main", "run", "-c", str(self.folder / "config.yaml")],
            log=self.folder / "bridge.log",
            directory=self.folder,
        )
        self.room = ""
        self.alice = MatrixClient(site.synapse.url, site.token)
        self.irc: IrcSpeaker | None = None

    def _write(self, busy_timeout: str) -> None:
        irc: dict[str, Any] = {}
        if self.network == "irc":
            irc = {
                "server": "127.0.0.1",
                "port": self.gate.port if self.gate else self.ircd.port,
                "tls": False,
                "nick": BOT_NICK,
                "rate": 0,
                "connect_rate": 0,
                "hybrid": {"puppet": "always"},
                # Told at each joining, it would stand in the books as delivered.
                "channels": {"invite_only": "ignore", "moderated": False},
                "reconnect_min": 0.3,
                "reconnect_max": 1,
                "messages": {"merge": False},  # each line is counted
            }
        common = {"portals": [self.channel], "unknown": self.unknown, "members": self.members}
        network = {"type": self.network, **common, **irc}
        path = write_config(
            self.folder,
            self.proxy.url if self.proxy else self.site.synapse.url,
            {self.network: network},
            port=self.site.port,
            tokens=TOKENS,
            database=self.database,
            health={"listen": f"127.0.0.1:{self.health_port}"},
            logging={"level": "info"},
        )
        config = YAML(typ="safe").load(path)
        config["database"]["busy_timeout"] = busy_timeout
        path.write_text(json.dumps(config, indent=1))

    async def __aenter__(self) -> Self:
        try:
            await self.alice.open()
            if self.gate is not None:
                await self.gate.open()
            if self.proxy is not None:
                await self.proxy.start()
            if self.network == "irc":
                self.irc = IrcSpeaker(self.ircd.host, self.ircd.port, self.nick, self.channel)
                await self.irc.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"the end of the bridge's log:\n{self.child.tail()}\n")
            shutil.copytree(self.folder, Path(tempfile.gettempdir()) / "crash-test-bridge", dirs_exist_ok=True)
        await self.close()

    async def close(self) -> None:
        """Ends everything that belongs to this rig."""
        self.child.kill()
        await self.alice.close()
        if self.irc is not None:
            await self.irc.close()
        if self.gate is not None:
            await self.gate.shut()
        if self.proxy is not None:
            await self.proxy.stop()

    # The bridge's life

    async def start(self, *, kill_at: str = "") -> None:
        """Starts the bridge and waits until it is ready and in the channel, which ends an outage.

        With `kill_at` (a fault point and how often it is passed) it may be dead when this returns.
        """
        at = time.time()
        await self.begin(kill_at)
        async with asyncio.timeout(60):
            while not (await self._ready() and self.joined(at)):
                if not self.child.running:
                    assert kill_at, f"the bridge ended: {self.child.tail()}"
                    return
                await asyncio.sleep(0.02)
        self.back()

    async def begin(self, kill_at: str = "") -> None:
        """Starts the bridge and waits for nothing."""
        self.child.environment = {KILL_AT: kill_at} if kill_at else {}
        await self.child.start(_at_once, timeout=60)

    async def start_without_homeserver(self) -> None:
        """Starts the bridge and waits until it is in the channel, whatever the homeserver does."""
        at = time.time()
        await self.begin()
        async with asyncio.timeout(60):
            while not self.joined(at):
                assert self.child.running, self.child.tail()
                await asyncio.sleep(0.02)
        self.back()

    def waiting_for_matrix(self) -> int:
        """Entries from the network that the journal holds and that have not ended, read beside the running bridge."""
        engine = create_engine(parse(self.database))
        try:
            with engine.connect() as connection:
                entry = journal_entry.c
                mine = (entry.state == ENTRY_PENDING) & (entry.direction == int(Direction.TO_MATRIX))
                query = select(func.count()).where(mine & (entry.network == self.network))
                return connection.scalar(query) or 0
        finally:
            engine.dispose()

    async def _ready(self) -> bool:
        return await http_answers(f"http://127.0.0.1:{self.health_port}/health/ready")

    def joined(self, since: float) -> bool:
        """Whether the bridge's nick has joined the channel after a time."""
        return self.irc is None or self.irc.joined_since(BOT_NICK, since)

    def away(self, what: str) -> None:
        """From now on lines on IRC may not reach the bridge."""
        self.outages.append(Outage(what, time.time()))

    def back(self) -> None:
        """The bridge hears the channel again."""
        for outage in self.outages:
            if outage.end is None:
                outage.end = time.time()

    async def wait_back(self, since: float, timeout: float = 60) -> None:
        """Waits until the bridge is ready and has joined the channel after `since`."""
        async with asyncio.timeout(timeout):
            while not (self.joined(since) and await self._ready()):
                await asyncio.sleep(0.02)
        self.back()

    def kill(self) -> None:
        """SIGKILL, at once."""
        self.away("bridge")
        self.kills += 1
        self.child.kill()

    async def wait_killed(self, timeout: float = 60) -> None:
        """Waits until the bridge has killed itself at its fault point. Fails when it ended otherwise."""
        async with asyncio.timeout(timeout):
            while self.child.running:
                await asyncio.sleep(0.005)
        self.away("bridge")
        self.kills += 1
        child = self.child._child
        assert child is not None and child.returncode == -signal.SIGKILL, (
            f"the bridge ended with {child and child.returncode}, not at its fault point: {self.child.tail()}"
        )
        self.child.kill()

    async def stop(self) -> None:
        """Stops the bridge in good order."""
        self.away("stop")
        status = await self.child.stop(timeout=60)
        assert status == 0, f"stopped with status {status}: {self.child.tail()}"

    async def enter(self) -> None:
        """Alice joins the portal's room (the bridge makes it when asked for the alias)."""
        self.room = await self.alice.join(self.alias)

    async def enter_when_made(self, timeout: float = 60) -> None:
        """As `enter`, while the room is being made: its alias is there before its join rules are."""
        async with asyncio.timeout(timeout):
            while not self.room:
                try:
                    await self.enter()
                except MatrixError as error:
                    if error.status not in (403, 404):
                        raise
                    await asyncio.sleep(0.05)

    @property
    def alias(self) -> str:
        """The portal's alias."""
        localpart = Template("_{network}_{id}").localpart(self.network, self.channel, "hs.test")
        return f"#{localpart}:hs.test"

    async def exists(self) -> bool:
        """Whether there is a room under the portal's alias, asked while the bridge is not running."""
        assert not self.child.running
        try:
            await self.alice.request("GET", f"/v3/directory/room/{quote(self.alias, safe='')}")
        except MatrixError as error:
            if error.status == 404:
                return False
            raise
        return True

    # Talking

    def load(self, tag: str, *, burst: int = 4, pause: float = 0.12) -> Load:
        """Speakers for both sides, with numbers of their own under a tag."""
        assert self.room
        tag = f"{tag}{len(self.verdicts)}"
        if self.irc is not None:
            self.irc.tag = tag
            self.irc.said = []
        return Load(MatrixSpeaker(self.alice, self.room, tag), self.irc, burst, pause)

    async def warm_up(self) -> None:
        """Room, ghost and puppet exist when it returns: one message each way has crossed."""
        await self.start()
        await self.enter()
        load = self.load("warm")
        await load.matrix.say()
        if self.irc is not None:
            self.irc.say()
        await self.finish(load)

    async def settle(self, load: Load, timeout: float = 60) -> Verdict:
        """Waits, with the bridge running, until nothing is on its way any more; what was seen.

        A last message is said on each side. What is said in order arrives in order, so what has not come when
        they have, and is not reported until the time is up, will not come.
        """
        await load.matrix.say()
        if load.irc is not None:
            load.irc.say()
        began, pause = time.monotonic(), 0.1
        while True:
            verdict = await self.look(load)
            if verdict.complete() or time.monotonic() - began > timeout:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 1.0)  # reading the room takes the time in which Synapse would fill it
        self.verdicts.append(verdict)
        sys.stderr.write(f"{verdict.numbers()}\n")
        return verdict

    async def finish(self, load: Load, timeout: float = 60) -> Verdict:
        """Settles, stops the bridge, and checks everything; what was seen."""
        verdict = await self.settle(load, timeout)
        verdict.check()
        await self.stop()
        self.books().check(self.verdicts)
        assert not self.failures(), self.failures()
        return verdict

    async def rename(self) -> None:
        """The speaker on IRC takes a nick that the bridge has never seen."""
        irc = self.irc
        assert irc is not None and irc.witness is not None
        irc.nick = f"fresh{next(self.site.numbers)}"
        irc.witness.raw(f"NICK {irc.nick}")
        await irc.witness.sync()

    async def look(self, load: Load) -> Verdict:
        """What both sides have seen up to now."""
        events = await self.alice.messages(self.room)
        heard = load.irc.heard(load.matrix.tag) if load.irc is not None else []
        return Verdict.of(load, events, heard, self.outages, self.unknown, self.network)

    # The books

    def books(self) -> Books:
        """The journal's books, read from the database of the stopped bridge, without the bridge."""
        assert not self.child.running
        engine = create_engine(parse(self.database))
        try:
            with engine.connect() as connection:
                found: Audit = audit(connection)
        finally:
            engine.dispose()
        return Books(found, self.network)

    def forget_transactions(self) -> None:
        """Makes the stopped bridge not expect the number after its last one: other bridges took it meanwhile.

        It would take the hole for transactions that Synapse has left behind, and after the vain search for them look
        for no others for a while.
        """
        assert not self.child.running
        engine = create_engine(parse(self.database))
        try:
            with engine.begin() as connection:
                connection.execute(delete(txn))
        finally:
            engine.dispose()

    def given(self) -> set[str]:
        """Which of the room's events the bridge has ever stored: known by their digests."""
        engine = create_engine(parse(self.database))
        try:
            with engine.connect() as connection:
                keys = {bytes(key) for (key,) in connection.execute(select(journal_dedupe.c.key))}
        finally:
            engine.dispose()
        events = {said.event for verdict in self.verdicts for said in verdict.said_matrix}
        return {event for event in events if blake2b(b"event\x1f" + event.encode(), digest_size=16).digest() in keys}

    async def notices(self) -> list[Any]:
        """All the bot has said in the room."""
        return read_notices(await self.alice.messages(self.room))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines of an event, over all runs."""
        found = []
        for line in self.child.log.read_text(errors="replace").splitlines():
            if event in line and line.startswith("{"):
                entry = json.loads(line)
                if entry.get("event") == event:
                    found.append(entry)
        return found

    def failures(self) -> list[str]:
        """Log lines that no crash explains: errors of the program itself."""
        text = self.child.log.read_text(errors="replace")
        return [line for line in text.splitlines() if "Traceback" in line or '"entry_failed"' in line]


async def _at_once() -> bool:
    return True


def signal_child(child: ChildProcess, number: signal.Signals) -> None:
    """Signals the bridge."""
    os.kill(child.pid, number)
