"""Ports that are given out, across calls and processes."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bridge_core.demo import ports
from bridge_core.demo.ports import free_port


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A book of this test's own, and so few ports that chance would give one twice."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ports, "_PORTS", range(31_900, 32_000))
    monkeypatch.setattr(ports, "_TRIES", 100)


def test_a_port_is_given_once() -> None:
    """However often one asks, and with no server listening on any, no port comes twice."""
    given = [free_port() for _ in range(60)]
    assert len(set(given)) == 60


def test_one_that_is_listened_on_is_not_given() -> None:
    """A port taken by a program that never asked is left to it."""
    first = free_port()
    (Path(tempfile.gettempdir()) / f"matrix-bridge-ports-{os.getuid()}.json").unlink()
    with socket.create_server(("127.0.0.1", first)):
        assert first not in {free_port() for _ in range(60)}


def test_what_a_dead_process_was_given_is_free_again(tmp_path: Path) -> None:
    """All ports were given to a process that has ended: there are still some."""
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    book = tmp_path / f"matrix-bridge-ports-{os.getuid()}.json"
    book.write_text(json.dumps({port: int(dead.stdout) for port in range(31_900, 32_000)}))
    assert free_port() in range(31_900, 32_000)
    book.write_text(json.dumps({port: os.getpid() for port in range(31_900, 32_000)}))
    with pytest.raises(OSError, match="no free port"):
        free_port()


def test_a_book_cut_off_by_a_kill_is_begun_again(tmp_path: Path) -> None:
    """Half a file is no reason to fail."""
    (tmp_path / f"matrix-bridge-ports-{os.getuid()}.json").write_text('{"319')
    assert free_port() in range(31_900, 32_000)
