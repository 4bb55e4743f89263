"""Several fleets may share a ledger, each with a daemon of its own. A service belongs to one of them at a time.

Everything that is known of services is kept by their names, so whose a service is says who reads and replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, text

from controller.facts.accounts import Pool
from controller.facts.commitments import Bought
from controller.facts.fleet import Fleet
from controller.ledger.engine import ledger_errors, reader_engine, shown
from controller.ledger.rollup import Row
from controller.ledger.tables import FleetCapacityRow, FleetServiceRow, table

OWN_KEY = 7_345_209_883
"""Of PostgreSQL's advisory lock: whoever takes services does so alone."""


def ours(service: ColumnElement[str], fleet: str) -> ColumnElement[bool]:
    """Of services of ``fleet``; as long as no other fleet is on the ledger, of every service that ever was."""
    owned, theirs = table(FleetServiceRow).c, table(FleetServiceRow).alias().c
    is_alone = ~exists(select(theirs.service).where(theirs.fleet != fleet))
    return service.in_(select(owned.service).where(owned.fleet == fleet)) | is_alone


def watching(fleet: ColumnElement[str], service: str) -> ColumnElement[bool]:
    """Of the fleet that ``service`` belongs to. What an earlier name of it did counts too, what other fleets do not."""
    owned, its = table(FleetServiceRow).c, table(FleetServiceRow).alias().c
    owner = select(its.fleet).where(its.service == service).scalar_subquery()
    return fleet.not_in(select(owned.fleet).where(owned.fleet != owner))


def owners(connection: Connection) -> dict[str, str]:
    """The fleet of each service; of a ledger that no daemon of this version has opened yet, nothing."""
    owned = table(FleetServiceRow).c
    return {row.service: row.fleet for row in connection.execute(select(owned.service, owned.fleet))}


def own(connection: Connection, name: str, fleet: Fleet, now: datetime, runs: Callable[[str], bool]) -> dict[str, str]:
    """The services of ``fleet`` are those of the daemon ``name`` from now on, and no others are.

    One that belongs to another fleet moves only when ``runs`` says that nobody works there any more. Where one cannot
    move nothing changes; the answer names those, each with the fleet that has it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OWN_KEY})
    had = owners(connection)
    elsewhere = {service: had[service] for service in fleet.services if had.get(service, name) != name}
    running = {other for other in sorted(set(elsewhere.values())) if runs(other)}
    refused = {service: other for service, other in elsewhere.items() if other in running}
    if not refused:
        _replace(connection, name, fleet, now, had)
    return refused


def _replace(connection: Connection, name: str, fleet: Fleet, now: datetime, had: Mapping[str, str]) -> None:
    services, capacity = table(FleetServiceRow), table(FleetCapacityRow)
    mine = {service for service, owner in had.items() if owner == name}
    gone = sorted((mine - set(fleet.services)) | {one for one in fleet.services if had.get(one, name) != name})
    connection.execute(delete(services).where(services.c.service.in_(gone)))
    connection.execute(delete(capacity).where(capacity.c.service.in_([*gone, *fleet.services])))
    new = sorted(set(fleet.services) - (mine - set(gone)))
    if new:
        connection.execute(insert(services), [{"service": one, "fleet": name, "since": now} for one in new])
    if rows := list(_capacity_rows(fleet)):
        connection.execute(insert(capacity), rows)


def _capacity_rows(fleet: Fleet) -> Iterator[Row]:
    for variant in fleet.variants():
        for one in variant.capacity:
            yield {
                "service": variant.service,
                "variant": variant.name,
                "capacity_type": one.type.value,
                "offer": one.offer or "",
                "commitment": one.commitment,
            }


def bought_in(url: str, pool: Pool) -> Bought:
    """How another fleet's capacity is bought, as its daemon said at its last start or reload. Raises LedgerError."""
    capacity = table(FleetCapacityRow).c
    this = (capacity.service == pool.service, capacity.variant == pool.variant)
    query = select(capacity.offer, capacity.commitment).where(*this, capacity.capacity_type == pool.capacity_type.value)
    engine = reader_engine(url)
    try:
        with ledger_errors("read the fleets", shown(url), "nothing was changed"), engine.begin() as connection:
            row = connection.execute(query).first()
    finally:
        engine.dispose()
    return Bought() if row is None else Bought(offer=row.offer, commitment=row.commitment)
