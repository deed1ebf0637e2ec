"""Guards of rows, with a real SQLite."""

import sqlite3
from collections.abc import Iterator

import pytest

from synaxis.client.fencing import AsyncpgFence, SqliteFence, fence_sql
from synaxis.errors import InvalidArgument, NotFound, StaleFencingToken


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)")
    connection.execute("INSERT INTO accounts VALUES (1, 100)")
    SqliteFence(connection, "accounts").migrate()
    yield connection
    connection.close()


def balance(database: sqlite3.Connection) -> int:
    row = database.execute("SELECT balance FROM accounts WHERE id = 1").fetchone()
    assert isinstance(row[0], int)
    return row[0]


def test_growing_tokens_write(database: sqlite3.Connection) -> None:
    fence = SqliteFence(database, "accounts")
    fence.update(1, 5, balance=90)
    fence.update(1, 6, balance=80)
    assert balance(database) == 80


def test_one_holder_writes_many_times_under_its_token(database: sqlite3.Connection) -> None:
    fence = SqliteFence(database, "accounts")
    fence.update(1, 5, balance=90)
    fence.update(1, 5, balance=85)
    assert balance(database) == 85


def test_a_stale_token_is_refused_and_changes_nothing(database: sqlite3.Connection) -> None:
    fence = SqliteFence(database, "accounts")
    fence.update(1, 6, balance=80)
    with pytest.raises(StaleFencingToken) as caught:
        fence.update(1, 5, balance=0)
    assert caught.value.details == {"token": 5, "seen": 6}
    assert balance(database) == 80


def test_a_row_that_is_not_there_is_not_found(database: sqlite3.Connection) -> None:
    with pytest.raises(NotFound):
        SqliteFence(database, "accounts").update(2, 5, balance=0)


def test_every_style_of_parameters_is_spoken() -> None:
    qmark = fence_sql("t", ["a", "b"])
    assert qmark.update == "UPDATE t SET a = ?, b = ?, fence = ? WHERE id = ? AND fence <= ?"
    assert qmark.parameters(7, {"b": 2, "a": 1}, 9) == (1, 2, 9, 7, 9)
    dollar = fence_sql("t", ["a"], key="k", fence="f", paramstyle="dollar")
    assert dollar.update == "UPDATE t SET a = $1, f = $2 WHERE k = $3 AND f <= $4"
    assert dollar.seen == "SELECT f FROM t WHERE k = $1"
    assert fence_sql("s.t", ["a"], paramstyle="format").update.count("%s") == 4
    assert qmark.migration == "ALTER TABLE t ADD COLUMN fence BIGINT NOT NULL DEFAULT 0"


@pytest.mark.parametrize("name", ["a; DROP TABLE t", "a b", "", '"a"', "1a"])
def test_names_that_are_no_identifiers_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        fence_sql(name, ["a"])
    with pytest.raises(InvalidArgument):
        fence_sql("t", [name])


def test_values_must_fit_the_statement() -> None:
    with pytest.raises(InvalidArgument):
        fence_sql("t", ["a"]).parameters(1, {"b": 1}, 1)
    with pytest.raises(InvalidArgument):
        fence_sql("t", [])


class Postgres:
    """Answers as asyncpg does, for one row written under token 6."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def execute(self, query: str, *args: object) -> str:
        self.statements.append(query)
        return "UPDATE 1" if args and args[-1] == 6 else "UPDATE 0"

    async def fetchrow(self, query: str, *args: object) -> tuple[object, ...] | None:
        self.statements.append(query)
        return (6,) if args == (1,) else None


async def test_asyncpg_is_spoken_too() -> None:
    connection = Postgres()
    fence = AsyncpgFence(connection, "accounts")
    await fence.migrate()
    await fence.update(1, 6, balance=80)
    with pytest.raises(StaleFencingToken):
        await fence.update(1, 5, balance=0)
    with pytest.raises(NotFound):
        await fence.update(2, 5, balance=0)
    assert connection.statements[0].startswith("ALTER TABLE accounts")
