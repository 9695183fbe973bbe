"""What a process has used: CPU seconds of all its threads, and its memory (Linux)."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process in KiB: resident, and its share of what is mapped by several (proportional)."""

    rss: int
    pss: int


def cpu_seconds(pid: int) -> float:
    """Give user and system seconds of all threads, ended ones included. Raises OSError when it is gone.

    Source: proc(5), fields 14 and 15 of stat; a tick is 10 ms, so measure seconds, not milliseconds.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """Give user and system seconds of a process and its children, those that have ended too."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(int(field) for field in fields[11:15])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(used.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """Give the memory of a process; the proportional share needs permission, else it equals the resident."""
    values: dict[str, int] = {}
    for name in ("smaps_rollup", "status"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text()
        except PermissionError:
            continue
        for line in text.splitlines():
            key, _, value = line.partition(":")
            words = value.split()
            if len(words) == 2 and words[1] == "kB":
                values.setdefault(key, int(words[0]))
    rss = values.get("VmRSS", values.get("Rss", 0))
    return Memory(rss, values.get("Pss", rss))


async def settled(pid: int, seconds: float = 10.0) -> float:
    """Wait until the process uses no more than 2 % of a core (at most ``seconds``) and give its CPU seconds."""
    deadline = time.monotonic() + seconds
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        now = cpu_seconds(pid)
        if now - before <= 0.01:
            return now
        before = now
    return before


def fsync_ms(folder: Path, rounds: int = 100) -> tuple[float, float]:
    """Give median and 99th percentile of writing 4 KiB and syncing it, in ms. Blocks."""
    path = folder / "fsync.probe"
    times: list[float] = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(rounds):
            os.write(handle, b"x" * 4096)
            started = time.perf_counter()
            os.fsync(handle)
            times.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(handle)
        path.unlink()
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]
