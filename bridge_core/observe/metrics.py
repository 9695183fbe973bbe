"""Counters cheap enough for the hot path, shown in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge_core.api.info import Figure

Labels = tuple[str, ...]
Gauge = Callable[[], float | Mapping[tuple[str, ...], float] | Mapping[tuple[str], float]]
Source = Callable[[], Iterable[tuple[str, Figure]]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Labels come from configuration, never from strangers; this catches the mistake before memory does.
_MAX_SERIES = 10_000


@dataclass(slots=True)
class Counter:
    """One counter with labels. `inc` is a dictionary update: 0.1 us, no lock (one event loop)."""

    name: str
    help: str
    labels: Labels
    values: dict[Labels, int] = field(default_factory=dict)
    overflowed: int = 0

    def inc(self, *labels: str, by: int = 1) -> None:
        """Add to the series of these label values, in the declared order."""
        values = self.values
        if labels in values:
            values[labels] += by
        elif len(labels) != len(self.labels):
            raise ValueError(f"{self.name} takes labels {self.labels}, got {labels}")
        elif len(values) < _MAX_SERIES:
            values[labels] = by
        else:
            self.overflowed += by

    def value(self, *labels: str) -> int:
        """The count so far."""
        return self.values.get(labels, 0)

    def total(self) -> int:
        """The sum of all series."""
        return sum(self.values.values()) + self.overflowed


class Metrics(Collector):
    """The counters and gauges of one bridge. Nothing is global: each bridge has its own."""

    def __init__(self, prefix: str = "matrix_bridge_") -> None:
        self._prefix = prefix
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, tuple[str, Labels, Gauge]] = {}
        self._sources: list[Source] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of this name (without prefix and `_total`), made at the first call.

        Raises `ValueError` when it exists with other labels.
        """
        known = self._counters.get(name)
        if known is not None:
            if known.labels != tuple(labels):
                raise ValueError(f"counter {name} has labels {known.labels}, not {tuple(labels)}")
            return known
        self._refuse_gauge(name)
        counter = self._counters[name] = Counter(name, help_text, tuple(labels))
        if not labels:
            counter.values[()] = 0
        return counter

    def gauge(self, name: str, help_text: str, read: Gauge, labels: Sequence[str] = ()) -> None:
        """Show what `read` returns at each scrape: a number, or numbers by label values.

        `read` must not block. Raises `ValueError` when the name is taken.
        """
        if name in self._counters:
            raise ValueError(f"{name} is a counter already")
        self._refuse_gauge(name)
        self._gauges[name] = (help_text, tuple(labels), read)

    def source(self, read: Source) -> None:
        """Show what networks tell of themselves at each scrape, each figure with its network. `read` must not block."""
        self._sources.append(read)

    def _refuse_gauge(self, name: str) -> None:
        if name in self._gauges:
            raise ValueError(f"{name} is a gauge already")

    def snapshot(self) -> dict[str, dict[Labels, int]]:
        """A copy of all counters, for checking sums."""
        return {name: dict(counter.values) for name, counter in self._counters.items()}

    def render(self) -> bytes:
        """All metrics in Prometheus' text format (see `CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        for counter in self._counters.values():
            family = CounterMetricFamily(self._prefix + counter.name, counter.help, labels=counter.labels)
            for labels, value in sorted(counter.values.items()):
                family.add_metric(labels, value)
            if counter.overflowed:
                family.add_metric(("other",) * len(counter.labels), counter.overflowed)
            yield family
        for name, (help_text, names, read) in self._gauges.items():
            gauge = GaugeMetricFamily(self._prefix + name, help_text, labels=names)
            found = read()
            if isinstance(found, Mapping):
                for labels, number in sorted(found.items()):
                    gauge.add_metric(labels, number)
            else:
                gauge.add_metric((), found)
            yield gauge
        yield from self._told()

    def _told(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        counts: dict[str, int] = {}
        for read in self._sources:
            for network, figure in read():
                if figure.name in self._counters or figure.name in self._gauges:
                    continue
                family = families.get(figure.name)
                if family is None:
                    kind = CounterMetricFamily if figure.counter else GaugeMetricFamily
                    labels = ("network", *figure.labels)
                    family = families[figure.name] = kind(self._prefix + figure.name, figure.help, labels=labels)
                for values, number in sorted(figure.values.items()):
                    counts[figure.name] = counts.get(figure.name, 0) + 1
                    if counts[figure.name] <= _MAX_SERIES and len(values) == len(figure.labels):
                        family.add_metric((network, *values), number)
        yield from families.values()
