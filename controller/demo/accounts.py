"""The demo's accounts: where its usage records go, what settles its hours, and who spent what in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controller.accounting import Accounting
from controller.attribute.batch import Batch
from controller.demo.spend import spend_lines
from controller.errors import LedgerError
from controller.facts.account_reader import AccountReader, Window
from controller.facts.usage import Receipt
from controller.ledger.accounts.standing import standing
from controller.ledger.accounts.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What the demo needs of them.

    take     (source, records): returns when they are recorded for good
    settle   one round of the accountant, at a time of the demo's
    url      of the ledger
    """

    take: Callable[[str, Batch], Receipt]
    settle: Callable[[datetime], object]
    reader: AccountReader
    url: str

    @classmethod
    def of(cls, accounting: Accounting) -> Accounts:
        """The program's own."""
        return cls(
            take=accounting.intake.add,
            settle=accounting.accountant.step,
            reader=accounting.reader,
            url=accounting.settings.ledger_url,
        )

    def told(self) -> list[str]:
        """Who spent what, for the closing words: of the settled hours, or of all where none is settled yet."""
        try:
            found = standing(self.url)
            if found.first is None or found.until is None:
                return ["Nobody's spend yet: no hour has been accounted."]
            window = Window(start=found.first, end=found.settled_until or found.until)
            return spend_lines(self.reader, window, verify(self.url, window.start, window.end))
        except LedgerError as error:
            return [f"Spend by team could not be read: {error}"]
