"""Commands of every day: is it there, which chats are there, let me in and out, let somebody else in."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey, UserId
from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import UNLISTED, PortalIndex, own_rooms
from bridge_core.engine.store_ports import PortalRow

_SHOWN = 100


class EverydayCommands:
    """ping, chats, join, leave, invite."""

    def __init__(
        self, commands: Commands, networks: Networks, portals: PortalIndex, matrix: MatrixSide, clock: Clock
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        self._clock = clock
        user, topic = Permission.USER, "Rooms"
        commands.add(
            Command("ping", "", "whether I and the homeserver are there", Permission.RELAY, self._ping),
            Command(
                "chats",
                "[NETWORK]",
                "chats with rooms, and your private ones",
                user,
                self._chats,
                topic,
            ),
            Command("join", "NETWORK CHAT...", "be invited to the room of a bridged chat", user, self._join, topic),
            Command("leave", "", "be taken out of this bridged room", Permission.RELAY, self._leave, topic),
            Command("invite", "USER", "let me invite a user of Matrix to this bridged room", user, self._invite, topic),
        )

    async def _ping(self, call: Call) -> Answer:
        before = self._clock.now_ms()
        await self._matrix.profile(self._matrix.bot)
        took = self._clock.now_ms() - before
        return Answer(f"I am here. The homeserver answers in {took} ms.", {"homeserver_ms": took})

    async def _chats(self, call: Call) -> Answer:
        wanted = call.get("network")
        if wanted:
            self._networks.known(NetworkId(wanted))
        rows = sorted(
            (
                row
                for row in self._portals.all()
                if wanted in ("", row.network)
                and self._open_to(call.sender, row)
                and (call.level is Permission.ADMIN or not row.options.get(UNLISTED))
            ),
            key=lambda row: (row.network, row.chat),
        )
        lines = [f"{row.network}: {row.name or row.chat}{' (private)' * bool(row.receiver)}" for row in rows[:_SHOWN]]
        more = [f"... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        data = [{"network": row.network, "chat": row.chat, "rooms": list(row.rooms)} for row in rows]
        return Answer("\n".join(lines + more) or "None.", {"chats": data})

    async def _join(self, call: Call) -> Answer:
        network = NetworkId(call["network"])
        chat = self._networks.chat(network, call["chat"])
        found = self._networks.get(network)
        keys = [PortalKey(network, chat)]
        keys += [PortalKey(network, chat, one.id) for one in (found.logins(call.sender) if found is not None else [])]
        row = next((row for row in map(self._portals.get, keys) if row is not None and own_rooms(row)), None)
        if row is None or not self._open_to(call.sender, row):
            raise RejectedError("that chat has no room here that you may join")
        if row.receiver is None and call.level is not Permission.ADMIN:
            rules = await self._matrix.state(own_rooms(row)[0], "m.room.join_rules") or {}
            if rules.get("join_rule") != "public":
                raise RejectedError("that room is entered by invitation of its members only")
        await self._matrix.invite(own_rooms(row)[0], call.sender)
        return Answer(f"You are invited to {own_rooms(row)[0]}.", {"room": own_rooms(row)[0]})

    def _open_to(self, user: UserId, row: PortalRow) -> bool:
        """Shared chats are open to users of the bridge, but for rooms that were there before; private ones to one."""
        network = self._networks.get(row.network)
        if row.receiver is not None:
            login = network.login_of(row.receiver) if network is not None else None
            return login is not None and login.user == user
        return bool(own_rooms(row))

    async def _leave(self, call: Call) -> Answer:
        room = call.here()
        if not self._portals.in_room(room):
            raise RejectedError("this room is not bridged: leave it as any other")
        await self._matrix.kick(room, call.sender, "asked to leave")
        return Answer("" if call.event is not None else f"You are out of {room}.", {"room": room})

    async def _invite(self, call: Call) -> Answer:
        room, user = call.here(), call["user"]
        if not user.startswith("@") or ":" not in user or len(user) > 255:
            raise UsageError("name a user of Matrix: invite @user:server")
        if not self._portals.in_room(room):
            raise RejectedError("this room is not bridged")
        if call.level is not Permission.ADMIN and not await self._matrix.may_change(room, call.sender):
            raise RejectedError("you may not change this room's settings, so I invite nobody for you")
        await self._matrix.invite(room, UserId(user))
        return Answer(f"{user} is invited.", {"user": user, "room": room})
