"""A canary under accelerated load: what does not arrive is what the faults took, and each miss has its reason."""

from typing import Final

from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.optional import Puppets
from bridge_core.engine.ports import Direction
from bridges.irc.demo.options import Verdict
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Bridged
from tests.harness import Harness
from tests.invariants.scenes import balances

_ROUNDS: Final = 12
_USERS: Final = ("anna", "ben", "carl", "mallory")
_GHOST: Final = "@_irc_eve:hs.test"
_FATES: Final = {
    "r2 ben": Verdict.SWALLOW,
    "r4 carl": Verdict.DROP_BEFORE,
    "r5 anna": Verdict.DROP_AFTER,
    "r6 carl": Verdict.DROP_BEFORE,
}
"""What the server does with a line: takes it and says nothing, or ends the connection before or after it is said."""
_BANNED_FROM: Final = 7
_RESTARTED_AT: Final = 9
_BRIDGE_RESTARTED_AT: Final = 10
_FLOOD: Final = 40


class Play:
    """The server, with the fault script; what everybody said; and the bridge between."""

    def __init__(self, server: DemoIrcServer, bridge: Harness, eve: Witness, room: str) -> None:
        self.server, self.bridge, self.eve, self.room = server, bridge, eve, room
        self.users = {name: bridge.homeserver.user(name) for name in _USERS}
        self.said: dict[str, str] = {}
        """Texts from Matrix with their events."""
        self.heard: list[str] = []
        for user in self.users.values():
            user.join(room)
        server.faults.on_line = self._fate

    def _fate(self, nick: str, command: str, params: list[str]) -> Verdict:
        return _FATES.get(params[-1], Verdict.PASS) if command == "PRIVMSG" else Verdict.PASS

    def say(self, name: str, text: str) -> None:
        """Something from Matrix."""
        self.said[text] = self.users[name].send(self.room, text)

    def tell(self, text: str) -> None:
        """Something from IRC."""
        self.eve.privmsg("#yard", text)
        self.heard.append(text)

    def on_irc(self) -> list[str]:
        """What eve reads, without the names that the relay puts in front."""
        return [line.text.partition("> ")[2] or line.text for line in self.eve.messages("#yard")]

    def on_matrix(self) -> list[str]:
        """What eve's ghost says."""
        return [str(body) for who, body in self.bridge.homeserver.messages(self.room) if who == _GHOST]

    def reasons(self) -> dict[str, str]:
        """The texts that the bot has told their senders about, with its words."""
        told: dict[str, str] = {}
        texts = {event: text for text, event in self.said.items()}
        for event in self.bridge.homeserver.room(self.room).timeline:
            relation = event["content"].get("m.relates_to") or {}
            about = (relation.get("m.in_reply_to") or {}).get("event_id")
            if event["sender"] == self.bridge.homeserver.bot and about in texts:
                told[texts[about]] = event["content"]["body"]
        return told

    def connected(self) -> bool:
        """Whether everybody would speak over their own connection."""
        network = self.bridge.running.networks.get(NetworkId("irc"))
        assert network is not None
        clients = [network.client_of(UserId(f"@{name}:hs.test")) for name in _USERS]
        return all(isinstance(client, Puppets) and client.ready(ChatId("#yard")) for client in clients)

    async def calm(self) -> None:
        """Nothing is on its way."""
        await self.bridge.settled()


async def test_each_miss_is_predicted_and_has_its_reason(server: DemoIrcServer, bridged: Bridged) -> None:
    """Reconnects, a K-line, a flood, restarts of server and bridge: the misses are the script's, told and counted."""
    eve = await Witness.connect("127.0.0.1", int(server.port or 0), "eve")
    await eve.join("#yard")
    async with bridged(
        ping_interval=1,
        ping_timeout=1,
        grants=["portals", "puppets"],
        consent={"required": False},
        messages={"merge": False},
    ) as bridge:
        commands = bridge.running.engine.commands
        made = await commands.call(UserId("@admin:hs.test"), "portal", {"network": "irc", "chat": "#yard"}, None)
        room = str(made.data["room"])
        await eve.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay")
        play = Play(server, bridge, eve, room)
        for number in range(_ROUNDS):
            if number == _BANNED_FROM:
                await play.calm()
                server.ban("K", "*mallory@*", "go away")
                await eve.wait_for(lambda line: line.command == "QUIT" and line.nick == "mallory")
            if number == _RESTARTED_AT:
                await play.calm()
                await eve.close()
                await server.stop()
                await server.start()
                play.eve = again = await Witness.connect("127.0.0.1", int(server.port or 0), "eve")
                await again.join("#yard")
                again.lines[:0] = eve.lines
                await again.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay")
            if number == _BRIDGE_RESTARTED_AT:
                await play.calm()
                mark = play.eve.mark()
                await bridge.stop_bridge()
                await bridge.start_bridge()
                await play.eve.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay", since=mark)
            fated = any(text.startswith(f"r{number} ") for text in _FATES)
            if fated:
                # A line behind another on the same connection would share its fate: here each has its own.
                await play.calm()
                await bridge.until(play.connected)
            for name in _USERS:
                play.say(name, f"r{number} {name}")
            if fated:
                await play.calm()
            play.tell(f"r{number} eve")
            if number in (3, 11):
                for line in range(_FLOOD):
                    play.say("anna", f"flood {number}.{line}")
        await play.calm()
        missing = set(play.said) - set(play.on_irc())
        lost = {text for text, fate in _FATES.items() if fate is not Verdict.DROP_AFTER}
        banned = {f"r{number} mallory" for number in range(_BANNED_FROM, _ROUNDS)}
        assert missing == lost | banned
        reasons = play.reasons()
        assert missing <= reasons.keys()
        assert all("banned" in reasons[text] for text in banned), reasons
        assert set(reasons) - missing <= {"r5 anna"}, reasons
        assert len(play.on_irc()) == len(play.said) - len(missing), "something was said twice"
        floods = [text for text in play.on_irc() if text.startswith("flood")]
        assert floods == sorted(floods, key=lambda text: [int(part) for part in text[6:].split(".")])
        assert play.on_matrix() == play.heard
        balance = (await balances(bridge))["irc", Direction.TO_NETWORK]
        assert balance.rejected == len(missing) + ("r5 anna" in reasons)
        assert balance.delivered == len(play.said) - balance.rejected
        await play.eve.close()
