"""What happened and what it cost: tables, numbered migrations, writing, reading. The one room that knows SQL."""
