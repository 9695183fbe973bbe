"""`matrix-bridge run` where it must not start."""

import subprocess
import sys
from pathlib import Path

from bridge_core.demo.ports import free_port
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from tests.harness import SECRET, write_config


async def test_a_database_of_another_secret_is_left_alone(tmp_path: Path) -> None:
    """The bridge ends with status 1 and words for the admin, without any secret, and nothing was changed."""
    config = write_config(tmp_path, "http://127.0.0.1:1", {"echo": {"type": "echo"}}, port=free_port())
    database = Database(DatabaseSettings(f"sqlite:///{tmp_path / 'bridge.db'}"), Seal("the first secret"))
    await database.start()
    await database.stop()
    before = (tmp_path / "bridge.db").read_bytes()
    command = [sys.executable, "-m", "bridge_core.cli.main", "run", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert "sealed with another secret: set journal.secret to the one it was made with" in said
    assert "Traceback" not in said and SECRET not in said
    assert (tmp_path / "bridge.db").read_bytes() == before
