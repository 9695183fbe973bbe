"""The error a homeserver answers with."""

from typing import Any

__all__ = ["MatrixError"]


class MatrixError(Exception):
    """An answer with a status, an errcode and perhaps further keys."""

    def __init__(self, status: int, errcode: str, error: str = "", /, **more: Any) -> None:
        super().__init__(f"{status} {errcode} {error}")
        self.status = status
        self.body: dict[str, Any] = {"errcode": errcode, "error": error or errcode, **more}


def forbidden(error: str) -> MatrixError:
    """403 M_FORBIDDEN."""
    return MatrixError(403, "M_FORBIDDEN", error)


def not_found(error: str) -> MatrixError:
    """404 M_NOT_FOUND."""
    return MatrixError(404, "M_NOT_FOUND", error)
