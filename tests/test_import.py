"""`import holdfast` loads the task tier, and neither another tier nor anybody else's code."""

import json
import subprocess
import sys
from pathlib import Path

from interpreters import BOUND, PYPY

import holdfast

TASK_TIER = {
    "holdfast",
    "holdfast.tasks",
    "holdfast.tasks.pypy",
    "holdfast._connect",
    "holdfast._hooks",
    "holdfast._install",
    "holdfast._locked",
    "holdfast.tasks.context_manager",
    "holdfast.tasks.other_loop",
    "holdfast.tasks.gil",
    "holdfast.tasks.install",
    "holdfast.tasks.primitive",
    "holdfast._refusals",
    "holdfast.tasks.twins",
    "holdfast.tasks.wait_queue",
    "holdfast.tasks.barrier",
    "holdfast.tasks.closed",
    "holdfast.tasks.condition",
    "holdfast.tasks.condition_lock",
    "holdfast.tasks.event",
    "holdfast.tasks.keyed_lock",
    "holdfast.tasks.lock",
    "holdfast.tasks.rate_limiter",
    "holdfast.tasks.rw_lock",
    "holdfast.tasks.semaphore",
    "holdfast.tasks.single_flight",
}
if holdfast.accelerated:
    TASK_TIER.add("holdfast.tasks._speedups")

UNLISTED = {"_missing_stdlib_info"}
"""What the interpreter's list of its own modules leaves out: that one traceback has, on 3.15 and later."""
if PYPY:
    UNLISTED |= {"_cffi_ssl", "_pypy_openssl", "_pypy_util_cffi_inner", "_ssl"}

PROGRAM = """
import json, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import holdfast
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_import_loads_the_task_tier_and_the_standard_library_alone():
    # -I and -S: without site-packages, what they import at the start, and the variables of this environment. All
    # that could be imported is there, though: the folder is the one that holdfast was imported from here.
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(Path(holdfast.__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
        timeout=BOUND,
    )
    assert run.stderr == ""
    loaded = set(json.loads(run.stdout))
    assert {name for name in loaded if name.partition(".")[0] == "holdfast"} == TASK_TIER
    others = {name.partition(".")[0] for name in loaded} - {"holdfast"}
    assert others - UNLISTED <= sys.stdlib_module_names
