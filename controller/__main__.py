"""The command line: what the user types, and the exit codes.

0 done; 1 failed while running; 2 a file or an argument is wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from controller.cli import ask, run
from controller.errors import ConfigError, PennyweightError

DEFAULT_FLEET = Path("fleet.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbose else parsed.log_level,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # overruns are told by the daemon
    try:
        return int(parsed.command(parsed))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        count = len(error.problems)
        print(f"{count} problem{'s' if count != 1 else ''}; nothing was started or changed", file=sys.stderr)
        return 2
    except PennyweightError as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pennyweight",
        description="Measures an LLM inference fleet in money and turns its knobs safely.",
        epilog="Start with `pennyweight demo`. Then write a fleet.yaml and a policy, and `pennyweight check` them.",
    )
    parser.set_defaults(log_level=logging.INFO)
    parser.add_argument("--verbose", "-v", action="store_true", help="one log line a pass")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_running(commands)
    _add_asking(commands)
    return parser


def _add_running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="a fleet measured in money and scaled, with nothing to set up")
    demo.add_argument(
        "--engine", choices=("emulated", "vllm"), default="emulated", help="vllm: real processes, tiny model"
    )
    demo.add_argument("--passes", type=_positive, metavar="N", help="end after N passes")
    demo.add_argument("--no-dashboard", action="store_true", help="only the terminal")
    demo.add_argument("--speed", type=float, default=None, metavar="X", help="virtual seconds a second (default 240)")
    demo.add_argument("--fast", action="store_true", help="as fast as the passes go")
    demo.add_argument("--directory", type=Path, metavar="DIR", help="keep the demo's files and ledger here")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="another day's traffic")
    # The summary tells of every decision already.
    demo.set_defaults(command=run.demo, log_level=logging.ERROR)

    daemon = commands.add_parser("run", help="the daemon: passes until SIGTERM; SIGHUP reloads")
    _fleet(daemon)
    daemon.set_defaults(command=run.daemon)

    once = commands.add_parser("once", help="measure for one window, decide once, show it")
    _fleet(once)
    once.add_argument("--window", metavar="DURATION", default="15s", help="how long to measure (default 15s)")
    once.set_defaults(command=run.once)


def _add_asking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("check", help="every mistake in fleet file, policies and policy tests")
    check.add_argument(
        "paths", nargs="*", type=Path, metavar="POLICY", help="policy files or folders, instead of the fleet's"
    )
    _fleet(check, required=False)
    check.set_defaults(command=ask.check)

    schema = commands.add_parser("schema", help="the JSON Schema of a file, for editors")
    schema.add_argument("kind", choices=("policy", "fleet"))
    schema.set_defaults(command=ask.schema)

    status = commands.add_parser("status", help="the last pass, from the ledger")
    _fleet(status)
    status.set_defaults(command=ask.status)

    explain = commands.add_parser("explain", help="the last decision about a service, in sentences")
    explain.add_argument("service")
    _fleet(explain)
    explain.set_defaults(command=ask.explain_service)

    pause = commands.add_parser("pause", help="decide nothing for a service until resumed; survives a restart")
    pause.add_argument("service")
    pause.add_argument("--reason", required=True, help="for whoever wonders at 2 AM")
    _fleet(pause)
    pause.set_defaults(command=ask.pause)

    resume = commands.add_parser("resume", help="decide again")
    resume.add_argument("service")
    _fleet(resume)
    resume.set_defaults(command=ask.resume)


def _fleet(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    default = DEFAULT_FLEET if required else None
    parser.add_argument("--fleet", type=Path, default=default, metavar="FILE", help="fleet file (default fleet.yaml)")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
