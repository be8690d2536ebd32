"""Each command: what it takes, what it does in a session, what it returns."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import click

import holdfast
from holdfast.cluster import Inspection, Lock, Semaphore, Session, SessionInfo
from holdfast.cluster.errors import EngineError, FormatError
from holdfast.cluster.record import with_article

from . import exit_codes
from .ancestors import deadlock, have_ancestors, with_session
from .child import guard_if_needed, run_command
from .execution import Command, Failure, Patience, check_url, in_session
from .guard import Guard
from .messages import complain, saying, shortened
from .options import (
    RunsCommand,
    Text,
    command_options,
    count_argument,
    json_option,
    name_argument,
    quiet_option,
    session_options,
)
from .reports import as_json, print_name, print_names
from .waits import who_it_is

LONGEST_USER = 100
"""Characters of a user's name in a note."""


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
        raise BrokenPipeError from None  # for which click replaces stdout, and ends with 1
    return code if isinstance(code, int) else exit_codes.OK


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def cli() -> None:
    """Let commands wait for one another: locks, semaphores, events and barriers that all processes share by name.

    Whoever asks first is served first. What a process holds is free again when it ends, however it ends.

    \b
    Exit codes: those of CMD, and
      123  what CMD ran under was lost, so CMD was ended
      124  the time of --timeout has passed
      125  holdfast itself failed
      126  CMD cannot be executed
      127  CMD cannot be found
      128+N  CMD, or holdfast while it waited, was ended by signal N
    """


# What runs CMD


def run_under(
    primitive: Callable[[Session], Lock | Semaphore], *, url: str | None, namespace: str, **options: Any
) -> int:
    """Run CMD while a permit of it is held."""

    async def hold(session: Session, patience: Patience, guard: Guard | None) -> int:
        leased = primitive(session)
        if have_ancestors():
            await _check_ancestors(session, options["name"])
        grant = await (leased.acquire() if patience.waits else leased.try_acquire())
        if grant is None:
            raise TimeoutError
        patience.end()
        return await run_command(options["command"], grant, with_session(session), options["grace"], guard)

    with guard_if_needed(options["grace"]) as guard:
        callback = in_session("lock")(lambda **_: lambda session, patience: hold(session, patience, guard))
        return callback(url, namespace, **options)


async def _check_ancestors(session: Session, name: str) -> None:
    found = await _inspect(session, name)
    reason = None if found is None else deadlock(found)
    if reason is not None:
        raise Failure(reason, exit_codes.FAILED)


@cli.command(cls=RunsCommand, short_help="Run CMD while nobody else runs one under this name.")
@name_argument
@command_options
def lock(name: str, **options: Any) -> int:
    """Run CMD while nobody else runs one under the same NAME.

    Others who say `holdfast lock NAME` wait until CMD has ended; they are served in the order in which they came.

    \b
    Example: holdfast lock backup -- /usr/local/bin/backup.sh --full

    CMD finds NAME in the environment variable HOLDFAST_NAME. In HOLDFAST_TOKEN it finds a number that is higher each
    time: what CMD writes to can refuse who comes with a lower one than the last, and is too late.
    """
    return run_under(lambda session: session.lock(name), name=name, **options)


@cli.command(cls=RunsCommand, short_help="Run CMD while at most N run under this name.")
@name_argument
@count_argument
@command_options
def semaphore(name: str, n: int, **options: Any) -> int:
    """Run CMD while at most N run under the same NAME, this one among them.

    All have to say the same N, as long as anybody holds a permit or waits for one; `holdfast resize` changes it then.

    \b
    Example: holdfast semaphore convert 4 -- flac song.wav
    """
    return run_under(lambda session: session.semaphore(name, n), name=name, **options)


# Events and barriers


@cli.group(short_help="Wait until something has happened, or say so.")
def event() -> None:
    """Wait until something has happened, or say that it has.

    An event is set or unset, and stays so until somebody changes it. Who waits for it goes on when it is set.
    """


@event.command()
@name_argument
@quiet_option
@session_options
@in_session("event")
def wait(name: str) -> Command:
    """Wait until the event NAME is set; if it is set already, do not wait.

    \b
    Example: holdfast event wait db-ready --timeout 60 && ./migrate.sh
    """

    async def command(session: Session, patience: Patience) -> int:
        event = session.event(name)
        if not (patience.waits or await event.is_set()):
            raise TimeoutError
        await event.wait()
        return exit_codes.OK

    return command


@event.command(name="set")
@name_argument
@session_options
@in_session()
def set_event(name: str) -> Command:
    """Set the event NAME: all who wait for it go on. It stays set."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).set()
        return exit_codes.OK

    return command


@event.command()
@name_argument
@session_options
@in_session()
def clear(name: str) -> Command:
    """Unset the event NAME: from now on, who waits for it has to wait."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).clear()
        return exit_codes.OK

    return command


@event.command(name="show")
@name_argument
@json_option
@session_options
@in_session()
def show_event(name: str, as_text: bool) -> Command:
    """Print whether the event NAME is set; the exit code is 0 if it is, else 1."""

    async def command(session: Session, patience: Patience) -> int:
        is_set = await session.event(name).is_set()
        click.echo(as_json({"name": name, "is_set": is_set}) if as_text else "set" if is_set else "unset")
        return exit_codes.OK if is_set else exit_codes.NO

    return command


@cli.command(short_help="Wait until N commands have come.")
@name_argument
@count_argument
@quiet_option
@json_option
@session_options
@in_session("barrier")
def barrier(name: str, n: int, as_text: bool) -> Command:
    """Wait until N commands have come to the barrier NAME; then all go on at once.

    Prints which of them this one was, from 0. All have to say the same N.
    """

    async def command(session: Session, patience: Patience) -> int:
        barrier = session.barrier(name, n)
        if not (patience.waits or await barrier.n_waiting == n - 1):
            raise TimeoutError
        try:
            index = await barrier.wait()
        except asyncio.BrokenBarrierError as exc:
            raise Failure(str(exc), exit_codes.FAILED) from exc
        click.echo(as_json({"name": name, "index": index}) if as_text else index)
        return exit_codes.OK

    return command


# What an operator asks


@cli.command(short_help="List the names in use.")
@json_option
@session_options
@in_session()
def ls(as_text: bool) -> Command:
    """List the names that are in use, or were within the last hour: what each is, who holds it, how many wait."""

    async def command(session: Session, patience: Patience) -> int:
        found, code = [], exit_codes.OK
        for name in await session.names():
            try:
                one = await _inspect(session, name)
            except FormatError as exc:  # the others can be listed all the same
                complain(str(exc))
                code = exit_codes.FAILED
            else:
                found += [one] if one is not None else []
        if as_text:
            click.echo(as_json(found))
        elif not print_names(found):
            code = exit_codes.FAILED
        return code

    return command


@cli.command(short_help="Show who holds a name, and who waits for it.")
@name_argument
@json_option
@session_options
@in_session()
def show(name: str, as_text: bool) -> Command:
    """Show who holds NAME, and who waits for it, in the order in which they will be served."""

    async def command(session: Session, patience: Patience) -> int:
        one = await _inspect_used(session, name)
        if as_text:
            click.echo(as_json(one))
        elif not print_name(one):
            return exit_codes.FAILED
        return exit_codes.OK

    return command


@cli.command(name="break", short_help="End the sessions that hold a name.")
@name_argument
@click.option(
    "--session", "only", type=Text(), metavar="ID", help="End only this one of them; `show --json` has the ID."
)
@click.option("--reason", type=Text(), metavar="TEXT", default="", help="Why; those who lose something by it are told.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether this is meant.")
@session_options
def break_(name: str, only: str | None, reason: str, yes: bool, **options: Any) -> int:
    """End the sessions that hold NAME, so that the next in line get it at once.

    For a holder that hangs. All that its session holds is lost to it, under other names as well. It is told at once: a
    holdfast ends its CMD, a program gets LeaseLost. One that hangs may not listen: see to it that it does no more
    damage. `holdfast show NAME` tells for a day who has ended whom.

    \b
    Example: holdfast break deploy --reason "hangs since noon"
    """
    holders: list[SessionInfo] = []

    async def find(session: Session, patience: Patience) -> int:
        found = await _inspect(session, name)
        if found is not None:
            holders.extend(each.session for each in found.holders if only in (None, each.session.id))
        return exit_codes.OK

    async def end(session: Session, patience: Patience) -> int:
        by = _who_asks()
        ended = [each for each in holders if await session.evict(each.id, reason=reason, by=by)]
        for each in ended:
            complain(f"ended the session of {who_it_is(each)}")
        if not ended:
            raise Failure(f"who held {shortened(name)!r} has ended meanwhile", exit_codes.NO)
        return exit_codes.OK

    in_session()(lambda: find)(**options)
    if not holders:
        who = "nobody" if only is None else f"no session {shortened(only)}"
        raise Failure(f"{who} holds {shortened(name)!r}", exit_codes.NO)
    if not yes and sys.stdin is not None and sys.stdin.isatty():  # outside of a session, which could not wait so long
        named = "; ".join(map(who_it_is, holders))
        if not click.confirm(f"{shortened(name)!r} is held by {named}. End it?", err=True):
            raise Failure("nothing was ended", exit_codes.NO)
    return in_session()(lambda: end)(**options)


def _who_asks() -> str:
    """The user and the host. A user may have no name, as in a container."""
    try:
        user = Text.read(getpass.getuser())
    except (ImportError, KeyError, OSError):
        user = f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"
    return f"{user[:LONGEST_USER]}@{socket.gethostname()}"


@cli.command(short_help="Change how many permits a semaphore has.")
@name_argument
@count_argument
@session_options
@in_session()
def resize(name: str, n: int) -> Command:
    """Give the semaphore NAME N permits from now on, also while it is used.

    Of more permits, those who wait get some at once. Of fewer, none is taken away: who holds one finishes, and nobody
    is granted any before enough have been given back. Commands and programs that say the old number go on.

    \b
    Example: holdfast resize convert 8
    """

    async def command(session: Session, patience: Patience) -> int:
        one = await _inspect_used(session, name)
        if "bounded" not in one.state:
            raise Failure(f"{shortened(name)!r} is {with_article(one.kind)}, and no semaphore", exit_codes.FAILED)
        make = session.bounded_semaphore if one.state["bounded"] else session.semaphore
        await make(name, one.state["value"]).resize(n)
        return exit_codes.OK

    return command


async def _inspect_used(session: Session, name: str) -> Inspection:
    one = await _inspect(session, name)
    if one is None:
        raise Failure(f"nobody uses {shortened(name)!r} in the namespace", exit_codes.NO)
    return one


async def _inspect(session: Session, name: str) -> Inspection | None:
    try:
        return await session.inspect(name)
    except KeyError:
        return None


@cli.command(short_help="Show it all at work.")
@click.option(
    "--url", help="Where the four processes meet, as redis://locks.example.org. If left out: in a directory of its own."
)
def demo(url: str | None) -> int:
    """Show it all at work, in one event loop and in four processes of which one is killed; checked and timed."""
    from holdfast._demo import demo as show_demo

    try:
        if url is not None:
            check_url(url)
            asyncio.run(_try(url))  # or it would be said after the first half
        return show_demo(url)
    except EngineError as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc


async def _try(url: str) -> None:
    async with holdfast.connect(url, namespace="demo"):
        """It can be used."""
