"""A backtest as a page: plots, HTML and Markdown. Equal backtests give equal bytes; only `write` touches files."""
