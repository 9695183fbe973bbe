"""Failures a test can order: refusals, answers lost after the act, requests held back."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["Faults"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Fault:
    pattern: re.Pattern[str]
    times: int
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    act: bool = False
    gate: asyncio.Event | None = None


class Faults:
    """Orders apply to the next `times` requests whose `METHOD path` is found by `match` (a regular expression).

    `hits` counts the requests that met one.
    """

    def __init__(self) -> None:
        self._orders: list[_Fault] = []
        self.hits = 0

    def answer(self, status: int, *, times: int = 1, match: str = "", errcode: str = "M_UNKNOWN", **more: Any) -> None:
        """Refuse without doing anything."""
        body = {"errcode": errcode, "error": "ordered by the test", **more}
        self._orders.append(_Fault(re.compile(match), times, status=status, body=body))

    def limit(self, milliseconds: int, *, times: int = 1, match: str = "") -> None:
        """Answer 429 with this delay."""
        self.answer(429, times=times, match=match, errcode="M_LIMIT_EXCEEDED", retry_after_ms=milliseconds)

    def page(self, status: int, *, times: int = 1, match: str = "") -> None:
        """Answer with the error page of a proxy, which is not JSON."""
        self._orders.append(_Fault(re.compile(match), times, status=status))

    def lose_answer(self, *, times: int = 1, match: str = "") -> None:
        """Act, then break the connection instead of answering."""
        self._orders.append(_Fault(re.compile(match), times, act=True))

    def fail_after(self, status: int, *, times: int = 1, match: str = "", errcode: str = "M_UNKNOWN") -> None:
        """Act, then answer with an error."""
        body = {"errcode": errcode, "error": "ordered by the test"}
        self._orders.append(_Fault(re.compile(match), times, status=status, body=body, act=True))

    def lose_request(self, *, times: int = 1, match: str = "") -> None:
        """Break the connection without acting."""
        self._orders.append(_Fault(re.compile(match), times))

    def hold(self, *, times: int = 1, match: str = "") -> asyncio.Event:
        """Keep requests waiting until the event returned is set, then go on as usual."""
        gate = asyncio.Event()
        self._orders.append(_Fault(re.compile(match), times, gate=gate))
        return gate

    def clear(self) -> None:
        """Forget all orders and let what is held go on."""
        for order in self._orders:
            if order.gate is not None:
                order.gate.set()
        self._orders.clear()

    async def apply(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Passes a request to `handler`, or does what was ordered."""
        fault = self._next(f"{request.method} {request.path}")
        if fault is None:
            return await handler(request)
        self.hits += 1
        if fault.gate is not None:
            await fault.gate.wait()
            return await handler(request)
        if fault.act:
            await handler(request)
        if fault.status and fault.body:
            return web.json_response(fault.body, status=fault.status, headers=fault.headers)
        if fault.status:
            return web.Response(status=fault.status, text="<html>Bad Gateway</html>", content_type="text/html")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _next(self, line: str) -> _Fault | None:
        for order in self._orders:
            if order.pattern.search(line):
                order.times -= 1
                if order.times <= 0:
                    self._orders.remove(order)
                return order
        return None
