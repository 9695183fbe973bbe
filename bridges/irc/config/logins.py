"""How Matrix users log in to accounts of their own on the network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from bridges.irc.config.section import Seconds, Section, one_line

_Service = Annotated[str, Field(pattern=r"^[A-Za-z\[\]\\`_^{|}][^\s,!*?:]{0,63}$")]


class Logins(Section):
    """Accounts of Matrix users at the network's services."""

    enabled: bool = Field(
        default=True,
        description="Whether Matrix users may give the bridge the password of an account, or a "
        "certificate for it. Both are sealed in the database.",
    )
    nickserv: _Service | None = Field(
        default="NickServ",
        description="Where the server has no SASL, the password is told to this service, over TLS only; null: nowhere.",
    )
    services: tuple[_Service, ...] = Field(
        default=("NickServ", "ChanServ", "HostServ", "MemoServ", "AuthServ"),
        max_length=50,
        description="To whom the commands that users have sent at each connection may be addressed.",
    )
    wait: Seconds = Field(
        default=10, description="How long channels wait for a login after the connection, where SASL did not do it."
    )

    @field_validator("services")
    @classmethod
    def _printable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one_line(one) for one in value)
