"""The parser as the bridge sees it: a few processes that read mails, started when needed, ended when they go wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bridge_core.api.errors import RejectedError, TransientError
from bridges.email.config.parsing import Parsing
from bridges.email.mail import Mail
from bridges.email.parsing.context import Context
from bridges.email.parsing.process import Process, ProcessError
from bridges.email.ports import OpenRaw

log = structlog.get_logger(__name__)


class UnreadableMailError(RejectedError):
    """A mail cannot be read: it is too large, or two processes ended over it. The text is for the admin."""


class Parsed:
    """A mail that was read; its files can be read as long as the `async with` of `Parser.parse` lasts."""

    def __init__(self, mail: Mail, process: Process) -> None:
        self.mail = mail
        self._process = process

    async def file(self, number: int) -> AsyncIterator[bytes]:
        """The bytes of `mail.files[number]`, in chunks of 1 MiB at most. One file at a time.

        Raises TransientError when the process ends in the middle: the mail is to be parsed again.
        """
        try:
            async for chunk in self._process.file(number):
                yield chunk
        except ProcessError as error:
            raise TransientError(f"the process that read the mail ended ({error})") from error


class Parser:
    """Reads mails in processes of its own. `stop` ends them; a parser that was stopped reads nothing any more."""

    def __init__(self, config: Parsing) -> None:
        self._config = config
        self._turns = asyncio.Semaphore(config.workers)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._stopped = False
        self.unreadable = 0
        """How many mails two processes ended over."""

    def context(
        self,
        received_at: int | None = None,
        *,
        given: str = "",
        null_sender: bool = False,
        domains: tuple[str, ...] = (),
        links: tuple[str, ...] = (),
    ) -> Context:
        """What a mail is read with: what is known of it, and the configured limits."""
        config = self._config
        return Context(
            received_at=received_at,
            given=given,
            null_sender=null_sender,
            domains=domains,
            links=links,
            depth=config.depth,
            parts=config.parts,
            files=config.files,
            text=config.text_characters,
            html=config.html_characters,
            nodes=config.html_parts,
            trim=config.trim,
        )

    @asynccontextmanager
    async def parse(self, open_raw: OpenRaw, context: Context) -> AsyncIterator[Parsed]:
        """The mail that `open_raw` gives, which may be opened twice.

        Waits for a free process, then as long as the mail takes (seconds at most). Raises UnreadableMailError when
        another try would end the same, TransientError when no process can be had, and what `open_raw` raises.
        """
        async with self._turns:
            process, mail = await self._read(open_raw, context)
            try:
                yield Parsed(mail, process)
            finally:
                await self._release(process)

    async def stop(self) -> None:
        """End all processes, also those that read. Idempotent; waits some seconds at most."""
        self._stopped = True
        ending = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(process.end() for process in ending))

    async def _read(self, open_raw: OpenRaw, context: Context) -> tuple[Process, Mail]:
        trouble = ""
        for _ in range(2):
            process = await self._process()
            try:
                return process, await process.read(open_raw, context)
            except ProcessError as error:
                trouble = str(error)
                log.info("email_parser_ended", reason=trouble)
                await self._drop(process)
                if self._stopped:
                    raise TransientError("mails are not read any more: the bridge stops") from error
                if error.final:
                    break
            except BaseException:
                await self._drop(process)
                raise
        self.unreadable += 1
        log.warning("email_unreadable", reason=trouble)
        raise UnreadableMailError(f"This mail could not be read: {trouble}.")

    async def _process(self) -> Process:
        if self._stopped:
            raise TransientError("mails are not read any more: the bridge stops")
        while self._idle:
            process = self._idle.pop()
            if process.usable:
                self._busy.add(process)
                return process
            await process.end()
        process = Process(self._config)
        self._busy.add(process)
        try:
            await process.start()
        except (OSError, ProcessError) as error:
            await self._drop(process)
            log.warning("email_parser_unavailable", reason=str(error))
            raise TransientError(f"no process to read mails can be started: {error}") from error
        except BaseException:
            await self._drop(process)
            raise
        return process

    async def _release(self, process: Process) -> None:
        if process.usable and not self._stopped:
            self._busy.discard(process)
            self._idle.append(process)
        else:
            await self._drop(process)

    async def _drop(self, process: Process) -> None:
        self._busy.discard(process)
        await process.end()
