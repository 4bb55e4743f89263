"""``python -m benchmarks.calls``: the table of BENCHMARKS.md, "Calls a pass"."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from benchmarks.calls.aws import groups_counted
from benchmarks.calls.kubernetes import Calls, counted

SIZES = (3, 50)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="variants, or groups")
    sizes = parser.parse_args().sizes
    print("| platform | variants | at the start | watches held | a steady pass | one more replica | one fewer |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        one = counted(size)
        cells = (_told(one.start), str(one.watches), _told(one.steady), _told(one.grown), _told(one.shrunk))
        print(f"| Kubernetes | {size} | {' | '.join(cells)} |")
    for group in groups_counted(sizes):
        print(f"| AWS | {group.groups} | | | {_plain(group.steady)} | {_plain(group.grown)} | {_plain(group.shrunk)} |")


def _told(calls: Calls) -> str:
    return _plain({f"{verb} {resource}": count for (verb, resource), count in calls.items()})


def _plain(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(calls.items())) or "0"


if __name__ == "__main__":
    main()
