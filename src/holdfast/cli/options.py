"""What the commands take: types, options, and where CMD begins on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL, by default."""


class Seconds(click.types.FloatParamType):
    """A number of seconds, 0 or more."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds) or seconds < 0:
            self.fail(f"{value!r} is not a valid number of seconds.", param, ctx)
        return seconds


class Text(click.types.StringParamType):
    """A text in UTF-8, whatever the locale says: under LC_ALL=C a name is the same as elsewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self.read(value)

    @staticmethod
    def read(value: str) -> str:
        """A text from the system, read as UTF-8. Bytes that are not UTF-8 become surrogates, as in Python."""
        return os.fsencode(value).decode("utf-8", "surrogateescape")


def _session_options(ttl: str, timeout: str) -> Callable[[F], F]:
    """The options of every command that opens a session. ttl, timeout: the help of these two."""
    options = [
        click.option(
            "--url",
            help="Where the state is kept: a directory, for the processes of this machine, as "
            "sqlite:///var/lib/locks; or a server, for many machines: Redis or Valkey, as "
            "redis://locks.example.org, PostgreSQL, as postgresql://db.example.org/DATABASE, or etcd, as "
            "etcd://locks.example.org. "
            "If left out: what the environment variable HOLDFAST_URL says, or else a directory of yours in /tmp.",
        ),
        click.option(
            "--namespace",
            type=Text(),
            metavar="TEXT",
            default="default",
            show_default=True,
            help="Commands with different namespaces do not see each other's names.",
        ),
        click.option("--ttl", type=float, metavar="SECONDS", help=ttl),
        click.option("--timeout", type=Seconds(), metavar="SECONDS", help=timeout),
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_PATIENCE = (
    "Wait for so long at most, then give up with exit code 124. With 0, do not wait for others at all. If left out: "
    "wait for as long as it takes."
)
holding_options = _session_options(
    ttl="If holdfast hangs for so long (it was stopped, the machine slept, the server is out of reach), what it holds "
    "goes to the next in line, and its own CMD is ended. If left out: on one machine, it keeps what it holds as long "
    "as it runs; on a server, 10.",
    timeout=_PATIENCE,
)
"""Of the commands that run CMD."""
waiting_options = _session_options(
    ttl="If holdfast hangs for so long (it was stopped, the machine slept, the server is out of reach), it counts as "
    "gone, and gives up with exit code 125. If left out: on one machine, it waits as long as it runs; on a server, 10.",
    timeout=_PATIENCE,
)
"""Of the commands that wait, and run no CMD."""
looking_options = _session_options(
    ttl="On a server, give up with exit code 125 if it has been out of reach for so long. If left out: 10.",
    timeout="Give up with exit code 124 if what keeps the state has not answered within so long. With 0, that is 5. If "
    "left out: wait for as long as it takes.",
)
"""Of the commands that hold nothing, and wait for nobody."""


json_option = click.option("--json", "as_text", is_flag=True, help="Print JSON, for programs.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Say nothing if the time of --timeout has passed; the exit code tells."
)
every_option = click.option(
    "--every",
    type=Seconds(),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Look so often; less often if that would take more than a twentieth of a core.",
)
name_argument = click.argument("name", type=Text())


class Count(click.IntRange):
    """N, 1 or more. A word in its place shows that it is missing, as in `holdfast semaphore api -- CMD`."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            int(value)
        except ValueError:
            self.fail(f"{value!r} is no integer of 1 or more. Has N been left out?", param, ctx)
        return int(super().convert(value, param, ctx))


class ProcessId(click.IntRange):
    """The number of a process, 1 or more."""

    name = "pid"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is no process id.", param, ctx)
        return number


def count_argument(command: F) -> F:
    """N, 1 or more."""
    return click.argument("n", metavar="N", type=Count())(command)


def command_options(command: F) -> F:
    """The options of the commands that run CMD."""
    grace = click.option(
        "--grace",
        type=Seconds(),
        default=GRACE,
        show_default=True,
        metavar="SECONDS",
        help="If the lock or permit is lost, or holdfast is killed, CMD is asked to end (SIGTERM). If it still runs "
        "after so many seconds, it is killed (SIGKILL).",
    )
    arguments = click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
    return holding_options(quiet_option(grace(arguments(command))))


class RunsCommand(click.Command):
    """A command that runs CMD. CMD begins after '--', or at the first word that is neither an option nor an argument.

    From there on all words are CMD's, also those that look like options of holdfast.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._marked(ctx, args))

    def _marked(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, with '--' before CMD."""
        parameters = self.get_params(ctx)
        takes_value = {
            name: not (isinstance(each, click.Option) and each.is_flag) and each.nargs == 1
            for each in parameters
            for name in each.opts
        }
        takes_value |= dict.fromkeys(self.get_help_option_names(ctx), False)
        arguments = sum(isinstance(each, click.Argument) for each in parameters) - 1  # before CMD
        position = 0
        while position < len(args):
            word = args[position]
            if word == "--":
                return args
            if word.startswith("-") and word != "-":
                position += 1 + takes_value.get(word, False)
            elif arguments:
                arguments -= 1
                position += 1
            else:
                return [*args[:position], "--", *args[position:]]
        return args
