"""The schema, from every version there ever was."""

import threading
from contextlib import closing

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.types import TypeDecorator

from controller.errors import LedgerError
from controller.ledger.accounts import dictionaries
from controller.ledger.engine import writer_engine
from controller.ledger.migrate import MIGRATIONS, migrate, schema_version
from controller.ledger.read import LedgerReader
from controller.ledger.tables import Base
from controller.ledger.write import Ledger


@pytest.fixture
def migrates():
    return True


@pytest.fixture
def engine(url):
    made = writer_engine(url)
    yield made
    made.dispose()


def version_of(engine):
    with engine.begin() as connection:
        return schema_version(connection)


def shape(engine):
    """By table: each column with whether it may be NULL, and the primary key."""
    seen = inspect(engine)
    return {
        name: (
            {column["name"]: column["nullable"] for column in seen.get_columns(name)},
            set(seen.get_pk_constraint(name)["constrained_columns"]),
        )
        for name in seen.get_table_names()
        if name != "schema_version"
    }


def test_every_version_becomes_the_next_and_the_last_one_is_the_schema_of_the_classes(engine):
    for version in range(len(MIGRATIONS) + 1):  # each step is the same transaction, whichever version one starts from
        assert migrate(engine, MIGRATIONS[:version]) == version == version_of(engine)
    assert migrate(engine) == len(MIGRATIONS) == version_of(engine)
    assert shape(engine) == {
        name: (
            {column.name: column.nullable for column in table.columns},
            {column.name for column in table.primary_key},
        )
        for name, table in Base.metadata.tables.items()
    }


def test_types_are_those_of_the_classes(engine):
    migrate(engine)
    seen = inspect(engine)
    for name, table in Base.metadata.tables.items():
        found = {column["name"]: column["type"].python_type for column in seen.get_columns(name)}
        for column in table.columns:
            wanted = column.type.dialect_impl(engine.dialect)
            stored = wanted.impl if isinstance(wanted, TypeDecorator) else wanted
            assert found[column.name] is stored.python_type, f"{name}.{column.name}"


def test_rows_survive_the_migrations_after_them(engine):
    migrate(engine, MIGRATIONS[:1])
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO gap VALUES ('2026-03-01T12:00:00+00:00', '2026-03-01T12:05:00+00:00', 'x')")
        )
    migrate(engine)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT why FROM gap")) == "x"


def test_seats_keep_their_numbers_and_new_ones_get_others(engine):
    """Version 7 makes their table anew."""
    migrate(engine, MIGRATIONS[:6])
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO seat (id, service, variant, replica, capacity_type, node, pool) VALUES (:id, :name, '', '', '', '', 1)"
            ),
            [{"id": 16, "name": "16"}, {"id": 40, "name": "40"}],
        )
    migrate(engine)
    ids = dictionaries.seats().ids(engine, [("16", "", "", "", "", "", 1), ("new", "", "", "", "", "ri-1", 1)])
    assert ids == [16, 41]


def test_a_migration_that_fails_leaves_the_version_before_it(engine):
    broken = (*MIGRATIONS, ("CREATE TABLE half_made (a INTEGER)", "CREATE TABLE half_made (a INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        migrate(engine, broken)
    assert version_of(engine) == len(MIGRATIONS)
    assert "half_made" not in inspect(engine).get_table_names()
    assert migrate(engine) == len(MIGRATIONS)


def test_a_newer_schema_is_refused_by_writer_and_reader(url, engine):
    migrate(engine, (*MIGRATIONS, ("CREATE TABLE of_the_future (a INTEGER)",)))
    with pytest.raises(LedgerError, match=f"schema version {len(MIGRATIONS) + 1} and this program knows"):
        Ledger.open(url)
    with closing(LedgerReader(url)) as reader, pytest.raises(LedgerError, match="a newer pennyweight wrote it"):
        reader.services()


def test_an_older_schema_is_not_read_until_the_daemon_migrates_it(url, engine):
    migrate(engine, MIGRATIONS[:2])
    with closing(LedgerReader(url)) as reader:
        with pytest.raises(LedgerError, match="brings it up to date when it starts"):
            reader.services()
        Ledger.open(url).close()
        assert reader.services() == ()


def test_two_daemons_that_start_at_once_migrate_once(url):
    errors = []

    def start():
        try:
            Ledger.open(url).close()
        except Exception as error:
            errors.append(error)

    starting = [threading.Thread(target=start) for _ in range(4)]
    for one in starting:
        one.start()
    for one in starting:
        one.join(timeout=20)
    assert errors == []
    with closing(LedgerReader(url)) as reader:
        assert reader.last_pass() is None
