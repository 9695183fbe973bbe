"""Login as data: steps that the management room and the API both can show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias


class FieldKind(StrEnum):
    """What a user is asked for; `SECRET` is never logged or echoed."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 - a kind of field, not a secret
    ADDRESS = "address"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class LoginField:
    """One thing to ask for."""

    id: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoginFlow:
    """One way to log in."""

    id: str
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class AskUser:
    """Ask for these fields."""

    text: str
    fields: tuple[LoginField, ...]


@dataclass(frozen=True, slots=True)
class ShowAndWait:
    """Show something (a code, a link) and wait for the network."""

    text: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """Done: the account's id, its name, and what to keep of it (secrets are sealed)."""

    login: str
    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


LoginStep: TypeAlias = AskUser | ShowAndWait | Complete


class LoginProcess(Protocol):
    """One user's way through a flow. Each method may raise RejectedError with words for the user.

    After RejectedError from `submit` the same step may be answered again; from the others it ends the process.
    """

    async def start(self) -> LoginStep:
        """The first step."""

    async def submit(self, answers: Mapping[str, str]) -> LoginStep:
        """The step after these answers to an `AskUser`, by the ids of its fields."""

    async def wait(self) -> LoginStep:
        """The step after a `ShowAndWait`, once the network has it. The core gives up after a while and cancels."""

    async def cancel(self) -> None:
        """Give up; idempotent. A `wait` under way ends with an error. Not called after a `Complete` that was taken."""
