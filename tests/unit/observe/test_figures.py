"""Figures of networks among the metrics."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from bridge_core.api.info import Figure
from bridge_core.app.figures import network_figures
from bridge_core.observe.metrics import Metrics


class _Shows:
    """A connector with figures."""

    def __init__(self, *figures: Figure, broken: bool = False) -> None:
        self._figures = figures
        self._broken = broken

    def figures(self) -> Iterator[Figure]:
        yield from self._figures
        if self._broken:
            raise ValueError("a bug")


def _network(name: str, connector: Any) -> Any:
    return SimpleNamespace(id=name, connector=connector)


def test_networks_share_a_metric_and_a_broken_one_costs_its_own_only() -> None:
    """Each value has its network; a bug in one adapter leaves its figures out and the others there."""
    one = Figure("irc_lines", "Lines.", {("read",): 3}, ("direction",), counter=True)
    other = Figure("irc_lines", "Lines.", {("read",): 4, ("written",): 1}, ("direction",), counter=True)
    networks: Any = [
        _network("a", _Shows(one)),
        _network("b", _Shows(other)),
        _network("c", _Shows(Figure("irc_open", "Open.", {(): 1}), broken=True)),
        _network("d", object()),
        _network("e", _Shows(Figure("Bad name", "No.", {(): 1}))),
    ]
    metrics = Metrics()
    metrics.gauge("portals", "Portals.", lambda: 7)
    metrics.source(network_figures(networks))
    text = metrics.render().decode()
    assert 'matrix_bridge_irc_lines_total{direction="read",network="a"} 3.0' in text
    assert 'matrix_bridge_irc_lines_total{direction="read",network="b"} 4.0' in text
    assert text.count("# TYPE matrix_bridge_irc_lines_total counter") == 1
    assert "irc_open" not in text and "Bad name" not in text and "matrix_bridge_portals 7.0" in text


def test_figures_are_bounded_and_take_no_name_of_the_bridge() -> None:
    """Too many values, values without their labels, and names that the bridge has itself are left out."""
    many = Figure("irc_many", "Many.", {(str(number),): 1 for number in range(10_500)}, ("n",))
    short = Figure("irc_short", "Short.", {(): 1}, ("n",))
    metrics = Metrics()
    metrics.gauge("portals", "Portals.", lambda: 7)
    metrics.source(lambda: iter([("a", many), ("a", short), ("a", Figure("portals", "Mine.", {(): 1}))]))
    text = metrics.render().decode()
    assert text.count("matrix_bridge_irc_many{") == 10_000
    assert "matrix_bridge_irc_short{" not in text and text.count("matrix_bridge_portals") == 3
