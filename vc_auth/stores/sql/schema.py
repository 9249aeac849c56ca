"""The tables, and the triggers that tell every change of them."""

import json
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_network
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from vc_auth.clock import from_us, to_us
from vc_auth.records import Network, Scopes

APPLICATION_ID: Final = 0x76634B59  # "vcKY": marks the file as ours; `file keys.db` shows it
VERSION: Final = 2


class Moment(TypeDecorator[datetime]):
    """A UTC time as whole microseconds since 1970: exact, ordered, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> int | None:
        return None if value is None else to_us(value)

    def process_result_value(self, value: int | None, _: Dialect) -> datetime | None:
        return None if value is None else from_us(value)


class ScopeSet(TypeDecorator[Scopes]):
    """Scopes as a sorted JSON list, which a hand in the shell can read and write."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _: Dialect) -> str:
        return json.dumps(sorted(value))

    def process_result_value(self, value: Any, _: Dialect) -> Scopes:
        return Scopes(json.loads(value))


class NetworkList(TypeDecorator[tuple[Network, ...]]):
    """Networks as a JSON list in CIDR form; NULL is anywhere."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Network, ...] | None, _: Dialect) -> str | None:
        return None if value is None else json.dumps([str(network) for network in value])

    def process_result_value(self, value: str | None, _: Dialect) -> tuple[Network, ...] | None:
        return None if value is None else tuple(ip_network(network) for network in json.loads(value))


metadata: Final = MetaData()

projects: Final = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("created_at", Moment),
    Column("suspended_at", Moment),
)

keys: Final = Table(
    "keys",
    metadata,
    Column("number", Integer, primary_key=True),  # the order in which they came; a clock may step
    Column("id", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("display", Text, nullable=False),
    Column("scopes", ScopeSet, nullable=False),
    Column("allowed_networks", NetworkList),
    Column("created_at", Moment),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("replaces", Text, unique=True),  # so a key has one successor; no reference, since the old key may be deleted
    Column("family", Text, nullable=False),
    Index("keys_of_project", "project_id"),
)

changes: Final = Table(
    "changes",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, also when the newest row was deleted
)


# Usage has tables of its own, without triggers: writing it touches nothing that a key may do, and makes nobody forget.
# Projects have sums of their own, so that a year of thousands of keys is 8,760 rows.

COUNTS: Final = ("admitted", "limited", "forbidden")


def _hours(name: str, *ids: str) -> Table:
    """Usage by the hour. The rows are found by their primary key alone, so they live in its index."""
    return Table(
        name,
        metadata,
        *(Column(column, Text, primary_key=True) for column in ids),
        Column("hour", Moment, primary_key=True),
        *(Column(column, BigInteger, nullable=False) for column in COUNTS),
        sqlite_with_rowid=False,
    )


key_hours: Final = _hours("key_hours", "project_id", "key_id")
project_hours: Final = _hours("project_hours", "project_id")

key_totals: Final = Table(
    "key_totals",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("last_used_at", Moment, nullable=False),
    sqlite_with_rowid=False,
)

usage_workers: Final = Table(
    "usage_workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("seen_at", Moment, nullable=False, index=True),
)


_SINCE_2: Final = (key_hours, project_hours, key_totals, usage_workers)
_sqlite: Final = dialect()


def statements(version: int) -> Iterator[str]:
    """What makes this schema of an older one, or of nothing (0), within one transaction of the caller's."""
    for table in metadata.sorted_tables if version == 0 else _SINCE_2:
        yield str(CreateTable(table).compile(dialect=_sqlite))
        for index in table.indexes:
            yield str(CreateIndex(index).compile(dialect=_sqlite))
    if version == 0:
        yield from _triggers("key", "keys", "digest", "id", "replaces")
        yield from _triggers("project", "projects", "id", "name")
        yield f"PRAGMA application_id = {APPLICATION_ID}"
    yield f"PRAGMA user_version = {VERSION}"


def _triggers(kind: str, table: str, told: str, *others: str) -> Iterator[str]:
    """SQLite's triggers for one table, whose rows are told by one column and are unique in the others too."""
    tell = "INSERT INTO changes (kind, id)"
    yield f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN {tell} VALUES ('{kind}', NEW.{told}); END"  # noqa: S608  # our names
    yield f"CREATE TRIGGER {table}_deleted AFTER DELETE ON {table} BEGIN {tell} VALUES ('{kind}', OLD.{told}); END"
    # UNION: one row, or two if the told column itself was changed.
    both = f"SELECT '{kind}', OLD.{told} UNION SELECT '{kind}', NEW.{told}"
    yield f"CREATE TRIGGER {table}_changed AFTER UPDATE ON {table} BEGIN {tell} {both}; END"
    # A row that INSERT OR REPLACE removes fires no DELETE trigger (https://sqlite.org/lang_conflict.html).
    clash = " OR ".join(f"{column} = NEW.{column}" for column in others)
    removed = f"SELECT '{kind}', {told} FROM {table} WHERE {clash}"  # noqa: S608  # our names
    yield f"CREATE TRIGGER {table}_replaced BEFORE INSERT ON {table} BEGIN {tell} {removed}; END"
