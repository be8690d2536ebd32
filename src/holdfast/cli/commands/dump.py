"""`holdfast dump`"""

from __future__ import annotations

import json

import click

from holdfast.cli import exit_codes
from holdfast.cli.options import ProcessId, Seconds, json_option
from holdfast.cli.other_process import dump_of


@click.command(short_help="Show who holds what in a process.")
@click.argument("pid", type=ProcessId())
@json_option
@click.option(
    "--timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    help="How many seconds to wait for the answer. If it does not come, the exit code is 124.",
)
def dump(pid: int, as_text: bool, timeout: float) -> int:
    """Show which tasks and threads of the process PID hold which primitives, who waits for them, and deadlocks.

    It prints what `holdfast.debug.dump()` returns there. It needs Python 3.14 or later, the same version here and
    there, holdfast there, and the right to look into the process: that of its user or of root. On Linux, a process that
    does nothing is stopped for a moment, so that it looks up.
    """
    found = dump_of(pid, timeout)
    click.echo(json.dumps(found["dump"]) if as_text else found["text"])
    return exit_codes.OK
