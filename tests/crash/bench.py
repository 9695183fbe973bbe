"""Rigs kept from one test to the next, so that a test needs no first start of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.crash.rig import Rig
from tests.crash.site import Site


class Bench:
    """Gives out one warmed-up rig per set of options, its bridge stopped; one that failed is not given out again."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self._rigs: dict[tuple[tuple[str, str], ...], Rig] = {}

    @contextlib.asynccontextmanager
    async def rig(self, **options: str) -> AsyncIterator[Rig]:
        """A rig whose bridge is stopped. Only one at a time may have its bridge running."""
        key = tuple(sorted(options.items()))
        rig = self._rigs.pop(key, None)
        if rig is None:
            rig = Rig(self._site, self._folder, **options)  # type: ignore[arg-type]
            await rig.__aenter__()
            try:
                await rig.warm_up()
            except BaseException as error:
                await rig.__aexit__(type(error), error, None)
                raise
        try:
            yield rig
        except BaseException as error:
            await rig.__aexit__(type(error), error, None)
            raise
        self._rigs[key] = rig

    async def close(self) -> None:
        """Ends all rigs."""
        for rig in self._rigs.values():
            await rig.close()
