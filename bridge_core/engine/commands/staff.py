"""Commands of admins about what networks' staff did: the acts, and the blocks in force."""

from datetime import UTC, datetime

from bridge_core.api.ids import NetworkId
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.staffblocks import StaffBlocks
from bridge_core.engine.staffroom import StaffAudit

_SHOWN = 50


class StaffCommands:
    """staff acts, staff blocks."""

    def __init__(self, commands: Commands, networks: Networks, blocks: StaffBlocks, audit: StaffAudit) -> None:
        self._networks = networks
        self._blocks = blocks
        self._audit = audit
        admin, topic = Permission.ADMIN, "Moderation"
        commands.add(
            Command("staff acts", "NETWORK", "what the network's staff did here", admin, self._acts, topic),
            Command("staff blocks", "NETWORK", "whom the network's staff keep out", admin, self._list, topic),
        )

    async def _acts(self, call: Call) -> Answer:
        acts = await self._audit.all(self._networks.known(NetworkId(call["network"])))
        lines = [f"{_time(act.at)} {act.by}: {act.what}" for act in acts[:_SHOWN]]
        data = [{"at": act.at, "by": act.by, "what": act.what} for act in acts]
        return Answer("\n".join(lines) or "Nothing.", {"acts": data})

    async def _list(self, call: Call) -> Answer:
        blocks = self._blocks.all(self._networks.known(NetworkId(call["network"])))
        lines = [
            f"{one.mask}, by {one.by} at {_time(one.at)}{f': {one.reason}' if one.reason else ''}" for one in blocks
        ]
        data = [{"mask": one.mask, "by": one.by, "at": one.at, "reason": one.reason} for one in blocks]
        return Answer("\n".join(lines) or "Nobody is blocked.", {"blocks": data})


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
