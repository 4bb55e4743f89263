"""What tests of PostgreSQL rely on: whatever one of them leaves behind, the next has a database as it was made."""

import psycopg
import pytest

NAMED = {"pool": ["'a'"] * 3, "identity": ["'a'"] * 5, "seat": ["'a'"] * 6 + ["1"]}
"""A row of each dictionary, without its number."""

LOCK = "SELECT pg_try_advisory_lock(7)"


@pytest.fixture
def into(postgres_folder):
    """Connects to a database."""

    def connect(name):
        return psycopg.connect(host=postgres_folder, user="postgres", dbname=name, autocommit=True)

    return connect


def everything(connection):
    """By table its rows, and the number that each dictionary gives next."""
    names = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in connection.execute(names)}
    inserts = [f"INSERT INTO {name} VALUES (DEFAULT, {', '.join(texts)}) RETURNING id" for name, texts in NAMED.items()]
    return rows, [connection.execute(one).fetchone() for one in inserts]


def test_a_copy_that_was_written_into_is_as_new_for_the_next(migrated_postgres, into):
    first = migrated_postgres.lend()
    with into(first) as connection:
        fresh = everything(connection)
        connection.execute("CREATE TABLE usage_seen_0 PARTITION OF usage_seen FOR VALUES FROM (0) TO (24)")
        connection.execute("INSERT INTO usage_seen VALUES (1, 2, 3)")
        connection.execute("UPDATE identity SET team = 'mine' WHERE id = 1")
        connection.execute("DELETE FROM schema_version")
    assert fresh[0]["schema_version"] != []
    migrated_postgres.take_back(first)
    second = migrated_postgres.lend()
    with into(second) as connection:
        assert everything(connection) == fresh
    migrated_postgres.take_back(second)
    assert second == first, "else nothing was shown"


def test_whoever_is_still_in_a_copy_is_sent_away_with_all_locks(migrated_postgres, into):
    name = migrated_postgres.lend()
    with into(name) as left:
        assert left.execute(LOCK).fetchone() == (True,)
        migrated_postgres.take_back(name)
        assert migrated_postgres.lend() == name
        with into(name) as connection:
            assert connection.execute(LOCK).fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    migrated_postgres.take_back(name)


@pytest.mark.parametrize(
    "altered", ["ALTER TABLE gap ADD note TEXT", "CREATE TABLE mine (a INTEGER)", "DROP INDEX decision_by_service"]
)
def test_a_copy_whose_tables_were_altered_is_not_lent_again(migrated_postgres, into, altered):
    name = migrated_postgres.lend()
    with into(name) as connection:
        connection.execute(altered)
    migrated_postgres.take_back(name)
    other = migrated_postgres.lend()
    assert other != name
    migrated_postgres.take_back(other)
