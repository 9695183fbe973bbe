"""Memory and time of one TLS context per user, as users with certificates of their own need.

``python -m benchmarks.certificates`` prints JSON; a process of its own, so that nothing else is in the figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme

from benchmarks.cpu import memory
from bridges.irc.access.contexts import TlsContexts
from bridges.irc.config import IrcConfig

USERS = 500


async def per_certificate() -> dict[str, float]:
    """KiB and CPU ms per user whose connection shows a certificate, beyond those of the connection itself."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.certificates", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    found: dict[str, float] = json.loads(said)
    return found


async def _measure() -> dict[str, float]:
    authority = trustme.CA()
    pems = [
        authority.issue_cert(f"u{number}.test").private_key_and_cert_chain_pem.bytes().decode() for number in range(9)
    ]
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        authority.cert_pem.write_to_path(str(Path(folder) / "ca.pem"))
        kinds: dict[str, dict[str, Any]] = {"": {}, "_own_ca": {"tls_ca": str(Path(folder) / "ca.pem")}}
        for name, settings in kinds.items():
            contexts = TlsContexts(IrcConfig(server="irc.test", **settings))
            await contexts.of_user(pems[0])
            gc.collect()
            before, started = memory(os.getpid()).rss, time.process_time()
            kept = [await contexts.of_user(pems[number % len(pems)]) for number in range(USERS)]
            result[f"cpu_ms_per_certificate{name}"] = (time.process_time() - started) * 1000 / len(kept)
            result[f"kib_per_certificate{name}"] = (memory(os.getpid()).rss - before) / len(kept)
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measure())))
