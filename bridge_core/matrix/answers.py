"""Answers to HTTP requests: Matrix JSON errors, bounded bodies, and the middleware that keeps every answer in form."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web

from bridge_core.api.errors import BackpressureError, BridgeError, RateLimitedError, TransientError

__all__ = ["answer", "in_matrix_form", "read_body", "refusal"]

_log = structlog.get_logger(__name__)

_READ_TIMEOUT_S = 60
_RETRY_AFTER_S = 2


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Returns a JSON answer."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


def refusal(status: int, errcode: str, error: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Returns a Matrix error."""
    return answer({"errcode": errcode, "error": error}, status, headers)


class TooLargeError(Exception):
    """The body is over the limit; the rest of it was not read."""


async def read_body(request: web.Request, limit: int) -> bytes:
    """Returns the body, at most `limit` bytes (after decompression). Raises TooLargeError or TimeoutError."""
    if request.content_length is not None and request.content_length > limit:
        raise TooLargeError
    if not request.body_exists:
        return b""
    chunks: list[bytes] = []
    total = 0
    async with asyncio.timeout(_READ_TIMEOUT_S):
        async for chunk in request.content.iter_any():
            total += len(chunk)
            if total > limit:
                raise TooLargeError
            chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@web.middleware
async def in_matrix_form(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turns every failure into a Matrix error and logs one line per request at debug level, without its query."""
    started = time.perf_counter()
    response = await _guarded(request, handler)
    _log.debug(
        "http_answered",
        method=request.method,
        route=_route(request),
        status=response.status,
        ms=round((time.perf_counter() - started) * 1000, 2),
    )
    return response


async def _guarded(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPNotFound:
        return refusal(404, "M_UNRECOGNIZED", "there is no such endpoint")
    except web.HTTPMethodNotAllowed as error:
        headers = {"Allow": ",".join(sorted(error.allowed_methods))}
        return refusal(405, "M_UNRECOGNIZED", "the endpoint has no such method", headers)
    except TooLargeError:
        # The rest of the body stays unread, so the connection cannot be used again.
        return _closing(refusal(413, "M_TOO_LARGE", "the body is larger than the bridge accepts"))
    except TimeoutError:
        return _closing(refusal(408, "M_UNKNOWN", "the body did not arrive in time"))
    except (TransientError, BackpressureError) as error:
        _log.warning("http_postponed", route=_route(request), error=type(error).__name__)
        return refusal(503, "M_UNKNOWN", "not now, try again", {"Retry-After": str(_RETRY_AFTER_S)})
    except RateLimitedError as error:
        return refusal(503, "M_UNKNOWN", "not now, try again", {"Retry-After": str(math.ceil(error.retry_after))})
    except BridgeError as error:
        _log.warning("http_refused", route=_route(request), error=type(error).__name__)
        return refusal(400, "M_UNKNOWN", "the bridge refuses this")
    except web.HTTPException as error:
        return refusal(error.status, "M_UNKNOWN", error.reason)
    except web.RequestPayloadError:
        return _closing(refusal(400, "M_NOT_JSON", "the body broke off or its encoding is wrong"))
    except ConnectionError:
        return _closing(refusal(400, "M_UNKNOWN", "the connection broke off"))
    except Exception:
        _log.exception("http_failed", method=request.method, route=_route(request))
        return refusal(500, "M_UNKNOWN", "the bridge failed; its log says why")
    return response


def _route(request: web.Request) -> str:
    """The route's pattern: paths hold ids of people, and those of media links are a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
