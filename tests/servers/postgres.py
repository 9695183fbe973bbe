"""PostgreSQL with a cluster of its own; never the one the machine runs."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, ProcessDiedError, Unprivileged
from tests.servers.server import MissingServerError, Server

__all__ = ["Postgres"]

_USER = "bridge"


class Postgres(Server):
    """A cluster in `directory`, reached over loopback by the user `bridge` without a password.

    It refuses to run as root, so it then runs as `postgres` (or `nobody`), who must be able to enter
    `directory`: not below a folder only root may enter, such as pytest's tmp_path.
    `durable=False` turns fsync off: quick, and right for every test but those of power loss.
    """

    def __init__(self, directory: Path, *, durable: bool = False, config: dict[str, str] | None = None) -> None:
        super().__init__(directory, free_port())
        self.durable = durable
        self.config = dict(config or {})
        self.log_file = directory / "postgres.log"

    def url(self, database: str = "postgres") -> str:
        """Returns a database's address as libpq and SQLAlchemy 2.1 read it."""
        return f"postgresql://{_USER}@{self.host}:{self.port}/{database}"

    async def create_database(self, name: str | None = None) -> str:
        """Makes an empty UTF-8 database and returns its url."""
        name = name or f"test_{secrets.token_hex(6)}"
        async with await psycopg.AsyncConnection.connect(self.url(), autocommit=True) as connection:
            await connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(psycopg.sql.Identifier(name))
            )
        return self.url(name)

    async def start(self) -> None:
        """Starts and returns when queries are answered; makes the cluster first (1-2 s) when there is none."""
        if not (self.directory / "data" / "PG_VERSION").exists():
            await asyncio.to_thread(self._initialise)
        self._process = self._prepare()
        for attempt in range(10):
            try:
                await self._process.start(self._answers, timeout=60)
                return
            except ProcessDiedError as error:
                # After SIGKILL the children of the former server need a moment to notice and end.
                if "still in use" not in str(error) or attempt == 9:
                    raise
                await asyncio.sleep(0.2)

    async def _answers(self) -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(self.url(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _prepare(self) -> ChildProcess:
        options = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            **({} if self.durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
            **self.config,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return ChildProcess(
            [str(_binaries() / "postgres"), "-D", str(self.directory / "data"), *settings],
            log=self.log_file,
            directory=self.directory,
            account=_account(),
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, not waited for
        )

    def _initialise(self) -> None:
        account = _account()
        self.directory.mkdir(parents=True, exist_ok=True)
        if account is not None:
            os.chown(self.directory, account.uid, account.gid)
        done = subprocess.run(
            [
                str(_binaries() / "initdb"),
                *("--pgdata", str(self.directory / "data"), "--username", _USER, "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            ],
            capture_output=True,
            text=True,
            cwd=self.directory,
            timeout=120,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise ProcessDiedError(f"initdb failed: {done.stdout}{done.stderr}")


def _binaries() -> Path:
    """Returns the folder of `postgres` and `initdb`, the newest when there are several."""
    found = [Path(path).resolve().parent] if (path := shutil.which("postgres")) else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parts[-2], reverse=True)
    for folder in found:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise MissingServerError(
        "postgres is not installed: apt-get install -y postgresql (./test does it without starting a service)"
    )


def _account() -> Unprivileged | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Unprivileged(entry.pw_uid, entry.pw_gid)
    raise MissingServerError("root cannot run postgres, and there is no user `postgres` or `nobody`")
