"""What can go wrong with the database, sorted from the drivers' many errors into few.

TransientError (bridge_core.api.errors)   try again later: locked, connection lost, disk full
RefusedRowError                           this row will never be taken; others are not touched
UnreadableError                           a sealed value does not open
StartError                                the bridge must not start on this database
├── LeaseError                            another process owns it
├── SchemaError                           newer, foreign, or older with upgrading turned off
└── SecretError                           sealed with another secret
"""

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bridge_core.api.errors import BridgeError, RejectedError, TransientError


class RefusedRowError(RejectedError):
    """The database cannot hold this value (for example U+0000 in text); nothing of this unit of work was stored."""


class UnreadableError(BridgeError):
    """A sealed value does not open: damaged, or sealed with another secret."""


class StartError(BridgeError):
    """The bridge must not start on this database; the text tells the admin why and what to do."""


class LeaseError(StartError):
    """Another process owns the database."""


class SchemaError(StartError):
    """The database's tables are not what this version works with."""


class SecretError(StartError):
    """The database was sealed with another secret."""


_ROW_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.ProgrammingError,
    # A key that is too long for its index. An OperationalError, as if the server were to blame.
    psycopg.errors.ProgramLimitExceeded,
)
_DATABASE_FAULTS = (sqlite3.Error, psycopg.Error, SQLAlchemyError, OSError)


def root(error: BaseException) -> BaseException:
    """The driver's own error inside one of SQLAlchemy's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def is_row_fault(error: BaseException) -> bool:
    """Whether the unit of work is to blame, so that it would fail again at any time; a bug of ours counts as that."""
    inner = root(error)
    return isinstance(inner, _ROW_FAULTS) or not isinstance(inner, (*_DATABASE_FAULTS, BridgeError))


def is_transient(error: BaseException) -> bool:
    """Whether the database is to blame: locked, gone, or full."""
    return isinstance(root(error), _DATABASE_FAULTS) and not is_row_fault(error)


def translated(error: BaseException) -> Exception:
    """The error that callers see instead of a driver's. The text holds no values of rows."""
    inner = root(error)
    if is_row_fault(error):
        return RefusedRowError(f"the database refuses a value ({type(inner).__name__})")
    if isinstance(error, BridgeError):
        return error
    reason = str(inner).partition("\n")[0] if isinstance(inner, (sqlite3.Error, OSError)) else _pg_reason(inner)
    return TransientError(f"the database cannot be used now: {reason}")


def _pg_reason(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__}{f' ({state})' if state else ''}"
