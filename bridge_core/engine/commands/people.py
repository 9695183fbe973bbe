"""Commands about what single people may, and whether they take part at all."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.engine.commands.command import Answer, Call, Command, NotAllowedError, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.networks import Networks
from bridge_core.engine.optouts import ALL, OptOuts
from bridge_core.engine.permissions import Permission
from bridge_core.engine.quotas import NAMES, Quotas

TOPIC = "You"


class PeopleCommands:
    """opt-out, opt-in, quota."""

    def __init__(self, commands: Commands, optouts: OptOuts, quotas: Quotas, networks: Networks) -> None:
        self._optouts = optouts
        self._quotas = quotas
        self._networks = networks
        relay = Permission.RELAY
        commands.add(
            Command("opt-out", "[NETWORK]", "bridge nothing of you any more", relay, self._opt_out, TOPIC),
            Command("opt-in", "[NETWORK]", "bridge what you say again", relay, self._opt_in, TOPIC),
            Command(
                "quota",
                "[USER] [NAME] [VALUE]",
                "what you may use; admins see and set that of others (VALUE: a number, none, default)",
                relay,
                self._quota,
                TOPIC,
            ),
        )

    async def _opt_out(self, call: Call) -> Answer:
        network = self._network(call)
        await self._optouts.opt_out(call.sender, network)
        where = "any network" if network == ALL else network
        text = f"Nothing of you is bridged to {where} from now on. Say !bridge opt-in to take part again."
        return Answer(text, self._state(call))

    async def _opt_in(self, call: Call) -> Answer:
        network = self._network(call)
        await self._optouts.opt_in(call.sender, network)
        left = sorted(self._optouts.of(call.sender))
        text = "What you say is bridged again" + (f", but not to {', '.join(left)}." if left else ".")
        return Answer(text, self._state(call))

    async def _quota(self, call: Call) -> Answer:
        user = UserId(call.get("user", call.sender))
        if user != call.sender and call.level is not Permission.ADMIN:
            raise NotAllowedError("only admins see what others may use")
        if not user.startswith("@") or ":" not in user:
            raise UsageError(f"{user[:80]!r} is no user")
        name = call.get("name")
        if name:
            await self._set(call, user, name)
        used = self._quotas.used(user)
        lines = []
        for one, limit in self._quotas.limits(user).items():
            so_far = f"{used[one]} of " if one in used else ""
            lines.append(f"{one}: {so_far}{'no limit' if limit is None else limit}")
        return Answer("\n".join(lines), {"user": user, "limits": self._quotas.limits(user), "used": used})

    async def _set(self, call: Call, user: UserId, name: str) -> None:
        if call.level is not Permission.ADMIN:
            raise NotAllowedError("only admins set quotas")
        if name not in NAMES:
            raise UsageError(f"there is no quota {name[:40]!r}; there are: {', '.join(NAMES)}")
        value = call.get("value")
        if value in ("none", "default"):
            await self._quotas.set(user, name, None, default=value == "default")
        elif value.isascii() and value.isdecimal() and len(value) <= 18:
            await self._quotas.set(user, name, int(value))
        else:
            raise UsageError("the value is a number, none or default")

    def _network(self, call: Call) -> NetworkId:
        network = NetworkId(call.get("network", ALL))
        if network != ALL and self._networks.get(network) is None:
            known = ", ".join(sorted(one.id for one in self._networks))
            raise RejectedError(f"there is no network {network}; there are: {known}")
        return network

    def _state(self, call: Call) -> dict[str, object]:
        return {"out": sorted(self._optouts.of(call.sender))}
