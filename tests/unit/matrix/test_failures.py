"""Which error an answer is."""

import json

import pytest

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.matrix.failures import HomeserverFailedError, failure


def of(status: int, errcode: str | None = None, **more: object) -> BridgeError:
    """The error of an answer with this errcode."""
    body = b"<html>" if errcode is None else json.dumps({"errcode": errcode, "error": "text", **more}).encode()
    return failure(status, body, {})


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 301, 302, 307])
def test_failures_of_the_moment_are_transient(status: int) -> None:
    """Server errors, timeouts and redirects, with or without an errcode."""
    for errcode in (None, "M_UNKNOWN"):
        error = of(status, errcode)
        assert isinstance(error, TransientError)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_proxys_page_is_transient(status: int) -> None:
    """A 404 without errcode comes from something in front of the homeserver: no message is lost by it."""
    assert isinstance(of(status), TransientError)


@pytest.mark.parametrize("errcode", ["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"])
def test_a_refused_token_waits_for_the_admin(errcode: str) -> None:
    """A registration lost in an upgrade must not reject every message meanwhile."""
    error = of(401, errcode)
    assert isinstance(error, HomeserverFailedError)
    assert error.errcode == errcode


@pytest.mark.parametrize(
    ("status", "errcode"),
    [
        (400, "M_BAD_JSON"),
        (403, "M_FORBIDDEN"),
        (404, "M_NOT_FOUND"),
        (409, "M_CANNOT_OVERWRITE_MEDIA"),
        (413, "M_TOO_LARGE"),
    ],
)
def test_refusals_are_final(status: int, errcode: str) -> None:
    """With errcode, text and status."""
    error = of(status, errcode)
    assert isinstance(error, MatrixRejectedError)
    assert (error.errcode, error.status, str(error)) == (errcode, status, f"{errcode}: text")


def test_a_body_over_the_servers_limit_is_final() -> None:
    """Synapse answers 413 without JSON."""
    error = of(413)
    assert isinstance(error, MatrixRejectedError)
    assert error.errcode == "M_TOO_LARGE"


@pytest.mark.parametrize(
    ("more", "headers", "seconds"),
    [
        ({"retry_after_ms": 1500}, {}, 1.5),
        ({}, {"Retry-After": "7"}, 7),
        ({"retry_after_ms": 1500}, {"Retry-After": "7"}, 1.5),
        ({}, {}, 2),
        ({"retry_after_ms": 10**12}, {}, 600),
        ({"retry_after_ms": -5}, {}, 0.05),
        ({"retry_after_ms": "soon"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 2),
        ({"retry_after_ms": None}, {"Retry-After": "9" * 400}, 2),
        ({"retry_after_ms": True}, {}, 2),
    ],
)
def test_the_delay_asked_for_is_kept_within_bounds(
    more: dict[str, object], headers: dict[str, str], seconds: float
) -> None:
    """From the body or the header; nonsense is the default."""
    error = failure(429, json.dumps({"errcode": "M_LIMIT_EXCEEDED", **more}).encode(), headers)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == pytest.approx(seconds)
