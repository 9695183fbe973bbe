"""Bytes to `Mail`: what strangers send, read in processes of their own, bounded in time, memory and size.

`pool.Parser` is the way in; `reader.read_mail` is what its processes do, all the modules below it are pure.
"""

from bridges.email.parsing.context import Context
from bridges.email.parsing.pool import Parsed, Parser, UnreadableMailError

__all__ = ["Context", "Parsed", "Parser", "UnreadableMailError"]
