"""Run as a process of its own: the whole daemon of a fleet file, on a clock that its standard input moves.

python commanded.py FLEET_FILE START

`pass` is a pass 15 s after the last, `account HOURS` a round of the accountant so much later; each is answered by a
line, with whether this daemon leads.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from controller.settings.load import load_settings
from controller.wiring import built


def main() -> None:
    file, now = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
    with built(load_settings(file, {}), clock=lambda: now) as everything:
        print("ready", flush=True)
        for line in sys.stdin:
            told, *hours = line.split()
            if told == "pass":
                now += timedelta(seconds=15)
                print(len(everything.daemon.step().problems), flush=True)
            else:
                now += timedelta(hours=float(hours[0]))
                everything.daemon.account()
                print("leads" if everything.accounting.leads() else "follows", flush=True)


if __name__ == "__main__":
    main()
