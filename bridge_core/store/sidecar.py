"""A small file outside of the database that tells whether the database was replaced by an older copy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the database had reached when the file was written last."""

    run: int
    last_entry: int


class Sidecar:
    """The file at `path`. Losing it loses only the warning, so it is written without ceremony."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def beside(cls, database: Path) -> Sidecar:
        """`<database>.seen`."""
        return cls(database.with_name(database.name + ".seen"))

    def seen(self) -> Seen | None:
        """What was noted last; None when there is no such note."""
        try:
            data = json.loads(self._path.read_text())
            return Seen(int(data["run"]), int(data["last_entry"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            _log.warning("sidecar_unreadable", file=self._path.name)
            return None

    def write(self, run: int, last_entry: int) -> None:
        """Note; a full disk is not a reason to stop."""
        new = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps({"run": run, "last_entry": last_entry}))
            new.replace(self._path)
        except OSError as error:
            _log.warning("sidecar_not_written", error=error.strerror)
