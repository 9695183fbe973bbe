"""Figures for the metrics: the networks' own, each under its name with the network it is of, and the journal's."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from bridge_core.api.info import Figure
from bridge_core.api.optional import ShowsFigures
from bridge_core.engine.networks import Networks
from bridge_core.engine.ports import Direction
from bridge_core.journal.journal import DurableJournal
from bridge_core.observe.metrics import Metrics
from bridge_core.store.database import Database

log = structlog.get_logger(__name__)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,60}")


def network_figures(networks: Networks) -> Callable[[], Iterator[tuple[str, Figure]]]:
    """What reads them all at a scrape. An adapter that fails costs its own figures only."""

    def read() -> Iterator[tuple[str, Figure]]:
        for network in networks:
            if isinstance(network.connector, ShowsFigures):
                for figure in _of(network.id, network.connector.figures):
                    yield network.id, figure

    return read


def show_journal(metrics: Metrics, journal: DurableJournal, database: Database) -> None:
    """Shows what the journal and the database count."""

    def counted(name: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {
            (network, Direction(direction).name.lower()): value
            for (network, direction, what), value in journal.counters().items()
            if what == name
        }

    labels = ("network", "direction")
    for name in ("accepted", "duplicate", "ignored", "targets", "delivered", "rejected", "dead"):
        metrics.gauge(f"journal_{name}", f"Entries or deliveries {name}, ever.", counted(name), labels)
    metrics.gauge("journal_pending", "Entries that have not ended.", lambda: journal.pending)
    metrics.gauge("journal_refused", "Entries refused since the journal was full.", lambda: journal.refused)
    metrics.gauge("database_outages", "How often the database was unavailable.", lambda: database.outages)


def _of(network: str, figures: Callable[[], Iterable[Figure]]) -> list[Figure]:
    try:
        return [one for one in figures() if _NAME.fullmatch(one.name)]
    except Exception:
        log.exception("figures_failed", network=network)
        return []
