"""What Matrix moderators do to people of a channel, as commands."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import Membership
from bridge_core.api.ids import ChatId, RemoteUserId
from bridge_core.api.matrix import MatrixMember, MatrixPower
from bridges.irc.sanctions import mask_of
from bridges.irc.state import NetworkState


@dataclass(frozen=True, slots=True)
class Command:
    """One kind of command: its lines' parameters, and lines that follow whatever becomes of them."""

    name: str
    lines: Sequence[Sequence[str]]
    then: Sequence[Sequence[str]] = ()


class Moderation:
    """Makes the commands."""

    def __init__(self, state: NetworkState) -> None:
        self._state = state

    def command(self, act: MatrixMember | MatrixPower) -> Command | None:
        """The command; None when nothing has to be done on IRC. Raises UnsupportedError in words for the sender."""
        if isinstance(act, MatrixPower):
            return self._powers(act)
        if act.remote is None:
            return None  # Matrix users leave by their own connections
        reason = " ".join((act.reason or f"by {act.sender.name}").split())[:200]
        match act.membership:
            case Membership.KICK | Membership.LEAVE:
                there = self._there(act.remote, act.chat) or [self._nick(act.remote)]
                return Command("KICK", [[act.chat, nick, reason] for nick in there])
            case Membership.BAN:
                kicks = [("KICK", act.chat, nick, reason) for nick in self._there(act.remote, act.chat)]
                return Command("MODE", [[act.chat, "+b", self._mask(act.remote, act.chat)]], kicks)
            case Membership.UNBAN:
                # Of what was set by hand nothing is known: the mask that a ban would have now is as good as any.
                masks = self._state.sanctions.masks(act.chat, act.remote) or (self._mask(act.remote, act.chat),)
                return Command("MODE", [[act.chat, "-b", mask] for mask in masks])
            case Membership.INVITE:
                return Command("INVITE", [[self._nick(act.remote), act.chat]])
            case _:
                return None

    def _mask(self, remote: RemoteUserId, chat: ChatId) -> str:
        state = self._state
        mask = mask_of(remote, chat, state.roster, state.faces, state.isupport)
        if mask is None:
            raise RejectedError("they are in none of the channels now, so it is not known whom to ban")
        return mask

    def _powers(self, act: MatrixPower) -> Command | None:
        if not self._state.config.ops_from_matrix:
            raise UnsupportedError("powers given on Matrix are not passed on to this IRC network")
        changes: list[tuple[str, str]] = []
        for remote, level in act.remote:
            person = self._state.roster.of(remote)
            held = person.channels.get(act.chat, "") if person is not None else ""
            nick, wanted = self._nick(remote), self._mode(level)
            changes += [(f"-{mode}", nick) for mode in held if mode in self._given() and mode != wanted]
            if wanted is not None and wanted not in held:
                changes.append((f"+{wanted}", nick))
        if not changes:
            return None
        most = self._state.isupport.modes_per_line or 12
        groups = [changes[start : start + most] for start in range(0, len(changes), most)]
        return Command(
            "MODE", [[act.chat, "".join(mode for mode, _ in group), *(nick for _, nick in group)] for group in groups]
        )

    def _given(self) -> str:
        """The modes that are given and taken: those of the highest rank stay with their owners."""
        return "".join(mode for mode in "ohv" if mode in self._state.isupport.prefix_modes)

    def _mode(self, level: int) -> str | None:
        powers = self._state.config.mode_powers
        fitting = [mode for mode in self._given() if 0 < powers.get(mode, 0) <= level]
        return max(fitting, key=lambda mode: powers[mode], default=None)

    def _there(self, remote: RemoteUserId, chat: ChatId) -> list[str]:
        """The nicks of somebody's connections in a channel: an account may have several."""
        return [person.nick for person in self._state.roster.all_of(remote) if chat in person.channels]

    def _nick(self, remote: RemoteUserId) -> str:
        nick = self._state.nick_of_person(remote)
        if nick is None:
            raise RejectedError("they are in none of the channels now, so their nick is not known")
        return nick
