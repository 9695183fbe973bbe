"""encryption: what it costs beside plain rooms, in one bridge, and what a room of many devices takes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bridge_process import BOT, DOMAIN
from benchmarks.cpu import settled
from benchmarks.key_peers import BridgeDevice, Device, Speaker, household, talks
from benchmarks.options import SQLITE, Options, names
from benchmarks.processes import BenchmarkError
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

#: Channels with a plain room, and as many with an encrypted one; one more has the room of many devices.
CHANNELS = 10
#: Ghosts that speak in each channel.
NICKS = 5
#: People in each room. Each has one device.
PEOPLE = 2
#: Rounds of plain and encrypted in turn.
ROUNDS = 4
#: New ghosts in each channel.
NEW = 10
#: Devices of each user of the room of many devices.
DEVICES = 2

_CONTENT = {"algorithm": "m.megolm.v1.aes-sha2"}


@dataclass(slots=True)
class Town:
    """The rig with its people."""

    run: Rig
    plain: list[str]
    secret: list[str]
    crowded: str
    devices: dict[str, Device] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def of(self, channels: list[str]) -> list[tuple[str, str]]:
        """(Room, user) of the people in channels."""
        wanted = set(channels)
        return [(self.run.rooms[channel], user) for channel, user in self.run.layout.members() if channel in wanted]

    async def settle_in(self, crowd: int) -> None:
        """Encrypt the rooms, and let everybody have their keys on the homeserver, before anything is said."""
        run = self.run
        rooms = [run.rooms[channel] for channel in (*self.secret, self.crowded)]
        await run.matrix.ask("state", rooms=rooms, type="m.room.encryption", content=_CONTENT)
        rows: list[tuple[Any, ...]] = []
        for _, user in self.of(self.secret):
            (self.devices[user],), more = household(user, 1)
            rows += more
        await run.matrix.ask("keys", devices=rows)
        crowded = [f"@many{number}:{DOMAIN}" for number in range(crowd // DEVICES)]
        for start in range(0, len(crowded), 100):
            rows = [row for user in crowded[start : start + 100] for row in household(user, DEVICES, once=5)[1]]
            await run.matrix.ask("keys", devices=rows)
        await run.matrix.ask("members", members=[(run.rooms[self.crowded], user) for user in crowded])
        await run.matrix.ask("watch", users=[user for _, user in self.of(self.secret)])
        await run.enter_users()

    async def bot(self) -> BridgeDevice:
        """The bot's device, once its keys are there."""
        user = f"@{BOT}:{DOMAIN}"
        for _ in range(600):
            answer = await self.run.matrix.ask("device", user=user)
            if answer["device_keys"].get(user):
                return BridgeDevice.read(user, answer)
            await asyncio.sleep(0.1)
        raise BenchmarkError("the bridge's bot has no keys")

    async def said_on_irc(self, channels: list[str], count: int, nicks: int = NICKS, first: int = 0) -> float:
        """CPU seconds of ``count`` lines from IRC."""
        run = self.run
        before = await settled(run.pid)
        await run.matrix.ask("reset")
        await run.irc.ask("say", channels=channels, nicks=nicks, count=count, first=first, wait=False)
        await run.matrix.wait(count, 600)
        return await settled(run.pid) - before

    async def read_by_people(self) -> None:
        """Raise BenchmarkError unless every message of the last measurement can be read, once, in its order."""
        matrix = self.run.matrix
        kept = await matrix.ask("to_device")
        events = (await matrix.ask("sealed"))["events"]
        read = 0
        for room, user in self.of(self.secret):
            device = self.devices[user]
            device.hear(kept["inboxes"].get(user, []))
            tally = device.read(event for event in events if event[0] == room)
            read += tally.count
            if tally.doubled or tally.reordered or tally.other:
                raise BenchmarkError(f"{tally.doubled} doubled, {tally.reordered} reordered in {room}")
        if not events or read != len(events) * PEOPLE:
            raise BenchmarkError(f"{read} of {len(events)} messages for {PEOPLE} people each were read")


async def encryption(options: Options) -> Result:
    """CPU per message in plain and in encrypted rooms by turns, new ghosts, and a key share to many devices."""
    if options.bare_only:
        return {}
    channels = names(2 * CHANNELS + 1)
    layout = Layout(channels, users=2 * CHANNELS * PEOPLE, used=2 * CHANNELS)
    async with rig(layout, encryption="appservice") as run:
        await run.start_bridge(SQLITE)
        town = Town(run, channels[:CHANNELS], channels[CHANNELS:-1], channels[-1])
        await town.settle_in(options.devices)
        result = await _from_irc(town, options.count)
        result |= await _to_irc(town, options.count)
        result |= await _new_ghosts(town)
        result |= await _crowd(town)
    return result


async def _from_irc(town: Town, count: int) -> Result:
    used = {"plain": 0.0, "encrypted": 0.0}
    kinds = {"plain": town.plain, "encrypted": town.secret}
    some = max(count // ROUNDS, CHANNELS)
    for channels in kinds.values():
        await town.said_on_irc(channels, CHANNELS * NICKS * 2)
    await town.read_by_people()
    for _ in range(ROUNDS):
        for kind, channels in kinds.items():
            used[kind] += await town.said_on_irc(channels, some)
        await town.read_by_people()
    each = {kind: seconds * 1000 / (some * ROUNDS) for kind, seconds in used.items()}
    return {
        "i2m_plain_cpu_ms_per_msg": each["plain"],
        "i2m_cpu_ms_per_msg": each["encrypted"],
        "i2m_over_plain_ms": each["encrypted"] - each["plain"],
    }


async def _to_irc(town: Town, count: int) -> Result:
    run = town.run
    # Each speaker claims a one-time key of its own.
    speakers = [Speaker(town.devices[user], room, await town.bot()) for room, user in town.of(town.secret)]
    numbers = itertools.count(1)
    some = max(count // ROUNDS, len(speakers))
    routes = town.of(town.plain)

    async def plain(wanted: int) -> float:
        await run.irc.ask("reset")
        before = await settled(run.pid)
        await run.matrix.ask("push", routes=routes, count=wanted)
        await run.irc.wait(wanted, 600)
        return await settled(run.pid) - before

    async def encrypted(wanted: int) -> float:
        said = talks(speakers, wanted, numbers)
        await run.irc.ask("reset")
        before = await settled(run.pid)
        for talk in said:
            await run.matrix.ask("events", events=talk.events, to_device=talk.to_device)
        await run.irc.wait(wanted, 600)
        return await settled(run.pid) - before

    used = [0.0, 0.0]
    for round_ in range(ROUNDS + 1):
        wanted = some if round_ else 2 * len(speakers)  # the first makes the puppets
        for at, measured in enumerate((plain, encrypted)):
            seconds = await measured(wanted)
            stats = await run.irc.ask("stats")
            if stats["doubled"] or stats["count"] != wanted:  # two connections in a channel have no common order
                raise BenchmarkError(f"not {wanted} messages, each once: {stats}")
            used[at] += seconds if round_ else 0.0
    each = [seconds * 1000 / (some * ROUNDS) for seconds in used]
    return {
        "m2i_plain_cpu_ms_per_msg": each[0],
        "m2i_cpu_ms_per_msg": each[1],
        "m2i_over_plain_ms": each[1] - each[0],
    }


async def _new_ghosts(town: Town) -> Result:
    """The first message of ghosts that have never spoken, in plain rooms and in encrypted ones."""
    count = CHANNELS * NEW
    plain = await town.said_on_irc(town.plain, count, NEW, first=100)
    secret = await town.said_on_irc(town.secret, count, NEW, first=200)
    await town.read_by_people()
    return {
        "new_ghost_plain_cpu_ms": plain * 1000 / count,
        "new_ghost_cpu_ms": secret * 1000 / count,
        "new_ghost_over_plain_ms": (secret - plain) * 1000 / count,
    }


async def _crowd(town: Town) -> Result:
    """One line to a room of many devices: by a first ghost, by a second, and by the first in its next session."""
    result: Result = {}
    run, channels = town.run, [town.crowded]
    for name, first, lines in (("first", 0, 1), ("second", 1, 1), ("rest", 0, 99), ("next", 0, 1)):
        before = await settled(run.pid)
        sent = (await run.matrix.ask("to_device"))["sent"].get("m.room.encrypted", 0)
        await run.matrix.ask("reset")
        started = time.monotonic()
        await run.irc.ask("say", channels=channels, nicks=1, count=lines, first=first)
        await run.matrix.wait(lines, 300)
        took = time.monotonic() - started
        used = await settled(run.pid) - before
        if name != "rest":
            given = (await run.matrix.ask("to_device"))["sent"].get("m.room.encrypted", 0) - sent
            result |= {f"{name}_share_s": took, f"{name}_share_cpu_s": used, f"{name}_share_devices": given}
    return result
