"""Opens the connections of a network's users in their order, and answers each refusal by what caused it."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId
from bridges.irc.bans import Bans
from bridges.irc.config import IrcConfig
from bridges.irc.endings import UNWANTED, Cause, Ending
from bridges.irc.schedule import Schedule, Stage, Turn, Urgency

log = structlog.get_logger(__name__)
_LONGEST: Final = 3600.0
"""Seconds that an address is held at most before it is tried again, bans apart."""
_IN_A_ROW: Final = 3
"""Refusals of different users from one address, without a success between, that are put down to the address."""
_TELL_EVERY: Final = 60.0


class _Row:
    """Refusals in a row of one address."""

    __slots__ = ("failures", "refusals", "throttles")

    def __init__(self) -> None:
        self.throttles = 0
        self.refusals = 0
        self.failures = 0


class Scheduler:
    """One per network: `ask` for a connection, then say what became of it."""

    def __init__(self, config: IrcConfig, bans: Bans) -> None:
        connects = config.connects
        self._config = config
        self._bans = bans
        self._schedule = Schedule(
            most=config.max_puppets,
            opening=connects.opening,
            waiting=connects.waiting,
            rate=config.connect_rate,
            burst=config.connect_burst,
            address_rate=connects.address_rate,
            address_burst=connects.address_burst,
        )
        self._schedule.reachable = False
        self._host: Host | None = None
        self._timer: asyncio.Handle | None = None
        self._rows: dict[str, _Row] = {}
        self._told_full = 0.0

    def start(self, host: Host) -> None:
        """Knows the time from now on, and of throttles before the restart: what it waited for it waits for still."""
        self._host = host
        for address, pause in self._bans.all_held().items():
            row = self._rows[address] = _Row()
            row.throttles = int(pause.kind) if pause.kind.isdigit() else 1
            self._schedule.hold(address, self._now() + self._bans.left(pause))

    def reachable(self, reachable: bool) -> None:
        """Whether the observer is connected: while it is not, its tries are the only ones."""
        self._schedule.reachable = reachable
        self._soon()

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many wait, are being opened, and are open."""
        return self._schedule.waiting, self._schedule.opening, self._schedule.open

    @property
    def waiting(self) -> dict[str, int]:
        """How many wait, by what for (`Schedule.waiting_by`)."""
        return self._schedule.waiting_by(self._now()) if self._host is not None else {}

    # Asking

    def banned(self, login: LoginId, address: str) -> str | None:
        """Why the network does not want a user, or the address that is theirs alone; None when it is not known to."""
        reason = self._bans.of(login)
        ban = self._bans.of_address(address) if address and reason is None else None
        return ban.reason if ban is not None else reason

    def ask(
        self, address: str, urgency: Urgency, used_at: float, go: Callable[[], None], not_before: float = 0.0
    ) -> Turn | None:
        """A place in the line for one connection from an address of ours; None while the line is full.

        `go` is called when it may be opened, not before the monotonic time `not_before`; `opened` or `failed` follows.
        """
        banned = self._bans.of_address(address)
        if banned is not None:
            return None
        turn = Turn(address, urgency, used_at, go)
        if not self._schedule.ask(turn, not_before):
            now = self._now()
            if now - self._told_full > _TELL_EVERY or not self._told_full:
                self._told_full = now
                log.warning("irc_connect_line_full", network=self._network, waiting=self._schedule.waiting)
            return None
        self._soon()
        return turn

    def hurry(self, turn: Turn, urgency: Urgency, used_at: float) -> None:
        """Who waits spoke again."""
        self._schedule.hurry(turn, urgency, used_at)

    # What became of it

    def opened(self, turn: Turn) -> None:
        """The connection is open."""
        self._rows.pop(turn.address, None)
        self._schedule.opened(turn, self._now())
        self._soon()

    def gone(self, turn: Turn) -> None:
        """It is closed, or not wanted any more: its place is free. Idempotent."""
        self._schedule.gone(turn, self._now())
        self._soon()

    async def failed(self, turn: Turn, login: LoginId, ending: Ending) -> None:
        """It was refused, or ended by the other side: what follows for its user, its address and all."""
        opening = turn.stage is Stage.OPENING
        try:
            await self._follow(turn.address, login, ending, opening)
        except BridgeError as error:
            log.warning("irc_ban_not_stored", network=self._network, error=str(error))
        self.gone(turn)

    async def _follow(self, address: str, login: LoginId, ending: Ending, opening: bool) -> None:
        config, row, now = self._config, self._rows.setdefault(address, _Row()), self._now()
        match ending.cause:
            case Cause.THROTTLED:
                pause = min(_LONGEST, config.connects.throttle_pause * 2 ** min(row.throttles, 10))
                row.throttles += 1
                self._hold(address, now + pause, ending)
                await self._bans.hold(address, ending.reason, pause, row.throttles)
            case Cause.FULL:
                self._hold(address, now + config.connects.full_pause, ending, or_an_end=True)
            case Cause.SERVER_FULL:
                pause = min(config.reconnect_max, config.reconnect_min * 2 ** min(row.failures, 20))
                row.failures += 1
                self._schedule.hold_all(now + pause)
            case Cause.ADDRESS:
                await self._address_banned(address, login, ending, now)
            case cause if cause in UNWANTED:
                pause = config.connects.kill_pause if cause is Cause.KILLED else None
                await self._bans.ban(login, ending.reason, ending.ban, pause)
                row.refusals += opening
                if row.refusals >= _IN_A_ROW:
                    # Each further user would be banned as well, one connection after the other.
                    pause = min(_LONGEST, config.connects.throttle_pause * 2 ** min(row.refusals - _IN_A_ROW, 10))
                    self._hold(address, now + pause, ending)
            case Cause.LOST if opening:
                row.failures += 1
                if row.failures >= _IN_A_ROW:
                    pause = min(config.reconnect_max, config.reconnect_min * 2 ** min(row.failures - _IN_A_ROW, 20))
                    self._schedule.hold(address, now + pause)
            case _:
                pass

    async def _address_banned(self, address: str, login: LoginId, ending: Ending, now: float) -> None:
        """The network does not want an address: the user's own one is theirs, the common one is nobody's fault."""
        await self._bans.ban_address(address, ending.reason, ending.ban)
        log.warning(
            "irc_address_banned", network=self._network, address=address or "common", reason=ending.reason, user=login
        )
        self._schedule.hold(address, now + self._config.ban_pause)

    def _hold(self, address: str, until: float, ending: Ending, *, or_an_end: bool = False) -> None:
        log.warning(
            "irc_connects_held",
            network=self._network,
            address=address or "common",
            cause=ending.cause.value,
            reason=ending.reason,
            seconds=round(until - self._now()),
        )
        self._schedule.hold(address, until, or_an_end=or_an_end)

    async def forgive(self, login: LoginId | None = None) -> bool:
        """An admin knows better: the user, the bot, and every address may try again. Whether anything was banned."""
        addresses = await self._bans.forgive_addresses()
        user = login is not None and await self._bans.forgive(login)
        self._schedule.let_all_go(self._now())
        self._soon()
        return addresses or user

    # The timer

    def _soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_soon(self._run)

    def stop(self) -> None:
        """Nobody's turn comes any more."""
        self._schedule.reachable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now = self._now()
        for turn in self._schedule.due(now):
            turn.go()
        at = self._schedule.next_at(now)
        if at is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, at - now), self._run)

    def _now(self) -> float:
        assert self._host is not None, "the connector is not started"
        return self._host.clock.monotonic()

    @property
    def _network(self) -> str:
        return self._host.network if self._host is not None else ""
