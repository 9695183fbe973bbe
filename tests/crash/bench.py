"""Rigs kept from one test to the next, so that a test needs no first start of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.crash.rig import Rig
from tests.crash.site import Site


class Bench:
    """Gives out one warmed-up rig per set of options, its bridge stopped; one that failed is not given out again."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self._rigs: dict[tuple[tuple[str, Any], ...], Rig] = {}

    @contextlib.asynccontextmanager
    async def rig(self, **options: Any) -> AsyncIterator[Rig]:
        """A rig whose bridge is stopped. Only one at a time may have its bridge running."""
        await self._site.repaired()
        key = tuple(sorted(options.items(), key=lambda item: item[0]))
        rig = self._rigs.pop(key, None)
        if rig is None:
            rig = Rig(self._site, self._folder, **options)
            await rig.__aenter__()
        else:
            rig.forget_transactions()
        try:
            if not rig.room:
                await rig.warm_up()
            elif rig.irc is not None and not rig.irc.there:
                # Another test has killed the server since.
                await rig.irc.close()
                await rig.irc.connect()
            yield rig
        except BaseException as error:
            await rig.__aexit__(type(error), error, None)
            raise
        self._rigs[key] = rig

    @contextlib.asynccontextmanager
    async def fresh(self, **options: Any) -> AsyncIterator[Rig]:
        """A rig of one's own whose bridge was never started."""
        await self._site.repaired()
        async with Rig(self._site, self._folder, **options) as rig:
            yield rig

    async def close(self) -> None:
        """Ends all rigs."""
        for rig in self._rigs.values():
            await rig.close()
