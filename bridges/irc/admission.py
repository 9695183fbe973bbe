"""From the opening of a connection to the server's welcome, or its refusal."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from bridges.irc.access.approach import Approach
from bridges.irc.access.endpoints import is_loopback
from bridges.irc.agreed import Agreed
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.message import Line, LineError, parse
from bridges.irc.codec.serializer import UnsafeLine
from bridges.irc.dialing import ConnectError
from bridges.irc.endings import Cause, Ending, RefusedError
from bridges.irc.registration import Registration
from bridges.irc.state import NetworkState
from bridges.irc.transport import Connection

_LAST_WORDS: Final = 3.0
"""Seconds for which a server that refuses us may yet say in an ERROR why."""


class Admission(Agreed, ABC):
    """The part of a session that registers, once."""

    def __init__(
        self, state: NetworkState, connection: Connection, approach: Approach, registration: Registration
    ) -> None:
        super().__init__(state, connection, registration.caps, approach.address)
        self._approach = approach
        self._registration = registration
        self._registered: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def _welcomed(self) -> None:
        """The server has taken us: what it said is there, and nothing is sent yet."""

    @abstractmethod
    def _on_remark(self, line: Line) -> None:
        """The server wants something to be known."""

    @abstractmethod
    def _admitted(self) -> None:
        """Lines may be sent."""

    @property
    def isupport(self) -> Isupport:
        """What the server said of itself during registration."""
        return self._registration.isupport

    @property
    def told_away(self) -> bool:
        """Whether the server learnt during registration that the user is away."""
        return self._registration.told_away

    @property
    def secure(self) -> bool:
        """Whether nobody reads along: TLS, or a server on this machine."""
        return secure(self._approach)

    async def open(self) -> None:
        """Returns when registered, within `connect_timeout` seconds. Raises RefusedError; nothing is left open then."""
        timeout = self._state.config.connect_timeout
        self._registered = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._connection.open(timeout)
                if self._approach.preamble is not None:
                    self._connection.write(self._approach.preamble)
                for line in self._registration.start():
                    self._connection.write(line)
                await self._registered
        except TimeoutError:
            await self._connection.close(0.0)
            raise RefusedError(Ending(Cause.LOST, f"not welcomed within {timeout:g} seconds")) from None
        except ConnectError as error:
            self._state.access.failed(self._approach, error)
            raise RefusedError(Ending(Cause.LOST, str(error))) from None
        except UnsafeLine as error:
            self._registered = None
            await self._connection.close(0.0)
            raise RefusedError(Ending(Cause.CREDENTIALS, f"a configured name cannot be sent: {error}")) from None
        except BaseException as error:
            if isinstance(error, RefusedError) and error.ending.cause is Cause.SERVER_FULL:
                self._state.access.full(self._approach)
            await self._connection.close(0.0)
            raise
        finally:
            self._registered = None
            if not self.up:
                self._approach.gone()

    def _register(self, raw: bytes) -> None:
        """One line of registration."""
        registration, registered = self._registration, self._registered
        try:
            line = parse(raw, self._state.decode)
        except LineError:
            return
        if line.command in ("WARN", "NOTE"):
            self._on_remark(line)
        for answer in registration.receive(line):
            self._connection.write(answer)
        if registered is None or registered.done():
            return
        if line.command == "CAP" and (moved := self._moved(line)) is not None:
            registration.refuse(Ending(Cause.LOST, moved))
        if registration.refusal is not None:
            if registration.over:
                registered.set_exception(RefusedError(registration.refusal))
            elif self._patience is None:
                self._patience = self._loop.call_later(_LAST_WORDS, self._refused)
        elif registration.complete:
            self._welcomed()
            self._state.access.endpoints.worked(self._approach.endpoint)
            self.up = True
            if self._patience is not None:
                self._patience.cancel()
            self._admitted()
            registered.set_result(None)

    def _refused(self) -> None:
        """The server said that it does not want us, and then nothing more."""
        refusal, registered = self._registration.refusal, self._registered
        if refusal is not None and registered is not None and not registered.done():
            registered.set_exception(RefusedError(refusal))

    def _moved(self, line: Line) -> str | None:
        """Why capabilities that are offered demand another connection, or None."""
        told = line.param(1).upper() in ("LS", "NEW")
        return self._approach.offered(self.caps.available.get("sts")) if told else None

    def _turned_away(self, ending: Ending) -> bool:
        """The connection is gone; whether that was before the welcome, which `open` then says."""
        if self._registered is None or self._registered.done():
            return False
        self._registered.set_exception(RefusedError(self._registration.refusal or ending))
        return True

    def _left(self) -> None:
        """Gives back what the connection was made with."""
        self._approach.gone()
        if self._patience is not None:
            self._patience.cancel()


def secure(approach: Approach) -> bool:
    """Whether nobody reads along: TLS, or a server on this machine."""
    return approach.tls is not None or is_loopback(approach.host)
