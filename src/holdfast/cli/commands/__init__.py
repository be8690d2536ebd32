"""The commands: one file for each. This one puts them together, and runs the one that the command line names."""

from __future__ import annotations

import signal
import sys

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.messages import complain, saying
from holdfast.cli.version import VERSION

from . import barrier, break_, deadlocks, demo, dump, event, lock, ls, reopen, resize, semaphore, show, top, web


def run() -> int:
    """Run the command line; return the exit code. Raises OSError if something cannot be printed."""
    stdout = sys.stdout
    try:
        code = cli.main(prog_name="holdfast", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.Abort:
        return exit_codes.BY_SIGNAL + signal.SIGINT
    except click.ClickException as exc:
        with saying():
            exc.show()
        return exc.exit_code
    except Failure as exc:
        complain(str(exc))
        return exc.exit_code
    except SystemExit:
        if sys.stdout is stdout:
            raise
        raise BrokenPipeError from None  # for a broken pipe, click replaces stdout, and exits with 1
    return code if isinstance(code, int) else exit_codes.OK


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(version)s")
def cli() -> None:
    """Let commands wait for one another: locks, semaphores, events and barriers that all processes share by name.

    The first to ask is the first to be served. What a process holds is free again when it ends, however it ends.

    \b
    Exit codes: those of CMD, and
      123  the lock or permit was lost, so CMD was ended
      124  the time of --timeout has passed
      125  holdfast itself failed
      126  CMD cannot be executed
      127  CMD cannot be found
      128+N  CMD, or holdfast while it waited, was ended by signal N
    """


for _command in (
    lock.lock,
    semaphore.semaphore,
    event.event,
    barrier.barrier,
    ls.ls,
    show.show,
    top.top,
    web.web,
    deadlocks.deadlocks,
    break_.break_,
    resize.resize,
    reopen.reopen,
    dump.dump,
    demo.demo,
):
    cli.add_command(_command)
