"""Commands about the bridge itself: what it can do and how it is."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex


class GeneralCommands:
    """help, status, list."""

    def __init__(self, commands: Commands, networks: Networks, portals: PortalIndex) -> None:
        self._commands = commands
        self._networks = networks
        self._portals = portals
        commands.add(
            Command("help", "[COMMAND...]", "what I can do", Permission.RELAY, self._help),
            Command("status", "", "how the networks are", Permission.RELAY, self._status),
            Command("list", "NETWORK", "bridged chats of a network", Permission.USER, self._list, "Rooms"),
        )

    async def _help(self, call: Call) -> Answer:
        usable = self._commands.usable(call.level)
        wanted = "-".join(call.get("command").lower().split())
        if wanted:
            named = [one for one in usable if one.key == wanted or one.key.startswith(f"{wanted}-")]
            # By the short name as well, which stands without its network's.
            usable = named or [one for one in usable if f"-{wanted}-" in f"{one.key}-"]
            if not usable:
                raise RejectedError("there is no such command for you; help alone lists those there are")
        lines: list[str] = []
        topic = ""
        for command in usable:
            if command.topic != topic:
                topic = command.topic
                lines.append(f"{topic}:")
            lines.append(f"  {command.usage} - {command.help}{' (asks back)' * (command.asks is not None)}")
        return Answer(
            "\n".join(lines), {"commands": [{"name": one.key, "usage": one.usage, "help": one.help} for one in usable]}
        )

    async def _status(self, call: Call) -> Answer:
        lines, data = [], []
        for network in self._networks:
            meta, state = network.meta, network.states.get(None)
            how = f"{state.status.value} {state.reason}".strip() if state else "not connected yet"
            files = ", and files of encrypted rooms with whoever has their links" if network.options.opens_files else ""
            lines.append(f"{network.id} ({meta.name}): {how}; plaintext exists on the {meta.plaintext.value}{files}")
            data.append({"network": network.id, "name": meta.name, "state": state.status.value if state else None})
        return Answer("\n".join(lines) or "No networks are configured.", {"networks": data})

    async def _list(self, call: Call) -> Answer:
        network = self._networks.known(NetworkId(call["network"]))
        rows = sorted(self._portals.of_network(network), key=lambda row: row.chat)
        rows = [row for row in rows if row.receiver is None]
        shown = [f"{row.chat}: {', '.join(row.rooms) or 'no room yet'}" for row in rows[:100]]
        more = [f"... and {len(rows) - 100} more"] if len(rows) > 100 else []
        return Answer(
            "\n".join(shown + more) or "None.",
            {"portals": [{"chat": row.chat, "rooms": list(row.rooms)} for row in rows]},
        )
