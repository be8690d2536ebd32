"""Tests that are coroutine functions run in a new event loop each: no plugin is needed."""

import asyncio
import contextlib
import gc
import inspect
import signal
import sys
import warnings
from collections.abc import Iterator

import pytest

# Started in the background or by nohup, we ignore these, and so would the programs that tests start, and signal.
for name, handler in {
    "SIGINT": signal.default_int_handler,
    "SIGHUP": signal.SIG_DFL,
    "SIGQUIT": signal.SIG_DFL,
}.items():
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test, by the fixture `run` if it asks for that one, else by `asyncio.run`."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    pyfuncitem.funcargs.get("run", asyncio.run)(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember which tests have failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let go in silence of what a test has left open that failed.

    The traceback holds its sockets, databases and sessions until the next test begins, or a collection after that: they
    would complain there, and another test would fail that has nothing to do with them.
    """
    result = yield
    if item.stash.get(FAILED, False):
        let_go_in_silence()
    return result


def let_go_in_silence() -> None:
    for name in ("last_exc", "last_value", "last_traceback", "last_type"):
        with contextlib.suppress(AttributeError):
            delattr(sys, name)
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):  # what one of them has kept, the next one finds
                gc.collect()
    finally:
        sys.unraisablehook = before


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was done with the code blocks of the manual; see tests/docs/test_pages.py."""
    properties = [each for report in terminalreporter.getreports("passed") for each in report.user_properties]
    run, parsed = (sum(n for name, n in properties if name == f"blocks {what}") for what in ("run", "parsed"))
    not_run = [why for name, why in properties if name == "block not run"]
    if run or parsed or not_run:
        terminalreporter.section("code blocks of the manual")
        terminalreporter.line(f"{run} run, {parsed} parsed, {len(not_run)} not run:")
        for why in sorted(not_run):
            terminalreporter.line(f"  {why}")
