"""Logging in to networks and out of them: one service for the management room and the HTTP API."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, UserId
from bridge_core.api.login import AskUser, Complete, FieldKind, LoginField, LoginFlow, LoginProcess, LoginStep
from bridge_core.api.network import Login
from bridge_core.api.optional import LogsIn, LogsOut
from bridge_core.engine import gate
from bridge_core.engine.intake import CURSORS, cursor_name
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

PATIENCE: Final = 600.0
"""Seconds that a login waits for its user, or for the network that they were shown something for."""
_CALL: Final = 60.0
"""Seconds that an adapter gets for one step."""
_LONGEST: Final = 4096
"""Characters of one answer."""
_AT_ONCE: Final = 500
"""Logins under way; the next ones are asked to come later."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a login is. `id` names it to whoever goes on with it; `step` is what the user is to do now."""

    id: str
    network: NetworkId
    step: LoginStep

    def data(self) -> dict[str, Any]:
        """As JSON, without what is to be kept of the account."""
        step = self.step
        head = {"id": self.id, "network": self.network}
        if isinstance(step, AskUser):
            fields = [
                {"id": one.id, "label": one.label, "kind": one.kind.value, "choices": list(one.choices)}
                for one in step.fields
            ]
            return {**head, "type": "ask", "text": step.text, "fields": fields}
        if isinstance(step, Complete):
            return {**head, "type": "complete", "login": step.login, "name": step.name}
        return {**head, "type": "show", "text": step.text, "code": step.code}


@dataclass(slots=True)
class _Running:
    """A login under way."""

    id: str
    user: UserId
    network: Network
    process: LoginProcess
    step: LoginStep | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    expiry: "asyncio.Task[None] | None" = None


Check = Callable[[UserId, NetworkId], None]
"""Whether a user may have one more login. Raises RejectedError in words for them."""


class Logins:
    """Drives login flows, one per user at a time, and ends logins. What is under way is lost with the process."""

    def __init__(
        self,
        networks: Networks,
        permissions: Permissions,
        portals: PortalIndex,
        kv: KeyValues,
        clock: Clock,
        tasks: TaskOwner,
        forget: Callable[[PortalRow], Awaitable[None]],
    ) -> None:
        self._networks = networks
        self._permissions = permissions
        self._portals = portals
        self._kv = kv
        self._clock = clock
        self._tasks = tasks
        self._forget = forget
        self._checks: list[Check] = []
        self._running: dict[UserId, _Running] = {}

    def check(self, check: Check) -> None:
        """Ask `check` before each login begins and ends well, too."""
        self._checks.append(check)

    def flows(self, network: NetworkId) -> tuple[LoginFlow, ...]:
        """The ways to log in to a network; none where it has no logins, or makes them without asking."""
        found = self._networks.get(network)
        return found.meta.login_flows if found is not None and isinstance(found.connector, LogsIn) else ()

    def running(self, user: UserId) -> Progress | None:
        """The login that a user is in the middle of."""
        found = self._running.get(user)
        return Progress(found.id, found.network.id, found.step) if found is not None and found.step else None

    async def begin(self, user: UserId, network: NetworkId, flow: str = "") -> Progress:
        """Begin a flow (the only one there is when none is named); one that the user had begun before is given up.

        Raises RejectedError in words for the user.
        """
        found = self._networks.get(network)
        if found is not None:
            self._allow(user, network)
        flows = {one.id: one for one in self.flows(network)}
        if found is None or not flows or not isinstance(found.connector, LogsIn):
            raise RejectedError(f"there are no logins on {network}")
        if not flow and len(flows) > 1:
            raise RejectedError(f"say how: {', '.join(f'{one.id} ({one.name})' for one in flows.values())}")
        if flow and flow not in flows:
            raise RejectedError(f"there is no way to log in called {flow[:40]}; there are: {', '.join(flows)}")
        await self.cancel(user)
        if len(self._running) >= _AT_ONCE:
            raise RejectedError("too many people are logging in; try again in a few minutes")
        process = found.connector.login(user, flow or next(iter(flows)))
        running = self._running[user] = _Running(secrets.token_urlsafe(12), user, found, process)
        async with running.lock:
            return await self._go_on(running, process.start(), _CALL, last=True)

    async def submit(self, user: UserId, login: str, answers: Mapping[str, str]) -> Progress:
        """Answer an `AskUser`. Raises RejectedError in words for the user, who may then answer again."""
        running = self._of(user, login)
        async with running.lock:
            self._of(user, login)
            if not isinstance(running.step, AskUser):
                raise RejectedError("nothing was asked")
            return await self._go_on(running, running.process.submit(_checked(running.step, answers)), _CALL)

    async def wait(self, user: UserId, login: str) -> Progress:
        """Wait for the network after a `ShowAndWait`, at most ten minutes. Raises RejectedError when it ended."""
        running = self._of(user, login)
        async with running.lock:
            self._of(user, login)
            if running.step is None or isinstance(running.step, AskUser | Complete):
                raise RejectedError("there is nothing to wait for")
            return await self._go_on(running, running.process.wait(), PATIENCE, last=True)

    async def cancel(self, user: UserId, login: str = "") -> bool:
        """Give up the login that the user is in the middle of; False when there is none (with this id)."""
        running = self._running.get(user)
        if running is None or (login and running.id != login):
            return False
        await self._end(running)
        return True

    async def stop(self) -> None:
        """Give up all that is under way: the bridge stops."""
        await asyncio.gather(*(self._end(running) for running in list(self._running.values())))

    async def log_out(self, network: NetworkId, login: LoginId) -> bool:
        """End a login there and here: its session, its connection, its private chats, and all that was kept of it.

        False when there is none. What is stopped half-way is done by calling it again.
        """
        found = self._networks.get(network)
        if found is None or found.login_of(login) is None:
            return False
        client = found.client_with(login)
        if isinstance(client, LogsOut):
            try:
                async with asyncio.timeout(_CALL):
                    await client.log_out()
            except Exception as error:  # an adapter's; the user wants to be rid of it all the same
                log.warning("logout_incomplete", network=network, login=login, error=repr(error))
        await self._forget_chats(network, login)
        await found.remove(login)
        await self._kv.put(CURSORS, cursor_name(network, login), None)
        await self._forget_chats(network, login)  # what came in between
        return True

    async def _forget_chats(self, network: NetworkId, login: LoginId) -> None:
        for portal in self._portals.of_network(network):
            if portal.receiver == login:
                await self._forget(portal)

    def _allow(self, user: UserId, network: NetworkId) -> None:
        if self._permissions.of(user) < Permission.USER:
            raise RejectedError("you may not log in on this bridge")
        for check in self._checks:
            check(user, network)

    def _of(self, user: UserId, login: str) -> _Running:
        running = self._running.get(user)
        if running is None or running.id != login:
            raise RejectedError("that login is over; begin again")
        self._allow(user, running.network.id)
        return running

    async def _go_on(
        self, running: _Running, work: Awaitable[LoginStep], seconds: float, *, last: bool = False
    ) -> Progress:
        """The next step. An error ends the login when the step cannot be done again (`last`)."""
        if running.expiry is not None:
            running.expiry.cancel()
        try:
            async with asyncio.timeout(seconds):
                step = await work
            if isinstance(step, Complete):
                await self._complete(running, step)
        except BaseException as error:
            words = _words(error)
            if last or words is None or self._running.get(running.user) is not running:
                await self._end(running)
            else:
                self._expect(running)
            if words is None:
                raise
            if not isinstance(error, BridgeError | TimeoutError):
                log.exception("login_failed", network=running.network.id)
            raise RejectedError(words) from error
        if self._running.get(running.user) is not running:
            raise RejectedError("that login is over; begin again")
        running.step = step
        if isinstance(step, Complete):
            del self._running[running.user]
        else:
            self._expect(running)
        return Progress(running.id, running.network.id, step)

    async def _complete(self, running: _Running, step: Complete) -> None:
        if self._running.get(running.user) is not running:
            return
        self._allow(running.user, running.network.id)
        name = " ".join(step.name.split())[:255] or step.login
        login = Login(LoginId(step.login), running.user, name, False, step.settings, step.secrets)
        cursor = await self._kv.get(CURSORS, cursor_name(running.network.id, login.id))
        await running.network.add(login, cursor)

    def _expect(self, running: _Running) -> None:
        running.expiry = self._tasks.spawn(self._expire(running), "login-expiry")

    async def _expire(self, running: _Running) -> None:
        await self._clock.sleep(PATIENCE)
        running.expiry = None  # this task, which must not cancel itself
        await self._end(running)

    async def _end(self, running: _Running) -> None:
        if self._running.get(running.user) is running:
            del self._running[running.user]
        if running.expiry is not None:
            running.expiry.cancel()
        try:
            async with asyncio.timeout(_CALL):
                await running.process.cancel()
        except Exception as error:  # an adapter's: it is over all the same
            log.warning("login_not_cancelled", network=running.network.id, error=repr(error))


class LoggedInOnly(gate.Check):
    """Nothing crosses into a private chat whose login is no more: it would make its room anew."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        if portal.receiver is None:
            return
        network = self._networks.get(portal.network)
        if network is not None and network.login_of(portal.receiver) is None:
            raise RejectedError("this private chat belongs to a login that is no more")


def _checked(step: AskUser, answers: Mapping[str, str]) -> dict[str, str]:
    """The answers to what was asked, and nothing else. Raises RejectedError."""
    checked: dict[str, str] = {}
    for one in step.fields:
        checked[one.id] = checked_answer(one, answers.get(one.id, ""))
    return checked


def checked_answer(asked: LoginField, answer: str) -> str:
    """An answer in one line, one of the choices where there are some. Raises RejectedError in words for the user."""
    if not answer or len(answer) > _LONGEST or not answer.isprintable():
        raise RejectedError(f"{asked.label}: write it in one line")
    if asked.kind is FieldKind.CHOICE and answer not in asked.choices:
        raise RejectedError(f"{asked.label}: say one of {', '.join(asked.choices)}")
    return answer


def _words(error: BaseException) -> str | None:
    """What the user is told of an error; None for what is not to be told but passed on."""
    if isinstance(error, RejectedError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "the network did not answer in time"
    if isinstance(error, BridgeError):
        return f"the network cannot be asked now: {error}"
    return "internal error, see the log" if isinstance(error, Exception) else None
