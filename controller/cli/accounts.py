"""The accounts as commands open them, and what to do where they have nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

from controller.attribute.statics import statics_of
from controller.errors import PennyweightError
from controller.facts.account_reader import AccountReader, Window
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.standing import Standing, standing
from controller.settings.load import Settings


@contextmanager
def accounts_of(settings: Settings) -> Iterator[AccountReader]:
    """Read only. LedgerError where there is no ledger with accounts; it says what to do."""
    standing(settings.ledger_url)
    with closing(LedgerAccounts(settings.ledger_url, statics_of(settings.fleet))) as reader:
        yield reader


def check_accounted(settings: Settings, window: Window) -> str:
    """What to say of a ``window`` that is accounted in part, else "".

    PennyweightError when no hour of it is: which ones are, and what to do.
    """
    found = standing(settings.ledger_url)
    if found.first is None or found.until is None:
        raise PennyweightError(nothing_yet(found))
    if window.end <= found.first or window.start >= found.until:
        raise PennyweightError(
            f"nothing is accounted from {_time(window.start)} to {_time(window.end)} UTC: the ledger has "
            f"{_time(found.first)} to {_time(found.until)} UTC"
        )
    if found.until + LATE < window.end:
        return f"Accounted only until {_time(found.until)} UTC; the daemon goes on while it runs."
    return ""


LATE = timedelta(hours=1)
"""The running hour may not be accounted yet."""


def nothing_yet(found: Standing) -> str:
    """What to do about a ledger without accounts."""
    if found.measured:
        return (
            "the fleet is measured and no hour is accounted yet: the daemon does that a few minutes after an hour's "
            "end, while it runs (`pennyweight run`)"
        )
    return "the ledger has measured nothing yet: start the daemon with `pennyweight run`, and ask again in an hour"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
