"""The command line: what the user types, and the exit codes.

0 done; 1 failed while running; 2 a file or an argument is wrong; 130 Ctrl-C; 141 whoever read the output went away.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from controller.cli import account_arguments, backtest_arguments, stop_arguments
from controller.cli.arguments import VERBOSE, Later, add_command, add_fleet
from controller.cli.numbers import number, positive, whole
from controller.cli.screen import counted
from controller.cli.typed import READS_ON, Parser, parsed
from controller.demo.dashboard import FIRST_PORT as DASHBOARD_PORT
from controller.errors import ConfigError, PennyweightError

INTAKE_PORT = 9189
"""Beside the daemon's own, 9188."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        read = parsed(_parser(), sys.argv[1:] if arguments is None else arguments)
        logging.basicConfig(
            level=logging.DEBUG if read.verbose else read.log_level,
            format="%(asctime)s %(levelname)s %(message)s",
            stream=sys.stderr,
        )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # overruns are told by the daemon
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each call of the Kubernetes API
        for name in ("boto3", "botocore"):  # at INFO where credentials were found, at DEBUG what signs each request
            logging.getLogger(name).setLevel(logging.WARNING)
        code = int(read.command(read))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        count = sum(problem.mistakes for problem in error.problems)
        print(f"{counted(count, 'problem')}; nothing was started or changed", file=sys.stderr)
        return 2
    except PennyweightError as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pennyweight schema fleet | head`; what is still buffered has nobody to go to either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="pennyweight",
        description="Measures an LLM inference fleet in money and turns its knobs safely.",
        epilog="Start with `pennyweight demo`. Then write a fleet.yaml and a policy, and `pennyweight check` them. "
        "`pennyweight COMMAND --help` tells more.",
    )
    parser.set_defaults(log_level=logging.INFO)
    parser.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_running(commands)
    _add_asking(commands)
    stop_arguments.add_to(commands)
    _add_profile(commands)
    _add_backtest(commands)
    account_arguments.add_to(commands)
    return parser


def _add_running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = add_command(
        commands,
        "demo",
        Later("demo", "demo"),
        "a fleet measured in money and scaled, with nothing to set up",
        "The real daemon over emulated engines; opens the dashboard. Ctrl-C ends it with a summary.",
    )
    demo.add_argument(
        "--engine", choices=("emulated", "vllm"), default="emulated", help="vllm: real processes, tiny model"
    )
    demo.add_argument("--passes", type=positive, metavar="N", help="end after N passes (default: one day)")
    demo.add_argument("--no-dashboard", action="store_true", help="only the terminal")
    demo.add_argument("--speed", type=number, metavar="X", help="virtual seconds a second (default 240)")
    demo.add_argument("--fast", action="store_true", help="as fast as the passes go")
    demo.add_argument("--directory", type=Path, metavar="DIR", help="keep the demo's files and ledger here")
    demo.add_argument("--seed", type=whole, default=1, metavar="N", help="another day's traffic (default 1)")
    demo.set_defaults(log_level=logging.ERROR)

    daemon = add_command(
        commands,
        "run",
        Later("run", "daemon"),
        "the daemon: passes until SIGTERM; SIGHUP reloads",
        "Serves /metrics, /readyz and a JSON API. SIGTERM and Ctrl-C let the running pass finish; engines keep "
        "running. SIGHUP reads the files again, all or nothing.",
    )
    add_fleet(daemon)

    ingest = add_command(
        commands,
        "ingest",
        Later("run", "ingest"),
        "take usage records, in a process of its own",
        "POST /api/v1/usage as the daemon has it, for more records than it should be busy with; any number of them may "
        "work on one ledger.",
    )
    add_fleet(ingest)
    ingest.add_argument("--port", type=whole, default=INTAKE_PORT, metavar="N", help="default %(default)s")

    once = add_command(
        commands,
        "once",
        Later("once", "once"),
        "measure for one window, decide once, show it",
        "The pass is recorded in the ledger, and in mode `act` it acts. While a daemon runs, ask `status` instead.",
    )
    add_fleet(once)
    once.add_argument("--window", metavar="DURATION", default="15s", help="how long to measure (default 15s)")

    dashboard = add_command(
        commands,
        "dashboard",
        Later("dashboard", "dashboard"),
        "the pages for finance and ops",
        "Reads the fleet file's ledger, whether or not a daemon runs, and changes nothing.",
    )
    add_fleet(dashboard)
    dashboard.add_argument("--port", type=whole, default=DASHBOARD_PORT, metavar="N", help="default %(default)s")
    once.set_defaults(log_level=logging.WARNING)  # its tables tell what the log would


def _add_asking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = add_command(
        commands,
        "check",
        Later("check", "check"),
        "every mistake in fleet file, policies and policy tests",
        "Touches nothing. Exit code 2 when anything is wrong: fit for CI.",
    )
    check.add_argument(
        "paths", nargs="*", type=Path, metavar="POLICY", help="policy files or folders, instead of the fleet's"
    )
    add_fleet(check, required=False)

    schema = add_command(
        commands,
        "schema",
        Later("check", "schema"),
        "the JSON Schema of a file, for editors",
        "For completion while you type: `pennyweight schema fleet > fleet.schema.json`.",
    )
    schema.add_argument("kind", choices=("policy", "fleet"), help="which of the two files")

    status = add_command(
        commands,
        "status",
        Later("ask", "status"),
        "the last pass, from the ledger",
        "Works whether or not the daemon runs. A ? is a value that could not be had; `explain` says why.",
    )
    add_fleet(status)

    explain = add_command(
        commands,
        "explain",
        Later("ask", "explain_service"),
        "the last decision about a service, in sentences",
        "Works whether or not the daemon runs.",
    )
    _service(explain)
    add_fleet(explain)

    pause = add_command(
        commands,
        "pause",
        Later("ask", "pause"),
        "decide nothing for a service until resumed; survives a restart",
        "The daemon heeds it from its next pass on and goes on measuring.",
    )
    _service(pause)
    pause.add_argument("--reason", required=True, metavar="TEXT", help="for whoever wonders at 2 AM")
    add_fleet(pause)

    resume = add_command(
        commands, "resume", Later("ask", "resume"), "decide again", "Ends a pause from the daemon's next pass on."
    )
    _service(resume)
    add_fleet(resume)


def _add_profile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    measure = add_command(
        commands,
        "profile",
        Later("profile", "profile"),
        "measure a server under load and fit its step model",
        "Works on any OpenAI-compatible server that counts its tokens. Latency counts from the time a request was due. "
        "Ctrl-C keeps what was measured.",
    )
    measure.add_argument("url", metavar="URL", help="the server, such as http://10.0.0.5:8000")
    measure.add_argument("--model", metavar="NAME", help="default: the only one that it serves")
    measure.add_argument("--api", choices=("completions", "chat"), default="completions", help="default %(default)s")
    measure.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    for name, default, text in (
        ("concurrency", None, "requests kept in flight, a point each (default 1,2,4,8,16)"),
        (
            "rates",
            None,
            "requests/s arriving at random, a point each (default: 50, 70, 85 %% of what --concurrency reached)",
        ),
        ("prompt-tokens", "256,1024", "mean prompt lengths, each with every load (default %(default)s)"),
        ("output-tokens", "128", "mean output lengths (default %(default)s)"),
    ):
        measure.add_argument(f"--{name}", metavar="N,N", default=default, help=text)
    measure.add_argument("--closed-loop-only", action="store_true", help="no arrivals at random")
    for name, default, metavar, text in (
        ("spread", "0.5", "X", "standard deviation / mean of the lengths (default %(default)s)"),
        ("duration", "30s", "DURATION", "measured at each point (default %(default)s)"),
        ("warm-up", "5s", "DURATION", "loaded before that and not measured (default %(default)s)"),
        ("timeout", "120s", "DURATION", "a request is given up after (default %(default)s)"),
        ("usd-per-hour", None, "USD", "what the server costs"),
        ("prior", None, "FILE", "earlier profile, for what this sweep does not excite"),
        ("offer", None, "OFFER", "price book entry instead: provider/region/instance type"),
    ):
        measure.add_argument(f"--{name}", metavar=metavar, default=default, help=text)
    measure.add_argument("--capacity-type", choices=("on_demand", "spot"), default="on_demand", help="how it is bought")
    measure.add_argument("--gpus", type=positive, metavar="N", help="GPUs of the offer that it uses (default: all)")
    measure.add_argument("--seed", type=whole, default=1, metavar="N", help="other lengths and arrivals (default 1)")
    measure.add_argument("--out", "--json", dest="out", metavar="FILE", help="keep the profile here; - prints only it")
    measure.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .png, .svg or .pdf")
    measure.set_defaults(log_level=logging.WARNING, **{READS_ON: True})


def _add_backtest(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rehearse = add_command(
        commands,
        "backtest",
        Later("backtest", "backtest"),
        "rehearse policies on a trace, beside other autoscalers",
        "The same decision code as in production, on simulated engines; docs/backtest.md tells how. Exit code 1 when "
        "--fail-if holds, 2 when anything given is wrong.",
    )
    backtest_arguments.add_to(rehearse)
    rehearse.set_defaults(log_level=logging.ERROR, **{READS_ON: True})


def _service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="its name in the fleet file")


if __name__ == "__main__":
    sys.exit(main())
