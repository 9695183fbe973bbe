"""What the modes of a channel say of who may come in, speak, and know of it; told to the core when it changes."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.events import RemoteInfo
from bridge_core.api.ids import ChatId
from bridge_core.api.info import ChatInfo
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.modes import ModeKind, ModeLine
from bridges.irc.config.channels import Channels

_SECRET: Final = frozenset("sp")
_REGISTERED: Final = frozenset("rR")
"""Letters of "registered people only", where they are flags of channels (solanum r, InspIRCd and UnrealIRCd R)."""
_VOICED: Final = 1


@dataclass(frozen=True, slots=True)
class Regime:
    """The flags of a channel."""

    flags: frozenset[str] = frozenset()

    def after(self, line: ModeLine, *, fresh: bool = False) -> "Regime":
        """The flags after a MODE line; `fresh`: these are all (numeric 324)."""
        flags = set() if fresh else set(self.flags)
        for change in line.changes:
            if change.kind in (ModeKind.PREFIX, ModeKind.LIST):
                continue
            (flags.add if change.adding else flags.discard)(change.mode)
        return Regime(frozenset(flags))

    def closed(self, isupport: Isupport) -> bool:
        """Whether not everybody who knows the channel's name may come in."""
        registered = _REGISTERED & set(isupport.flag_modes)
        return bool(self.flags & ({"i", "k"} | registered))


class Regimes:
    """The flags of all channels that we are in."""

    def __init__(self) -> None:
        self._regimes: dict[ChatId, Regime] = {}
        self._told: dict[ChatId, RemoteInfo] = {}
        self._waiting: dict[ChatId, asyncio.Future[None]] = {}

    async def wait(self, chat: ChatId, timeout: float) -> Regime | None:
        """The flags of a channel once they are known; None when they are not after `timeout` seconds."""
        if chat not in self._regimes:
            waiting = self._waiting.get(chat)
            if waiting is None:
                waiting = self._waiting[chat] = asyncio.get_running_loop().create_future()
            await asyncio.wait((waiting,), timeout=timeout)
        return self._regimes.get(chat)

    def get(self, chat: ChatId) -> Regime | None:
        """The flags of a channel; None while they are not known."""
        return self._regimes.get(chat)

    def forget(self, chat: ChatId) -> None:
        """We are not in the channel any more."""
        self._regimes.pop(chat, None)

    def moved(self, chat: ChatId, new: ChatId) -> None:
        """The channel has another name; its flags stay."""
        regime = self._regimes.pop(chat, None)
        if regime is not None:
            self._regimes[new] = regime

    def gone(self, chat: ChatId) -> None:
        """The channel has no room any more: one that it gets later is to be told anew."""
        self.forget(chat)
        self._told.pop(chat, None)

    def clear(self) -> None:
        """Nothing is known any more."""
        self._regimes.clear()

    def all_of(self, chat: ChatId, line: ModeLine, isupport: Isupport, config: Channels) -> RemoteInfo | None:
        """All modes of a channel (numeric 324); what there is to tell."""
        return self._now(chat, Regime().after(line, fresh=True), isupport, config)

    def changed(self, chat: ChatId, line: ModeLine, isupport: Isupport, config: Channels) -> RemoteInfo | None:
        """A MODE line; what there is to tell. Nothing, as long as it is not known what held before."""
        before = self._regimes.get(chat)
        return None if before is None else self._now(chat, before.after(line), isupport, config)

    def _now(self, chat: ChatId, regime: Regime, isupport: Isupport, config: Channels) -> RemoteInfo | None:
        self._regimes[chat] = regime
        waiting = self._waiting.pop(chat, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        now = described(chat, regime, isupport, config)
        if self._told.get(chat) == now:
            return None
        self._told[chat] = now
        return now


def described(chat: ChatId, regime: Regime | None, isupport: Isupport, config: Channels) -> RemoteInfo:
    """The flags as the core knows them. While they are not known (None) nobody is let in unasked."""
    if regime is None:
        return RemoteInfo(chat, join_rule="invite" if config.invite_only != "ignore" else None)
    rule = None
    if config.invite_only != "ignore":
        rule = config.invite_only if regime.closed(isupport) else "public"
    speak = (_VOICED if "m" in regime.flags else 0) if config.moderated else None
    return RemoteInfo(chat, join_rule=rule, speak_power=speak, listed=_SECRET.isdisjoint(regime.flags))


def with_rules(info: ChatInfo, rules: RemoteInfo) -> ChatInfo:
    """A channel's description with its flags, as `described` has them."""
    return replace(info, join_rule=rules.join_rule, speak_power=rules.speak_power, listed=rules.listed)
