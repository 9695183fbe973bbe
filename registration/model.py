"""The registration file as a model (Application Service API v1.19, section Registration)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from registration.document import DocumentError, read_document


class RegistrationError(Exception):
    """A registration file with mistakes; `problems` names each with its file and line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Namespace(BaseModel):
    """One pattern of ids the appservice is interested in."""

    model_config = ConfigDict(extra="allow", frozen=True)

    exclusive: bool = Field(description="Whether nobody else may create ids that match.")
    regex: str = Field(description="Regular expression, matched from the start of the whole id.")

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return value


class Namespaces(BaseModel):
    """The three lists of patterns."""

    model_config = ConfigDict(extra="allow", frozen=True)

    users: Annotated[list[Namespace], Field(description="User ids; only local users ever match.")] = []
    aliases: Annotated[list[Namespace], Field(description="Room aliases.")] = []
    rooms: Annotated[list[Namespace], Field(description="Room ids.")] = []

    @field_validator("users", "aliases", "rooms", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return [] if value is None else value  # `users:` with nothing behind it is common in the wild


class Registration(BaseModel):
    """A registration file; keys unknown here are kept as they are.

    Unstable keys carry the prefix of their proposal: MSC2409 (before it became `receive_ephemeral`
    in v1.13), MSC3202 (device lists and key counts in transactions), MSC4190 (devices without login).
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    id: str = Field(min_length=1, description="Unique name of the appservice; never changed afterwards.")
    url: str | None = Field(description="Where the homeserver reaches the bridge; null sends nothing.")
    as_token: str = Field(min_length=1, repr=False, description="The bridge's token towards the homeserver.")
    hs_token: str = Field(min_length=1, repr=False, description="The homeserver's token towards the bridge.")
    sender_localpart: str = Field(min_length=1, description="Localpart of the bridge's bot.")
    namespaces: Namespaces
    rate_limited: bool | None = Field(default=None, description="Whether ghosts are rate limited; the bot never is.")
    protocols: list[str] | None = Field(default=None, description="Networks offered to third-party lookups.")
    receive_ephemeral: bool | None = Field(default=None, description="Whether typing, receipts, presence are sent.")
    push_ephemeral: bool | None = Field(
        default=None,
        alias="de.sorunome.msc2409.push_ephemeral",
        description="Former name of receive_ephemeral; with both set each of these events arrives twice.",
    )
    msc3202: bool | None = Field(
        default=None,
        alias="org.matrix.msc3202",
        description="Whether device lists and one-time key counts come with transactions.",
    )
    msc4190: bool | None = Field(
        default=None,
        alias="io.element.msc4190",
        description="Whether devices are made without a login.",
    )

    @property
    def ephemeral(self) -> bool:
        """Whether typing, receipts and presence (and to-device messages) are asked for, by either name."""
        return bool(self.receive_ephemeral or self.push_ephemeral)


def load(path: Path) -> Registration:
    """Read and validate a registration file; raises `RegistrationError` naming every mistake at once."""
    try:
        document = read_document(path)
    except DocumentError as error:
        raise RegistrationError([str(error)]) from error
    try:
        return Registration.model_validate(document.data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        lines = document.lines([one["loc"] for one in found])
        problems = []
        for one, line in zip(found, lines, strict=True):
            key = ".".join(str(part) for part in one["loc"])
            words = "is missing" if one["type"] == "missing" else one["msg"].removeprefix("Value error, ")
            problems.append(f"{path}:{line or 1}: {key}: {words}")
        raise RegistrationError(problems) from error
