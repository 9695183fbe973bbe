"""A filter that is asked about each mail over HTTP, in the manner of rspamd's `/checkv2`."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog

from bridges.email.config.trust import Filter, Trouble
from bridges.email.mail import Envelope
from bridges.email.ports import OpenRaw, Reply

_log = structlog.get_logger(__name__)
_ANSWER: Final = 1_048_576
_LATER: Final = Reply(451, "4.7.1", "the mail cannot be checked now, try again later")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the filter thinks."""

    refusal: Reply | None = None
    spam: bool = False


class HttpFilter:
    """Asks the filter. Its connections are kept between mails; `close` ends them."""

    def __init__(self, settings: Filter) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, envelope: Envelope, open_raw: OpenRaw) -> Opinion:
        """What it thinks of a mail. Never raises for what the filter does; bounded in time."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._post(envelope, open_raw)
            action = answer.get("action")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError) as error:
            _log.warning("mail_filter_failed", error=str(error) or type(error).__name__)
            return Opinion(_LATER if self._settings.on_trouble is Trouble.RETRY else None)
        match action:
            case "reject":
                return Opinion(Reply(550, "5.7.1", "the mail looks like spam"))
            case "soft reject":
                return Opinion(_LATER)
            case "add header" | "rewrite subject":
                return Opinion(spam=True)
            case _:
                return Opinion()

    async def _post(self, envelope: Envelope, open_raw: OpenRaw) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20))
        headers = {"Helo": envelope.helo, "Queue-Id": envelope.id, "From": _wire(envelope.sender)}
        if envelope.peer:
            headers["IP"] = envelope.peer
        if envelope.login is not None:
            headers["User"] = _clean(envelope.login)
        if self._settings.password is not None:
            headers["Password"] = self._settings.password.get_secret_value()
        wanted = [(name, _clean(value)) for name, value in headers.items()]
        wanted += [("Rcpt", _wire(one)) for one in envelope.recipients[:100]]
        async with self._session.post(
            self._settings.url, data=open_raw(), headers=wanted, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"it answers {response.status}")
            return json.loads(await response.content.read(_ANSWER))

    async def close(self) -> None:
        """End the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _wire(address: object) -> str:
    return "" if address is None else _clean(str(address))


def _clean(text: str) -> str:
    """A header's value: what strangers wrote ends no line."""
    return "".join(one if one.isprintable() else "?" for one in text)[:300]
