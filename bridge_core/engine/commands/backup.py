"""The command about the backup of keys."""

from typing import Protocol

from bridge_core.api.errors import RejectedError
from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.encryption import OwnWords
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.permissions import Permission

_OFF = "Keys are not put into a backup (encryption.backup)."


class BackupState(Protocol):
    """How the backup is: `crypto.backup.BackupStatus`."""

    @property
    def version(self) -> str: ...
    @property
    def saved(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def trouble(self) -> str: ...
    @property
    def settled(self) -> bool: ...


class Backup(Protocol):
    """The backup of keys: `crypto.backup.KeyBackup`."""

    async def status(self) -> BackupState:
        """How it is."""

    async def renew(self) -> str:
        """Begin a new one, and put all into it; its version."""


class BackupCommands:
    """encryption backup. `backup` is None where there is none. `own` as `commands.encryption.OwnWords`."""

    def __init__(self, commands: Commands, topic: str, backup: Backup | None, own: OwnWords) -> None:
        self._backup = backup
        commands.add(
            Command(
                "encryption backup",
                "[ACTION]",
                "how the backup of keys is (status), or begin another one (reset)",
                Permission.ADMIN,
                own(self._run),
                topic,
                asks=own(self._follows),
            )
        )

    async def _follows(self, call: Call) -> str:
        if self._backup is None or call.get("action").lower() != "reset":
            return ""
        version = (await self._backup.status()).version
        kept = f"The present one (version {version})" if version else "The one that is there, if any,"
        return (
            "I shall begin an empty backup and put all keys into it that I have. "
            f"{kept} stays at the homeserver, but I never read it again: keys that are only there are lost to me."
        )

    async def _run(self, call: Call) -> Answer:
        action = call.get("action", "status").lower()
        if action not in {"status", "reset"}:
            raise UsageError("say encryption backup status, or encryption backup reset")
        if self._backup is None:
            if action == "reset":
                raise RejectedError(_OFF)
            return Answer(_OFF, {"backup": False})
        if action == "reset":
            version = await self._backup.renew()
            return Answer(f"There is a new backup (version {version}). All keys are put into it.", {"version": version})
        state = await self._backup.status()
        if state.trouble and not state.version:
            lines = []
        elif state.settled:
            lines = [
                f"Backup of keys: version {state.version}." if state.version else "There is no backup of keys yet.",
                f"Sessions in it: {state.saved}; not in it yet: {state.waiting}.",
            ]
        else:
            lines = ["The backup of this recovery key is being taken up: ask again in a minute."]
        if state.trouble:
            lines.append(f"It does not work: {state.trouble}.")
        data = {
            "backup": True,
            "version": state.version,
            "saved": state.saved,
            "waiting": state.waiting,
            "trouble": state.trouble,
            "settled": state.settled,
        }
        return Answer("\n".join(lines), data)
