"""Counters and gauges, and how they are shown."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge_core.observe import Metrics
from bridge_core.observe import metrics as module


def _samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_counters_are_shown_by_their_labels() -> None:
    """Each combination of label values is a series; a counter without labels starts at 0."""
    metrics = Metrics()
    received = metrics.counter("received", "Events received.", ["direction", "network"])
    metrics.counter("crashes", "Crashes.")
    received.inc("in", "irc")
    received.inc("in", "irc", by=2)
    received.inc("out", 'we"ird\n')

    assert received is metrics.counter("received", "again", ["direction", "network"])
    assert (received.value("in", "irc"), received.total()) == (3, 4)
    assert _samples(metrics) == {
        ("matrix_bridge_received_total", "in", "irc"): 3,
        ("matrix_bridge_received_total", "out", 'we"ird\n'): 1,
        ("matrix_bridge_crashes_total",): 0,
    }


def test_gauges_are_read_at_each_scrape() -> None:
    """A gauge shows what its function says now, plain or by label."""
    metrics = Metrics()
    waiting = {("irc",): 5.0}
    metrics.gauge("pending", "Waiting.", lambda: waiting, ["network"])
    metrics.gauge("up", "Up.", lambda: 1)
    assert _samples(metrics) == {("matrix_bridge_pending", "irc"): 5, ("matrix_bridge_up",): 1}
    waiting[("irc",)] = 6
    assert _samples(metrics)["matrix_bridge_pending", "irc"] == 6


def test_mistakes_in_labels_and_names_are_refused() -> None:
    """Wrong label counts and names used twice are errors of the programmer, told at once."""
    metrics = Metrics()
    counter = metrics.counter("a", "A.", ["x"])
    metrics.gauge("g", "G.", lambda: 1)
    with pytest.raises(ValueError, match="takes labels"):
        counter.inc("1", "2")
    with pytest.raises(ValueError, match="has labels"):
        metrics.counter("a", "A.", ["y"])
    for name in ("a", "g"):
        with pytest.raises(ValueError, match="already"):
            metrics.gauge(name, "A.", lambda: 1)
    with pytest.raises(ValueError, match="already"):
        metrics.counter("g", "G.")


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, new series are counted together, and the sum stays right."""
    monkeypatch.setattr(module, "_MAX_SERIES", 2)
    metrics = Metrics()
    counter = metrics.counter("a", "A.", ["x"])
    for name in ("1", "2", "3", "4", "1"):
        counter.inc(name)

    assert counter.total() == 5
    assert _samples(metrics)["matrix_bridge_a_total", "other"] == 2


def test_bridges_do_not_share_metrics() -> None:
    """Two bridges in one process count apart."""
    one, two = Metrics(), Metrics()
    one.counter("a", "A.").inc()

    assert one.snapshot() == {"a": {(): 1}}
    assert two.snapshot() == {}
