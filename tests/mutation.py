"""Does a test notice if a line is missing? Break the code in every small way, one at a time, and see.

    python tests/mutation.py [--jobs N]  # the task tier
    python tests/mutation.py threads/lock.py cluster/records/lock.py  # these files, each by the tests of its tier

The list of those that may survive is made for the task tier and the thread tier; of the cluster tier none has been
made yet.

Every mutant is made mechanically from the source: a statement removed, a condition (or one side of an `and` or `or`)
made true or false, a comparison moved by one. A mutant that survives all the tests is code that no test needs: a
missing test, or a line too many. Those that have a right to survive are in ALLOWED, with the reason. The exit code is
1 if another one survives, or if one in ALLOWED does not exist any more or no longer survives.

What is mutated is the Python twin, and the tests run on it. The compiled twin has to follow it step by step, which
tests/exploration/test_twins.py checks.

pytest collects the tests once; then this process forks for each mutant, and the child puts the changed code into the
function and runs the tests until one fails. So it needs a POSIX system, and nothing is written anywhere.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import inspect
import math
import os
import signal
import sys
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "holdfast"


@dataclass(frozen=True)
class Tier:
    tests: tuple[str, ...]
    """Where those are that have to notice."""
    keywords: str
    """Which of them."""


NOT_THESE = "not uvloop and not eager"  # which take the same paths
FILES = [
    "tasks/wait_queue.py",
    "tasks/other_loop.py",
    "tasks/primitive.py",
    "tasks/context_manager.py",
    "tasks/lock.py",
    "tasks/event.py",
    "tasks/condition.py",
    "tasks/condition_lock.py",
    "tasks/semaphore.py",
    "tasks/barrier.py",
    "tasks/closed.py",
    "tasks/rw_lock.py",
    "tasks/keyed_lock.py",
    "tasks/rate_limiter.py",
    "tasks/single_flight.py",
]
"""Of the task tier."""
TASKS = Tier(
    tests=(
        "tests/conformance",
        "tests/test_races.py",
        "tests/test_loops.py",
        "tests/test_elsewhere.py",
        "tests/test_closing.py",
        "tests/test_misuse.py",
        "tests/test_objects.py",
        "tests/test_iterations.py",
        "tests/test_asyncio_suite.py",
        "tests/test_idle.py",
        "tests/models/test_found.py",
        "tests/beyond_asyncio",
        "tests/exploration",
    ),
    keywords=f"{NOT_THESE} and not threads and not memory and not embedded and not valkey and not redis "
    "and not postgres and not etcd",
)
THREADS = Tier(
    tests=(
        "tests/threads",
        "tests/conformance",
        "tests/beyond_asyncio",
        "tests/exploration/test_threads.py",
        "tests/test_patched.py",
    ),
    keywords=f"{NOT_THESE} and (threads or beyond_asyncio)",
)
CLUSTER = Tier(
    tests=(
        "tests/cluster/test_lock_record.py",
        "tests/cluster/test_rate_limiter_record.py",
        "tests/cluster/test_shapes.py",
        "tests/cluster/test_losing_a_lease.py",
        "tests/cluster/test_misuse.py",
        "tests/cluster/test_lock.py",
        "tests/cluster/test_primitives.py",
        "tests/cluster/test_permits.py",
        "tests/cluster/test_rw_lock.py",
        "tests/cluster/test_rate_limiter.py",
        "tests/cluster/test_leader.py",
        "tests/cluster/test_session.py",
        "tests/cluster/test_register.py",
        "tests/cluster/test_joining.py",
        "tests/cluster/test_failing_engine.py",
        "tests/cluster/test_engines.py",
        "tests/cluster/test_fencing.py",
        "tests/cluster/test_records.py",
        "tests/cluster/test_synchronous.py",
        "tests/cluster/test_synchronous_primitives.py",
        "tests/cluster/test_blocked_loops.py",
        "tests/cluster/test_locked.py",
        "tests/conformance",
    ),
    keywords=NOT_THESE,
)
SECONDS_PER_TEST = 8
LONGEST = 4
"""How many times as long as the unchanged code a mutant may take for all tests, before it is taken to hang."""

ALLOWED: dict[str, list[str]] = {
    "one branch for each version of Python, and one of them runs here": [
        "tasks/context_manager.returns_awaitable: sys.version_info >= (3, 12) -> True",
        "tasks/context_manager.returns_awaitable: sys.version_info >= (3, 12) -> False",
        "tasks/context_manager.returns_awaitable: sys.version_info >= (3, 12) -> sys.version_info > (3, 12)",
        "tasks/context_manager.returns_awaitable: return inspect.markcoroutinefunction(function) -> return None",
        "tasks/context_manager.returns_awaitable: function._is_coroutine = asyncio.coroutines._is_coroutine -> pass",
        "tasks/context_manager.returns_awaitable: return function -> return None",
    ],
    "a way round that is longer comes to the same": [
        "tasks/lock.Lock.release: not ONE_AT_A_TIME -> True",
        "tasks/semaphore.Semaphore.release: not ONE_AT_A_TIME -> True",
        "tasks/event.Event.set: ONE_AT_A_TIME -> False",
        "tasks/wait_queue.WaitQueue.leave: not notes and line and line[0] is waiter -> False",
        "tasks/wait_queue.WaitQueue.leave: not line -> True",
        "tasks/wait_queue.WaitQueue.leave: notes -> True",
        "tasks/wait_queue.WaitQueue.leave: line[0] is waiter -> False",
        "tasks/wait_queue.WaitQueue.leave: line[-1] is waiter -> False",
        "tasks/wait_queue.WaitQueue.leave: self._dead * 2 > len(line) -> self._dead * 2 >= len(line)",
        "tasks/wait_queue.WaitQueue.leave: not self.line -> True",
        "tasks/wait_queue.this_run: return get_asyncgen_hooks()[0] -> return None",
        "tasks/wait_queue.WaitQueue.grant: n == 1 and line -> False",
        "tasks/wait_queue.WaitQueue.grant: not (self._notes or waiter.done()) -> False",
        "tasks/wait_queue.WaitQueue._grant_next: notes -> True",
        "tasks/wait_queue.WaitQueue._grant_next: not self.granted -> True",
        "tasks/wait_queue.WaitQueue._grant_next: waiter in self.keepers -> True",
        "tasks/wait_queue.WaitQueue.grant_all: self.run is not this_run() -> True",
        "tasks/wait_queue.WaitQueue._grant_line: self._notes -> True",
        "tasks/wait_queue.WaitQueue._grant_line: behind -> True",
        "tasks/wait_queue.WaitQueue.release_all: self._notes -> True",
        "tasks/wait_queue.WaitQueue.enter: self.loop is not None -> True",
        "tasks/wait_queue.WaitQueue.enter: this_run() -> False",
        "tasks/wait_queue.WaitQueue.enter: NOWHERE -> False",
        "tasks/primitive.Primitive._enter_line: this_run() -> False",
        "tasks/primitive.Primitive._enter_line: NOWHERE -> False",
        "tasks/context_manager._Finished.throw: val is None -> True",
        "tasks/context_manager._Held.__exit__: lock is not None -> True",
        "tasks/lock.Lock.locked: queue.granted -> True",
        "tasks/lock.Lock.acquire: line is None or line.run is not this_run() -> True",
        "tasks/lock.Lock._reacquire: line is None and not self._locked -> False",
        "tasks/lock.Lock._reacquire: line is None -> True",
        "tasks/lock.Lock._reacquire: line is None or line.run is not this_run() -> True",
        "tasks/event.Event.wait: line is None or line.run is not this_run() -> True",
        "tasks/condition.Condition.wait: line is None or line.run is not this_run() -> True",
        "tasks/condition.Condition.__init__: not (accelerated and type(self) is Condition) -> True",
        "tasks/condition.Condition.__init__: not (accelerated and type(self) is Condition) -> False",
        "tasks/condition.Condition.__init__: accelerated -> True",
        "tasks/condition.Condition.__init__: type(self) is Condition -> True",
        "tasks/condition.Condition.__init__: self.locked = lock.locked -> pass",
        "tasks/condition.Condition.__init__: self.acquire = self._grip.acquire -> pass",
        "tasks/condition.Condition.__init__: self.release = self._grip.release -> pass",
        "tasks/condition.Condition.notify: n > 0 -> n >= 0",
        "tasks/semaphore.Semaphore.acquire: line is None or line.run is not this_run() -> True",
        "tasks/semaphore.Semaphore.acquire: self._value > 0 -> True (3)",
        "tasks/semaphore.Semaphore.acquire: self._value > 0 -> self._value >= 0 (3)",
        "tasks/rw_lock.Side.__aenter__: self._permits._take(self._needs) -> False",
        "tasks/keyed_lock.KeyedLock._free: closed -> True",
        "tasks/keyed_lock.KeyedLock._free: closed -> False",
        "tasks/keyed_lock.KeyedLock._free_if_alone: not isinstance(entry, Entry) -> True",
        "tasks/rate_limiter.RateLimiter.acquire: self._take(needs, self._now()) -> False",
        "tasks/rate_limiter.RateLimiter.acquire: line is None or line.run is not this_run() -> True",
        "tasks/rate_limiter.RateLimiter.acquire: line.line[0] is waiter -> True",
        "tasks/rate_limiter.RateLimiter.__aenter__: self.try_acquire() -> False",
        "tasks/rate_limiter.RateLimiter._take: queue.granted or queue.first_needs() -> True",
        "tasks/barrier.Barrier.wait: not line.granted -> True",
        "tasks/barrier.Barrier._trip: len(line) < waiting -> False",
        "tasks/barrier.Barrier._end_round: loop is not None -> True",
        "threads/critical_section.Section.run: state.to_wake -> True",
        "threads/critical_section.wake_all: running is None -> True",
        "threads/critical_section.wake_all: sleeper.thread == thread -> True",
        "threads/primitive.Shared._try_or_join: not line.line -> True",
        "threads/lock.Lock.locked: queue.granted -> True",
        "threads/lock.Lock.try_acquire: self._queue is None -> False",
        "threads/lock.Lock.acquire: not (self._queue is None and self._held.acquire(False)) -> True",
        "threads/lock.Lock.release: self._queue is not None -> True",
        "threads/lock.SyncLock.acquire: lock._queue is None and lock._held.acquire(False) -> False",
        "threads/lock.SyncLock.__enter__: lock._queue is None and lock._held.acquire(False) -> False",
        "threads/condition.Condition.__init__: self.locked = lock.locked -> pass",
        "threads/condition.Condition.__init__: self.acquire = lock.acquire -> pass",
        "threads/condition.Condition.__init__: self.release = lock.release -> pass",
        "threads/event.Event.wait: not self._value -> True",
        "threads/event.SyncEvent.wait: event._value -> False",
        "threads/semaphore.Semaphore.__aenter__: type(self).acquire is ACQUIRE and self._take() -> False",
        "threads/semaphore.Semaphore.acquire: not self._take() -> True",
        "threads/semaphore.Semaphore.release: self._queue is None -> True",
        "threads/semaphore.Semaphore._arrive: self._value > 0 -> True",
        "threads/semaphore.Semaphore._arrive: self._value > 0 -> self._value >= 0",
        "threads/semaphore.SyncSemaphore.__enter__: self._shared._take() -> False",
    ],
    "another guard sees to the same": [
        "tasks/rw_lock.free_permits: permits._live_queue() -> pass",
        "tasks/keyed_lock.KeyedLock._free_if_alone: entry is NOBODY -> False",
        "tasks/keyed_lock.KeyedLock._free_if_alone: raise RuntimeError(NOT_ACQUIRED) -> pass",
        "tasks/rate_limiter.RateLimiter.__init__: self._granted_since = 0.0 -> pass",
        "tasks/rate_limiter.RateLimiter._settle: queue is None -> False (2)",
        "tasks/rate_limiter.RateLimiter._settle: now is None -> False",
        "tasks/wait_queue.WaitQueue.retire: self._notes -> False",
        "tasks/wait_queue.WaitQueue.forget_closed_loop: True -> False",
        "tasks/wait_queue.WaitQueue._forget_waiters: self._notes = {} -> pass",
        "tasks/condition.Condition.wait: notified = False -> pass",
        "tasks/condition_lock.ForeignGrip._exit_closed: owed > 1 -> True",
        "tasks/condition_lock.ForeignGrip._exit_closed: owed > 1 -> owed >= 1",
        "tasks/condition_lock.common_loop: bound is None or not is_ours(lock) -> True",
        "tasks/condition_lock.common_loop: not is_ours(lock) -> False",
        "tasks/condition_lock.ForeignGrip._acquire_without_waiting: acquire.close() -> pass",
        "tasks/barrier.Barrier.__init__: self._spared = 0 -> pass",
        "tasks/barrier.Barrier._abort: self._spare_nobody() -> pass",
        "threads/wake_up_by_call.wake_by_call: call.lose() -> pass",
        "threads/task_waiter.TaskWaiter.lose: assert line is not None -> pass",
        "threads/semaphore.Semaphore._take: self._value > 0 -> True (2)",
        "threads/semaphore.Semaphore._take: self._value > 0 -> self._value >= 0 (2)",
        "threads/semaphore.Semaphore._take: self._queue is None -> True (2)",
    ],
    "every kind has its own": [
        "tasks/rw_lock.Side._taken: raise NotImplementedError -> pass",
        "threads/waiter.Waiter.wake: raise NotImplementedError -> pass",
        "threads/primitive.Shared._try: raise NotImplementedError -> pass",
        "threads/primitive.Shared._check_change: raise NotImplementedError -> pass",
        "threads/primitive.Shared._change: raise NotImplementedError -> pass",
    ],
    "what it calls then looks at every loop itself": [
        "threads/wait_queue.SharedQueue.forget_closed_loop: loop.is_closed() -> True",
    ],
    "of a thread, which is never asked; it is here for its type": [
        "threads/waiter.Waiter.__init__: self.notified_by: Notifier | None = None -> pass",
    ],
    "None is as good as 0": ["blocking/timeouts.check_timeout: return 0 -> return None"],
    "only the task tier asks what it returns": [
        "threads/wait_queue.SharedQueue.forget_closed_loop: True -> False",
        "threads/wait_queue.SharedQueue.forget_closed_loop: False -> True",
    ],
    "a signal handler's own RuntimeError, raised just after the unlocking": [
        "threads/critical_section.Section.run: locked -> False",
        "threads/critical_section.Section.run: raise -> pass",
    ],
    "the classes that have it have been made when the code is changed": [
        'tasks/context_manager.ContextManager.__init_subclass__: "_release_closed" not in cls.__dict__ -> True',
    ],
    "the loop was closed, in another thread, after a look at it": [],
    "an empty queue that stays is dropped at its next use": [
        "tasks/wait_queue.WaitQueue.forget_closed_loop: self.retire() -> pass",
        "tasks/lock.Lock.acquire: line.retire() -> pass",
        "tasks/lock.Lock._reacquire: line.retire() -> pass",
        "tasks/lock.Lock._exit_closed: queue.retire() -> pass",
        "tasks/semaphore.Semaphore.acquire: line.retire() -> pass",
        "tasks/barrier.Barrier.wait: line.retire() -> pass",
    ],
    "it breaks a cycle of references": [
        "tasks/lock.Lock._reacquire: del interruption -> pass",
        "tasks/condition_lock.ForeignGrip._reacquire: del cancelled -> pass",
        "threads/condition.Condition._pass_on: del interruption -> pass",
    ],
}
"""Why they may survive -> which."""

EXPECTED = {name for names in ALLOWED.values() for name in names}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    function: str
    code: types.CodeType
    """Of the whole file, with the change."""
    name: str
    """What identifies it while lines move."""

    def __str__(self) -> str:
        return f"src/holdfast/{self.file}:{self.line}: {self.name}"

    def apply(self) -> None:
        """Put the changed code into the function."""
        target: object = importlib.import_module(f"holdfast.{self.file.removesuffix('.py').replace('/', '.')}")
        code = self.code
        for name in self.function.split("."):
            inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
            # Several may have that name, as the getter and the setter of a property: it is the last before the change.
            code = [c for c in inner if c.co_name == name and c.co_firstlineno <= self.line][-1]
            target = vars(target)[name]
            if isinstance(target, property):
                accessors = [target.fget, target.fset, target.fdel]
                target = next(f for f in accessors if f and f.__code__.co_firstlineno == code.co_firstlineno)
            if isinstance(target, classmethod | staticmethod):
                target = target.__func__
            if isinstance(target, types.FunctionType):
                function = inspect.unwrap(target)
                assert function.__code__.co_name == name
                function.__code__ = code
                return
        raise AssertionError(f"{self.function} is no function")


def mutants_of(file: str) -> list[Mutant]:
    source = (PACKAGE / file).read_text()
    names: Counter[str] = Counter()
    offsets = [0]
    for text in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(text))
    mutants = []
    for function, node, replacement in _changes(ast.parse(source)):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[node.end_lineno - 1] + node.end_col_offset
        original = " ".join(source[start:end].split())
        name = f"{file.removesuffix('.py')}.{function}: {original} -> {replacement}"
        names[name] += 1
        if names[name] > 1:
            name += f" ({names[name]})"
        if "super()" in original:
            # The code keeps its reference to the class.
            is_expression = isinstance(node, ast.expr)
            replacement = f"(super() if 0 else {replacement})" if is_expression else f"if 0: super(); {replacement}"
        code = compile(source[:start] + replacement + source[end:], PACKAGE / file, "exec")
        mutants.append(Mutant(file, node.lineno, function, code, name))
    return mutants


Change = tuple[str, ast.expr | ast.stmt, str]


def _changes(node: ast.AST, where: tuple[str, ...] = (), in_function: bool = False) -> Iterator[Change]:
    """Every change below `node`: in which function, what is replaced, and by what."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _changes(child, (*where, child.name), not isinstance(child, ast.ClassDef))
        else:
            if in_function:
                yield from ((".".join(where), *change) for change in _changes_of(child))
            yield from _changes(child, where, in_function)


def _changes_of(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Global() | ast.Nonlocal():
            pass
        case ast.AnnAssign(value=None):
            pass
        case ast.Return(value=None) | ast.Return(value=ast.Constant(value=None)):
            yield node, "pass"
        case ast.Return(value=ast.Constant(value=bool(value))):
            yield node.value, repr(not value)
        case ast.Return():
            yield node, "return None"
        case ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Delete() | ast.Expr() | ast.Assert():
            yield node, "pass"
        case ast.Raise() | ast.Continue() | ast.Break():
            yield node, "pass"
        case ast.If() | ast.IfExp():
            yield from _conditions(node.test, [True, False])
        case ast.While(test=ast.Constant()):
            pass
        case ast.While():
            yield from _conditions(node.test, [False])
        case ast.BoolOp():
            neutral = isinstance(node.op, ast.And)
            for operand in node.values:
                yield operand, repr(neutral)
        case ast.Compare(ops=[operator]):
            moved = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}.get(type(operator))
            if moved:
                left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
                yield node, f"{left} {moved} {right}"


def _conditions(test: ast.expr, values: list[bool]) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(test, ast.BoolOp):  # without one operand it is true, or false, less often than altogether
        values = [isinstance(test.op, ast.Or)] if isinstance(test.op, ast.Or) in values else []
    for value in values:
        yield test, repr(value)


class Mutation:
    """A pytest plugin that runs the collected tests on each mutant in a process of its own."""

    def __init__(self, mutants: list[Mutant], jobs: int) -> None:
        self.mutants = mutants
        self.jobs = jobs
        self.survivors: list[Mutant] = []
        self.failing_anyway: list[str] = []
        self.items: list[pytest.Item] = []
        self.running: dict[int, tuple[Mutant | None, float]] = {}
        """Until when, by process."""
        self.patience = math.inf
        self.failed: Counter[str] = Counter()
        """How many mutants each test has noticed first."""
        self.stop_at_failure = False
        self.reports, self.reporting = os.pipe()
        os.set_blocking(self.reports, False)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True  # modules that cannot be imported
        # asyncio's own classes, which the suite runs on too, do not change.
        self.items = [item for item in session.items if not tests_asyncio(item)]
        began = time.monotonic()
        self.start(None)
        self.wait_until_running(0)
        # Several run at once, so each takes longer than the one alone. If that were too short, all would be "noticed".
        self.patience = LONGEST * max(1.0, self.jobs / (os.cpu_count() or 1)) * (time.monotonic() - began)
        self.failing_anyway = [item.nodeid for item in self.items if self.failed[item.nodeid]]
        self.items = [item for item in self.items if not self.failed[item.nodeid]]
        gc.collect()
        gc.freeze()  # what is here already is no business of the collector in the children
        for done, mutant in enumerate(self.mutants):
            show(f"{done} of {len(self.mutants)}, {len(self.survivors)} survive")
            self.wait_until_running(self.jobs - 1)
            self.start(mutant)
        self.wait_until_running(0)
        gc.unfreeze()
        return True

    def start(self, mutant: Mutant | None) -> None:
        """Run the tests in a child, those first that are most likely to fail."""
        likely = "" if mutant is None else Path(mutant.file).stem
        self.items.sort(key=lambda item: (-self.failed[item.nodeid], likely not in item.nodeid))
        pid = os.fork()
        if pid:
            self.running[pid] = mutant, time.monotonic() + self.patience
            return
        try:
            silence = os.open(os.devnull, os.O_RDWR)
            os.dup2(silence, sys.stdout.fileno())
            os.dup2(silence, sys.stderr.fileno())
            if mutant is not None:
                self.stop_at_failure = True
                try:
                    mutant.apply()
                except Exception:
                    os._exit(0)  # no test has noticed it
            for item, following in zip(self.items, [*self.items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:
            os._exit(3)
        os._exit(0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self.reporting, f"{report.nodeid}\n".encode())
            if self.stop_at_failure:
                os._exit(1)

    def wait_until_running(self, most: int) -> None:
        while len(self.running) > most:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                mutant, _ = self.running.pop(pid)
                if mutant is not None and status == 0:
                    self.survivors.append(mutant)
                    if mutant.name not in EXPECTED:
                        show(f"{mutant}\n")
                with contextlib.suppress(BlockingIOError):
                    self.failed.update(os.read(self.reports, 1 << 16).decode().splitlines())
            else:
                time.sleep(0.01)
                for pid, (_, deadline) in self.running.items():
                    if time.monotonic() > deadline:
                        os.kill(pid, signal.SIGKILL)


def show(progress: str) -> None:
    if sys.stderr.isatty() or progress.endswith("\n"):
        print(f"\r{progress} ", end="", file=sys.stderr, flush=True)


def tests_asyncio(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and getattr(callspec.params.get("tier"), "is_asyncio", False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="hanging costs no time of the CPU")
    parser.add_argument("files", nargs="*", default=FILES, help="which of src/holdfast")
    arguments = parser.parse_args()

    os.environ["HOLDFAST_PURE_PYTHON"] = "1"  # nothing has imported holdfast yet
    os.chdir(ROOT)
    files: dict[Tier, list[str]] = {}
    for file in arguments.files:
        files.setdefault(
            {"cluster": CLUSTER, "threads": THREADS, "blocking": THREADS}.get(file.partition("/")[0], TASKS), []
        ).append(file)
    # A process each, as pytest collects once in a process.
    return max(in_a_child(partial(check, tier, changed, arguments.jobs)) for tier, changed in files.items())


def in_a_child(function: Callable[[], int]) -> int:
    """Its exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 2
        try:
            code = function()
            sys.stdout.flush()
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(tier: Tier, files: list[str], jobs: int) -> int:
    """Break each of these files in every way; return the exit code."""
    began = time.monotonic()
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    mutation = Mutation(mutants, jobs)
    options = ["-qqq", "--no-header", "--no-summary", "--capture=no", "-p", "no:cacheprovider", "-k", tier.keywords]
    # A thread ends the whole process, whatever the mutant swallows.
    options += ["--timeout", str(SECONDS_PER_TEST), "--timeout-method", "thread"]
    pytest.main([*options, *tier.tests], plugins=[mutation])
    if not mutation.items:
        print("There are no tests.")
        return 1
    minutes = (time.monotonic() - began) / 60
    survivors = sorted(mutation.survivors, key=mutants.index)
    print(f"\n{len(mutants)} mutants of {', '.join(files)}: {len(survivors)} survive, {minutes:.1f} minutes")
    if mutation.failing_anyway:
        print("\nLeft out, as they fail without any change:")
        print("\n".join(f"  {test}" for test in mutation.failing_anyway))
    return max(report(mutants, survivors), bool(mutation.failing_anyway))


def report(mutants: list[Mutant], survivors: list[Mutant]) -> int:
    alive = {mutant.name for mutant in survivors}
    unexpected = [mutant for mutant in survivors if mutant.name not in EXPECTED]
    if unexpected:
        print("\nNo test needs this:")
        for mutant in unexpected:
            print(f"  {mutant}")
    killed = [mutant for mutant in mutants if mutant.name in EXPECTED - alive]
    if killed:
        print("\nAllowed to survive, but a test notices:")
        for mutant in killed:
            print(f"  {mutant}")
    files = {mutant.name.partition(".")[0] for mutant in mutants}
    gone = {name for name in EXPECTED - {mutant.name for mutant in mutants} if name.partition(".")[0] in files}
    if gone:
        print("\nAllowed to survive, but not in the source any more:")
        for name in sorted(gone):
            print(f"  {name}")
    return 1 if unexpected or killed or gone else 0


if __name__ == "__main__":
    sys.exit(main())
