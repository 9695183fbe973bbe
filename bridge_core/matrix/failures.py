"""What an answer of the homeserver means: one place maps statuses and error codes to the core's errors."""

from collections.abc import Mapping
from typing import Any

import orjson

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.engine.matrix_ports import MatrixRejectedError

__all__ = ["HomeserverFailedError", "failure", "json_object", "retry_after"]

_LONGEST_DELAY_S = 600.0
_SHORTEST_DELAY_S = 0.05
_DEFAULT_DELAY_S = 2.0
_TEXT_LIMIT = 300

# A token the homeserver does not know is a mistake in its configuration, repaired by an admin: messages wait for that.
_WAITS_FOR_ADMIN = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_UNAUTHORIZED"})


class HomeserverFailedError(TransientError):
    """The homeserver could not do it now: its `errcode` (None where it gave none) and HTTP `status` say more."""

    def __init__(self, message: str, errcode: str | None, status: int) -> None:
        super().__init__(message)
        self.errcode = errcode
        self.status = status


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> BridgeError:
    """Returns the error an answer with a status of 300 or more stands for.

    429 is RateLimitedError; 5xx, redirects, a token refused and anything that is not a Matrix error (a proxy's page)
    are TransientError; other 4xx are MatrixRejectedError with the errcode.
    """
    answer = json_object(body) or {}
    errcode = answer.get("errcode")
    text = str(answer.get("error", ""))[:_TEXT_LIMIT]
    if status == 429 or errcode == "M_LIMIT_EXCEEDED":
        return RateLimitedError("the homeserver asks to slow down", _delay(answer, headers))
    if status == 413 and not isinstance(errcode, str):
        # Synapse closes on a body over its limit before any JSON is made.
        return MatrixRejectedError("M_TOO_LARGE", text or "too large for the homeserver", status)
    if status >= 500 or status < 400 or status == 408 or not isinstance(errcode, str):
        name = errcode if isinstance(errcode, str) else "no Matrix error code"
        return HomeserverFailedError(
            f"the homeserver answered {status} ({name}) {text}".rstrip(),
            errcode if isinstance(errcode, str) else None,
            status,
        )
    if errcode in _WAITS_FOR_ADMIN:
        return HomeserverFailedError(
            f"the homeserver does not accept the bridge's as_token ({errcode}) {text}".rstrip(), errcode, status
        )
    return MatrixRejectedError(errcode, text, status)


def json_object(body: bytes) -> dict[str, Any] | None:
    """Returns the JSON object in `body`, None when there is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _delay(answer: Mapping[str, Any], headers: Mapping[str, str]) -> float:
    """Seconds to wait: `Retry-After` (spec v1.10 and later) or `retry_after_ms`, within bounds."""
    milliseconds = answer.get("retry_after_ms")
    seconds = _DEFAULT_DELAY_S
    if isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool):
        seconds = milliseconds / 1000
    else:
        seconds = retry_after(headers, seconds)
    return min(max(seconds, _SHORTEST_DELAY_S), _LONGEST_DELAY_S)


def retry_after(headers: Mapping[str, str], default: float) -> float:
    """Seconds that `Retry-After` asks for (RFC 9110, 10.2.3), ten minutes at most; `default` for dates and nonsense."""
    header = headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit() and len(header) < 10:
        return min(float(header), _LONGEST_DELAY_S)
    return default
