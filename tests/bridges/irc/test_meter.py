"""The figures of a network's connections say what happened."""

from bridge_core.api.optional import ShowsFigures
from bridges.irc.endings import Cause
from bridges.irc.schedule import Schedule, Turn, Urgency
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

ANNA = "@anna:hs.test"


def _value(adapter: Rig, name: str, *labels: str) -> float:
    (found,) = [one for one in adapter.connector.figures() if one.name == name]
    return found.values.get(labels, 0)


async def test_connections_lines_and_endings_are_counted(rig: StartRig, serve: StartServer) -> None:
    """Connections there are, were made and ended and why; lines both ways; bans; channels."""
    server = await serve()
    adapter = await rig(server.port, "#a")
    assert isinstance(adapter.connector, ShowsFigures)
    assert (_value(adapter, "irc_connected", "bot"), _value(adapter, "irc_connected", "users")) == (1, 0)
    assert _value(adapter, "irc_channels", "joined") == 1
    anna = await adapter.puppet(ANNA, name="anna")
    written = _value(adapter, "irc_lines", "users", "written")
    await adapter.say(anna, "one\ntwo")
    assert _value(adapter, "irc_lines", "users", "written") >= written + 2
    assert _value(adapter, "irc_lines", "users", "read") > 0
    server.client("relay").link.abort("gone")
    await eventually(lambda: _value(adapter, "irc_connections", "bot") == 2)
    assert _value(adapter, "irc_endings", "bot", Cause.LOST.value) == 1
    server.ban("K", "*anna@*", "not you")
    await eventually(lambda: _value(adapter, "irc_banned", "user") == 1)
    assert _value(adapter, "irc_connected", "users") == 0
    assert _value(adapter, "irc_endings", "users", Cause.BANNED.value) == 1


def test_who_waits_is_told_by_what_for() -> None:
    """For their turn, for a time of their own, for their address, or for somebody else's end: each once."""
    schedule = Schedule(most=10, opening=1, waiting=10, rate=1, burst=1)
    for address, not_before in (("a", 0.0), ("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 50.0)):
        assert schedule.ask(Turn(address, Urgency.NOW, 0.0, lambda: None), not_before)
    schedule.hold("b", 100.0)
    schedule.hold("c", 100.0, or_an_end=True)
    schedule.let_go("d", 0.0)
    first = list(schedule.due(1.0))
    assert len(first) == 1
    counts = schedule.waiting_by(1.0)
    assert sum(counts.values()) == schedule.waiting == 4 and counts["pause"] == 1
    schedule.opened(first[0], 1.0)
    for now in (2.0, 3.0, 4.0):
        for turn in schedule.due(now):
            schedule.opened(turn, now)
    counts = schedule.waiting_by(4.0)
    assert counts == {"turn": 0, "pause": 1, "address": 1, "class": 1}
