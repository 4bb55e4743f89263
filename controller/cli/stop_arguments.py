"""The arguments of `stop` and `go`."""

from __future__ import annotations

from controller.cli.arguments import Commands, Later, add_command, add_fleet


def add_to(commands: Commands) -> None:
    """``stop`` and ``go``."""
    stopping = add_command(
        commands,
        "stop",
        Later("stop", "stop"),
        "touch nothing until told to go; deciding goes on and is shown",
        "Without a service: the whole fleet. Heeded before each action, also by a pass that has decided. "
        "What had begun goes on: replicas that start come up, those that drain end. Survives restarts.",
    )
    stopping.add_argument("services", nargs="*", metavar="SERVICE", help="left out: everything")
    stopping.add_argument("--reason", default="", metavar="TEXT", help="for whoever wonders at 2 AM")
    stopping.add_argument("--for", dest="lasting", metavar="DURATION", help="it ends by itself after, such as 2h")
    add_fleet(stopping)

    going = add_command(
        commands, "go", Later("stop", "go"), "lift a stop", "Without a service: the stop of everything."
    )
    going.add_argument("services", nargs="*", metavar="SERVICE", help="left out: everything")
    going.add_argument("--all", action="store_true", help="every stop, of services too")
    add_fleet(going)
