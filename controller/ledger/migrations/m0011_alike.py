"""Version 11: what each fleet's file says of the accounts that all fleets of a ledger share, as digests."""

STATEMENTS = (
    """
    CREATE TABLE fleet_account (
        fleet TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (fleet, key)
    )
    """,
)
