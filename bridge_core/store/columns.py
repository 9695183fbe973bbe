"""The columns that all tables are made of, and what holds the tables."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, SmallInteger, Text, text

metadata = MetaData()

# SQLite makes only an INTEGER key the row's own number, which saves an index.
BIG_KEY = BigInteger().with_variant(Integer(), "sqlite")


def an_id() -> Column[int]:
    """The key `id`, given out by us."""
    return Column("id", BIG_KEY, primary_key=True, autoincrement=False)


def number(
    name: str, default: int | None = None, *, key: bool = False, kind: type[BigInteger | SmallInteger] = BigInteger
) -> Column[int]:
    """A number, never NULL."""
    server = None if default is None else text(str(default))
    return Column(name, kind(), nullable=False, server_default=server, primary_key=key, autoincrement=False)


def words(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    """A text."""
    return Column(name, Text, nullable=null, primary_key=key)


def octets(name: str, *, key: bool = False, null: bool = False) -> Column[bytes]:
    """Bytes."""
    return Column(name, LargeBinary, nullable=null, primary_key=key)
