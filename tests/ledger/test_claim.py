"""Two controllers never work over one ledger."""

import os
import subprocess
import sys
import time
from contextlib import closing

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from controller.errors import LedgerError
from controller.ledger.claim import Lead, claimed
from controller.ledger.engine import writer_engine
from controller.ledger.write import Ledger

CLAIM_AND_WAIT = """
import sys
import time
from controller.ledger.write import Ledger
ledger = Ledger.open(sys.argv[1])
ledger.claim()
print("claimed", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_one_is_gone_even_by_kill(url):
    with closing(Ledger.open(url)):
        """The schema is there before the race."""
    first = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline().strip() == "claimed"
        with closing(Ledger.open(url)) as second, pytest.raises(LedgerError, match="another pennyweight"):
            second.claim()
    finally:
        first.kill()
        first.communicate()
    _claimable_soon(url)


def test_a_claim_ends_with_its_ledger(url):
    for _ in range(2):
        with closing(Ledger.open(url)) as ledger:
            ledger.claim()


def _claimable_soon(url):
    """PostgreSQL notices a killed client when its connection breaks, which takes it a moment."""

    ends = time.monotonic() + 60
    while True:
        try:
            with closing(Ledger.open(url)) as ledger:
                ledger.claim()
            return
        except LedgerError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def test_a_claim_that_the_database_does_not_answer_holds_no_connection(fresh_postgres):
    engine = writer_engine(fresh_postgres())

    @event.listens_for(engine, "begin")
    def gone(_: Connection) -> None:
        raise OperationalError("BEGIN", {}, ConnectionError("the server closed the connection"))

    with pytest.raises(OperationalError) as failed:
        claimed(engine, "the ledger")
    assert engine.pool.checkedout() == 0, failed  # who still has the traceback keeps what it refers to alive
    engine.dispose()


def test_a_full_disk_loses_no_lock(tmp_path):
    """/dev/full has no space left. A lock that is held, and that its holder does not know of, would never be let go."""
    os.symlink("/dev/full", tmp_path / "pennyweight.db.settling")
    with closing(Lead(f"sqlite:///{tmp_path}/pennyweight.db")) as lead:
        assert lead.held()
        assert lead.held()
    with closing(Lead(f"sqlite:///{tmp_path}/pennyweight.db")) as following:
        assert following.held()


def test_a_lock_that_cannot_be_made_is_told_as_the_ledger_s_trouble(tmp_path):
    os.symlink("/nowhere/at/all", tmp_path / "pennyweight.db.settling")
    with (
        closing(Lead(f"sqlite:///{tmp_path}/pennyweight.db")) as lead,
        pytest.raises(LedgerError, match=r"could not lock .*settling"),
    ):
        lead.held()
