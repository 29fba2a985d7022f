"""The schema's common ground. Owns the one `MetaData`, its naming convention and the column types.

Each domain declares its own tables on `metadata` in its `tables.py`. No statement is written here.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Dialect, MetaData, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from runyard.kernel.clock import from_unix_micros, unix_micros
from runyard.kernel.jsons import encode_json

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of every domain. Constraint names are stable because error translation and migrations use them."""


class Timestamp(TypeDecorator[datetime]):
    """An aware datetime kept as whole microseconds since 1970, so that both databases sort and compare alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Turn an aware datetime into microseconds; a naive one raises ValueError."""
        return None if value is None else unix_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn microseconds into an aware datetime in UTC."""
        return None if value is None else from_unix_micros(value)


class PathText(TypeDecorator[str]):
    """A path of the project tree, compared byte by byte, so that a project and all below it are one range.

    A collation of the operating system ignores slashes at first: a range would then hold a neighbour's rows.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the byte order on PostgreSQL; SQLite has no other."""
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(160, collation=collation))


class Json(TypeDecorator[Any]):
    """A JSON document: text written by msgspec on SQLite, JSONB on PostgreSQL. None is SQL NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database at hand."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        """Encode a document for SQLite; PostgreSQL's driver encodes by itself."""
        if value is None or dialect.name == "postgresql":
            return value
        return encode_json(value).decode()

    def process_result_value(self, value: object, dialect: Dialect) -> object:
        """Decode a document read from SQLite."""
        if value is None or dialect.name == "postgresql":
            return value
        return msgspec.json.decode(value) if isinstance(value, str | bytes) else value
