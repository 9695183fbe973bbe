"""The process that reads strangers' mails: limited in time and memory, so that none of them costs the bridge more.

Started by `pool.py` with its limits as arguments. Reads frames from standard input, writes frames to standard output;
opens no file and no connection. What goes wrong ends it: the pool starts another.
"""

import gc
import math
import os
import resource
import signal
import sys
from typing import Final

from bridges.email.parsing import form
from bridges.email.parsing.context import Context
from bridges.email.parsing.frames import BYTES, CONTEXT, FILE, HEAD, LARGEST, MAIL, RAW, READY, frame, pieces
from bridges.email.parsing.reader import ReadMail, read_mail

OUT_OF_MEMORY: Final = 7
"""The status with which it ends when it may have no more memory."""
_SMALL: Final = 65_536
_PER_BYTES: Final = 10 * 1024 * 1024
"""A mail may cost a further second for each so many bytes."""


def main(arguments: list[str]) -> int:
    """Serve until standard input ends. `arguments`: CPU seconds per mail, MiB of memory, MiB of the largest mail."""
    cpu, memory, largest = (int(one) for one in arguments)
    resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    gc.freeze()
    _write(frame(READY))
    read: ReadMail | None = None
    while (given := _read()) is not None:
        kind, body = given
        if kind == CONTEXT:
            context = form.load(body)
            if not isinstance(context, Context):
                return 2
            read = None
            data = _mail(largest << 20)
            _allow(cpu + len(data) / _PER_BYTES)
            read = read_mail(data, context)
            _send(MAIL, form.dump(read.mail))
        elif kind == FILE and read is not None:
            _send(BYTES, read.files[int(body)]())
        else:
            return 2
    return 0


def _mail(largest: int) -> bytes:
    found = bytearray()
    while (given := _read()) is not None:
        kind, body = given
        if kind != RAW or len(found) + len(body) > largest:
            sys.exit(2)
        if not body:
            return bytes(found)
        found += body
    sys.exit(0)


def _allow(seconds: float) -> None:
    """From now on so much processor time may be used; then the kernel ends the process (SIGPROF has no handler here).

    The limit of whole seconds stands behind the timer.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _send(kind: bytes, data: bytes) -> None:
    if len(data) <= _SMALL:
        # One write, so that the bridge wakes up once.
        _write((frame(kind, data) if data else b"") + frame(kind))
        return
    for piece in pieces(data):
        _write(HEAD.pack(kind, len(piece)))
        _write(piece)
    _write(frame(kind))


def _read() -> tuple[bytes, bytes] | None:
    """The next frame, None at the end of the input."""
    head = _exactly(HEAD.size)
    if not head:
        return None
    kind, size = HEAD.unpack(head)
    if size > LARGEST:
        sys.exit(2)
    return kind, _exactly(size)


def _exactly(size: int) -> bytes:
    found = sys.stdin.buffer.read(size)
    return found if len(found) == size else b""


def _write(data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
