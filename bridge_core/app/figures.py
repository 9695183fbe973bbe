"""The networks' own figures, for the metrics: each under its name, with the network it is of."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from bridge_core.api.info import Figure
from bridge_core.api.optional import ShowsFigures
from bridge_core.engine.networks import Networks

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


def _of(network: str, figures: Callable[[], Iterable[Figure]]) -> list[Figure]:
    try:
        return [one for one in figures() if _NAME.fullmatch(one.name)]
    except Exception:
        log.exception("figures_failed", network=network)
        return []
