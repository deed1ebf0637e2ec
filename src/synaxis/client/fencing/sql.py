"""Guards for rows of a database: the update itself is conditional on the token.

The column ``fence`` holds the highest token that wrote the row. The condition is "not below it",
so that one holder may write many times under its one token.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from synaxis.errors import InvalidArgument, NotFound, StaleFencingToken

__all__ = ["AsyncpgFence", "FencedUpdate", "SqlFence", "SqliteFence", "fence_sql"]

ParamStyle = Literal["qmark", "format", "dollar"]
"""``?`` (sqlite3), ``%s`` (psycopg), ``$1`` (asyncpg)."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


@dataclass(frozen=True, slots=True)
class FencedUpdate:
    """SQL for a guarded table; see ``fence_sql``."""

    migration: str
    """Run once: adds the column."""
    update: str
    """Changes one row unless a higher token has written it; 0 rows changed means refused."""
    seen: str
    """Selects the highest token that has written the row."""
    columns: tuple[str, ...]

    def parameters(
        self, key: object, values: Mapping[str, object], token: int
    ) -> tuple[object, ...]:
        """Return the parameters of ``update``, in order.

        Raises:
            InvalidArgument: ``values`` are not the columns that the statement was made for.
        """
        if set(values) != set(self.columns):
            raise InvalidArgument(f"expected values for {', '.join(self.columns)}")
        return (*(values[column] for column in self.columns), token, key, token)


def fence_sql(
    table: str,
    columns: Sequence[str],
    *,
    key: str = "id",
    fence: str = "fence",
    paramstyle: ParamStyle = "qmark",
) -> FencedUpdate:
    """Return the statements that change ``columns`` of one row under a fencing token.

    Raises:
        InvalidArgument: a name is no plain SQL identifier, or there are no columns.
    """
    for name in (table, key, fence, *columns):
        if not _IDENTIFIER.fullmatch(name):
            raise InvalidArgument(f"not a plain SQL identifier: {name!r}")
    if not columns:
        raise InvalidArgument("at least one column is needed")
    places = _placeholders(paramstyle, len(columns) + 3)
    changes = ", ".join(f"{column} = {next(places)}" for column in (*columns, fence))
    where = f"{key} = {next(places)} AND {fence} <= {next(places)}"
    first = next(_placeholders(paramstyle, 1))
    # Identifiers were checked above, values are parameters.
    return FencedUpdate(
        f"ALTER TABLE {table} ADD COLUMN {fence} BIGINT NOT NULL DEFAULT 0",
        f"UPDATE {table} SET {changes} WHERE {where}",  # noqa: S608
        f"SELECT {fence} FROM {table} WHERE {key} = {first}",  # noqa: S608
        tuple(columns),
    )


def _placeholders(paramstyle: ParamStyle, count: int) -> Iterator[str]:
    match paramstyle:
        case "qmark":
            return iter(["?"] * count)
        case "format":
            return iter(["%s"] * count)
        case "dollar":
            return iter([f"${number}" for number in range(1, count + 1)])
        case _:
            raise InvalidArgument(f"paramstyle must be qmark, format or dollar: {paramstyle!r}")


class Cursor(Protocol):
    """The part of a DB-API cursor that a fence uses."""

    @property
    def rowcount(self) -> int:
        """Rows changed by the last statement."""
        ...

    def execute(self, sql: str, parameters: Sequence[object] = ..., /) -> object:
        """Run a statement."""
        ...

    def fetchone(self) -> Sequence[object] | None:
        """Return the next row."""
        ...


class Connection(Protocol):
    """The part of a DB-API connection that a fence uses; it never commits."""

    def cursor(self) -> Cursor:
        """Return a cursor."""
        ...


class SqlFence:
    """Guards the rows of one table through any DB-API 2.0 connection.

    Everything happens in the caller's transaction; commit or roll back as usual.
    """

    def __init__(
        self,
        connection: Connection,
        table: str,
        *,
        key: str = "id",
        fence: str = "fence",
        paramstyle: ParamStyle = "qmark",
    ) -> None:
        self._connection = connection
        self._table = table
        self._key = key
        self._fence = fence
        self._paramstyle: ParamStyle = paramstyle

    def migrate(self) -> None:
        """Add the column that holds the highest token; run it once."""
        self._connection.cursor().execute(self._statements((self._key,)).migration)

    def update(self, key: object, token: int, **values: object) -> None:
        """Change columns of the row ``key``.

        Raises:
            StaleFencingToken: a higher token has written the row; nothing was changed.
            NotFound: there is no such row.
        """
        statements = self._statements(tuple(values))
        cursor = self._connection.cursor()
        cursor.execute(statements.update, statements.parameters(key, values, token))
        if cursor.rowcount == 0:
            cursor.execute(statements.seen, (key,))
            raise refusal(self._table, key, token, cursor.fetchone())

    def _statements(self, columns: Sequence[str]) -> FencedUpdate:
        return fence_sql(
            self._table, columns, key=self._key, fence=self._fence, paramstyle=self._paramstyle
        )


class SqliteFence(SqlFence):
    """``SqlFence`` for ``sqlite3``."""


class AsyncpgConnection(Protocol):
    """The part of an asyncpg connection or pool that a fence uses."""

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement; returns a tag such as ``UPDATE 1``."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Sequence[object] | None:
        """Return the first row."""
        ...


class AsyncpgFence:
    """Guards the rows of one PostgreSQL table through asyncpg."""

    def __init__(
        self, connection: AsyncpgConnection, table: str, *, key: str = "id", fence: str = "fence"
    ) -> None:
        self._connection = connection
        self._table = table
        self._key = key
        self._fence = fence

    async def migrate(self) -> None:
        """Add the column that holds the highest token; run it once."""
        await self._connection.execute(self._statements((self._key,)).migration)

    async def update(self, key: object, token: int, **values: object) -> None:
        """Change columns of the row ``key``.

        Raises:
            StaleFencingToken: a higher token has written the row; nothing was changed.
            NotFound: there is no such row.
        """
        statements = self._statements(tuple(values))
        parameters = statements.parameters(key, values, token)
        tag = await self._connection.execute(statements.update, *parameters)
        if tag == "UPDATE 0":
            row = await self._connection.fetchrow(statements.seen, key)
            raise refusal(self._table, key, token, row)

    def _statements(self, columns: Sequence[str]) -> FencedUpdate:
        return fence_sql(
            self._table, columns, key=self._key, fence=self._fence, paramstyle="dollar"
        )


def refusal(
    table: str, key: object, token: int, row: Sequence[object] | None
) -> StaleFencingToken | NotFound:
    """Return why no row was changed: ``row`` is what ``FencedUpdate.seen`` selected."""
    if row is None:
        return NotFound(f"{table} has no row {key!r}")
    return StaleFencingToken(
        f"{table} {key!r} was written under token {row[0]}; {token} is stale",
        token=token,
        seen=row[0],
    )
