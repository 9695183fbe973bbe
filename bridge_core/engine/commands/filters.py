"""Commands about which chats may have portals."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.filters import Filter, Filters, Verdict
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission

TOPIC = "Moderation"


class FilterCommands:
    """filter allow, filter deny, filter remove, filter list."""

    def __init__(self, commands: Commands, filters: Filters, networks: Networks) -> None:
        self._filters = filters
        self._networks = networks
        admin, arguments = Permission.ADMIN, "NETWORK PATTERN..."
        commands.add(
            Command("filter allow", arguments, "chats that alone may have new portals", admin, self._allow, TOPIC),
            Command("filter deny", arguments, "chats that may have no new portals", admin, self._deny, TOPIC),
            Command("filter remove", arguments, "take a filter back", admin, self._remove, TOPIC),
            Command("filter list", "", "the filters there are", admin, self._list, TOPIC),
        )

    async def _allow(self, call: Call) -> Answer:
        return await self._add(call, Verdict.ALLOW)

    async def _deny(self, call: Call) -> Answer:
        return await self._add(call, Verdict.DENY)

    async def _add(self, call: Call, verdict: Verdict) -> Answer:
        one = Filter(self._network(call), verdict, call["pattern"])
        await self._filters.add(one, call.sender)
        return Answer(f"New portals on {one.network}: {verdict.value} {one.pattern}.", _data(one))

    async def _remove(self, call: Call) -> Answer:
        await self._filters.remove(self._network(call), call["pattern"], call.sender)
        return Answer("The filter is gone.")

    async def _list(self, call: Call) -> Answer:
        found = self._filters.all()
        lines = [f"{one.network}: {one.verdict.value} {one.pattern}" + " (configured)" * fixed for one, fixed in found]
        data = [{**_data(one), "configured": fixed} for one, fixed in found]
        return Answer("\n".join(lines) or "There are no filters: every chat may have a portal.", {"filters": data})

    def _network(self, call: Call) -> NetworkId:
        network = NetworkId(call["network"])
        if self._networks.get(network) is None:
            known = ", ".join(sorted(one.id for one in self._networks))
            raise RejectedError(f"there is no network {network}; there are: {known}")
        return network


def _data(one: Filter) -> dict[str, object]:
    return {"network": one.network, "verdict": one.verdict.value, "pattern": one.pattern}
